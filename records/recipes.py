"""The recipes: each paper's own, two for a CPU, and those that files hold."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Mapping, NamedTuple

from errors import InputError, nearest
from records.run_folder import read_json

# What the recipe of one run does not say of another: where it came from, and where it went.
OWN = ("preset", "name", "run_dir", "resume")


class Preset(NamedTuple):
    """A row of the table of recipes."""

    source: str
    expects: str
    values: Mapping[str, Any]


_STOCHASTIC_DEPTH = {
    "model": "resnet110_sd",
    "epochs": 500,
    "batch_size": 128,
    "lr": 0.1,
    "lr_milestones": (0.5, 0.75),
}
PRESETS: Mapping[str, Preset] = {
    "densenet": Preset(
        "Huang et al., arXiv 1608.06993: all 50,000 images, the last epoch's error",
        "4.5 % error with DenseNet-BC-100 k=12 on CIFAR-10; days without a GPU",
        {"model": "densenet_bc100_k12", "epochs": 300, "batch_size": 64, "lr": 0.1, "val_size": 0},
    ),
    "stochastic-depth": Preset(
        "Huang et al., arXiv 1603.09382: the best epoch on 5,000 held-out images",
        "5.25 % error with ResNet-110 (6.4 % without stochastic depth); days without a GPU",
        _STOCHASTIC_DEPTH,
    ),
    "stochastic-depth-1202": Preset(
        "Huang et al., arXiv 1603.09382: as above, ten epochs at 0.01 first",
        "4.9 % error with ResNet-1202; days on a GPU",
        {**_STOCHASTIC_DEPTH, "model": "resnet1202_sd", "warmup_epochs": 10, "warmup_lr": 0.01},
    ),
    "quick": Preset(
        "this repository: a small DenseNet-BC on the embedded shapes",
        "0.05 % error on shapes, or an image more, in four minutes on two cores",
        {
            "model": "densenet_bc40_k16",
            "depth": 16,
            "dataset": "shapes",
            "epochs": 6,
            "lr_schedule": "cosine",
            "val_size": 500,
        },
    ),
    "cpu-90min": Preset(
        "this repository: a ResNet-11 that pools early, all 50,000 images, the last epoch's error",
        "11.7 % error on JPEG-compressed CIFAR-10 (one run), 83 minutes on two cores with AVX2",
        {
            "model": "resnet11_pooled_sd",
            "final_survival_prob": 0.9,
            "amp": True,
            "epochs": 27,
            "batch_size": 128,
            "lr": 0.1,
            "lr_schedule": "cosine",
            "warmup_epochs": 2,
            "wd": 5e-4,
            "label_smoothing": 0.2,
            "ema": 0.999,
            "val_size": 0,
        },
    ),
}


def default_preset(model: str) -> str:
    """Return the preset of a model's family; GluonCV's nets for CIFAR are all residual."""
    import models  # settings are also read without MXNet

    _, options, _ = models.REGISTRY.get(models.ALIASES.get(model, model), (None, {}, None))
    if "growth_rate" in options:
        return "densenet"
    return "stochastic-depth-1202" if options.get("depth") == 1202 else "stochastic-depth"


def read_recipe(preset: str) -> dict[str, Any]:
    """Return the settings of a named preset, or of a JSON file.

    The file is a run's ``config.json`` or an object of such settings, which may build on a named
    preset. A run's name, folder and preset are its own and left out. Values from a file are as yet
    unchecked.

    Raises
    ------
    InputError
        If it is neither, or the file cannot be read or holds no settings.
    """
    if preset in PRESETS:
        return dict(PRESETS[preset].values)
    if not (os.sep in preset or preset.endswith(".json") or os.path.exists(preset)):
        raise _unknown_preset(preset, "")
    described = read_json(Path(preset))
    values = described.get("config", described) if isinstance(described, dict) else None
    if not isinstance(values, dict):
        raise InputError(f"{preset} holds no settings: write an object, as in a run's config.json")
    base = values.get("preset", "") if values is described else ""
    if base not in ["", *PRESETS]:
        raise _unknown_preset(base, f"{preset}: ")
    values = {**(PRESETS[base].values if base else {}), **values}
    return {name: value for name, value in values.items() if name not in OWN}


def _unknown_preset(preset: Any, where: str) -> InputError:
    hint, known = nearest(str(preset)[:40], PRESETS), ", ".join(PRESETS)
    return InputError(
        f"{where}unknown preset {preset!r:.40}:{hint} there are {known}, or give a JSON file"
    )
