"""What a run is called: the title of its net in the papers' notation, and its folder."""

from __future__ import annotations

import contextlib
import itertools
import re
import time
from pathlib import Path

import models
from records.config import Config
from utils import one_line

# Options of a net: what a title calls them, and the values that it leaves out.
_NOTES = {
    "growth_rate": ("k", ()),
    "width": ("width", (1,)),
    "compression": ("compression", (0.5, 1)),
    "dropout": ("dropout", (0,)),
    "final_survival_prob": ("p_L", (1,)),
}


def net_title(config: Config) -> str:
    """Return the title of the net that is trained, as ``DenseNet-BC-16, k=16``.

    It has the options that change the net; GluonCV's nets keep their names.
    """
    name = models.ALIASES.get(config.model, config.model)
    if name not in models.REGISTRY:
        return name
    options = {**models.REGISTRY[name][1], **config.model_options()}
    notes = [
        f"{label}={options[option]:g}"
        for option, (label, usual) in _NOTES.items()
        if option in options and options[option] not in usual
    ]
    bottleneck = options.get("bottleneck", False)
    if "growth_rate" in options:
        letters = "B" * bottleneck + "C" * (options["compression"] < 1)
        family = f"DenseNet-{letters}" if letters else "DenseNet"
    else:
        family = "ResNet"
        notes += ["pre-activation"] * bottleneck + ["pooled"] * options.get("pool", False)
    scaled = "SE-" if options.get("squeeze_excitation") else ""
    return ", ".join([f"{scaled}{family}-{options['depth']}", *notes])


def new_folder(config: Config) -> Path:
    """Return a new run's folder: the one that ``--name`` gives, or else a unique one.

    A unique one is named after net, data set and time, with a number where two runs start in the
    same second. It is made here, so that no other run can take it.

    Raises
    ------
    InputError
        If it cannot be made.
    """
    if config.name:
        return Path(config.run_dir) / config.name
    name = f"{net_title(config)}-{config.dataset}-{time.strftime('%Y%m%d-%H%M%S')}"
    name = re.sub(r"[^\w.+=-]+", "-", name)  # the data set is as yet anything a user wrote
    with one_line(f"cannot write {config.run_dir}"):
        Path(config.run_dir).mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        path = Path(config.run_dir) / (name if number == 1 else f"{name}-{number}")
        with one_line(f"cannot write {path}"), contextlib.suppress(FileExistsError):
            path.mkdir()
            break
    return path
