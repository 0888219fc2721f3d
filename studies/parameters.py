"""What does a parameter buy? ResNets of growing depth against DenseNet-BCs of growing width."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

import matplotlib.figure as figures
import numpy as np

import models
from figures.style import curve_style, log_ticks, new_figure, save
from figures.summary import Row
from studies.study import Study

_RECIPE = {
    "preset": "stochastic-depth",
    "train_size": 20_000,
    "val_size": 0,  # the last epoch is tested: nothing is chosen
    "epochs": 20,
    "batch_size": 128,
    "lr_schedule": "cosine",
    "warmup_epochs": 1,
    "amp": True,
}
FAMILIES = {"ResNet": "resnet", "DenseNet-BC": "densenet"}


def draw(rows: Sequence[Row], path: Path | None = None) -> figures.Figure:
    """Draw test errors over parameters, as the paper's figure 4, and over multiply-accumulates.

    The mean over seeds is a mark, each seed's error a point; the picture goes to `path`.
    """
    figure = new_figure(11, 4.4)
    panels = figure.subplots(1, 2, sharey=True)
    units = {"parameters": lambda row: row.parameters / 1e6, "multiply-accumulates": _work}
    for axes, (unit, place) in zip(panels, units.items()):
        for number, (family, prefix) in enumerate(FAMILIES.items()):
            found = [row for row in rows if row.model.startswith(prefix) and row.finished]
            found.sort(key=place)
            places = [place(row) for row in found]
            errors = [[100 * run.test_error for run in row.finished.values()] for row in found]
            look = curve_style(number)
            means = [np.mean(each) for each in errors]
            axes.plot(places, means, marker="os"[number], label=family, **look)
            for where, each in zip(places, errors):
                axes.plot([where] * len(each), each, ".", color=look["color"])
        axes.set_xscale("log")
        log_ticks(axes.xaxis)
        axes.set_xlabel(f"{unit}, millions")
        axes.grid(alpha=0.3, which="both")
    panels[0].set_ylabel("test error, %")
    panels[0].legend()
    return save(figure, path)


def _work(row: Row) -> float:
    settings = next(iter(row.finished.values())).settings
    options = {"growth_rate": settings["growth_rate"]} if settings["growth_rate"] else {}
    net = models.get_model(settings["model"], **options)
    return float(models.count_multiply_accumulates(net) / 1e6)


STUDY = Study(
    question="What does a parameter buy, in a ResNet and in a DenseNet?",
    recipes={
        # The longest first, so that two runs at a time end together.
        **{
            f"k{k}": {**_RECIPE, "model": "densenet_bc40_k16", "growth_rate": k}
            for k in (24, 16, 8)
        },
        **{f"resnet{n}": {**_RECIPE, "model": f"resnet{n}"} for n in (56, 44, 32, 20)},
    },
    seeds=(0, 1),
    draw=draw,
)
