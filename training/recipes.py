"""The recipes: each paper's own, and two for a CPU."""

from __future__ import annotations

from typing import Any, Mapping, NamedTuple


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
        "under 5 % error on shapes in three minutes on two cores",
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
        "9.3 % error on JPEG-compressed CIFAR-10 (one run), 78 minutes on two AVX512-BF16 cores",
        {
            "model": "resnet",
            "depth": 11,
            "width": 2,
            "pool": True,
            "amp": True,
            "epochs": 28,
            "batch_size": 128,
            "lr": 0.1,
            "lr_schedule": "cosine",
            "warmup_epochs": 2,
            "wd": 5e-4,
            "label_smoothing": 0.2,
            "cutout": 8,
            "val_size": 0,
        },
    ),
}


def default_preset(model: str) -> str:
    """Return the preset of a model's family."""
    if "densenet" in model:
        return "densenet"
    return "stochastic-depth-1202" if "resnet1202" in model else "stochastic-depth"
