"""Weights worth starting from: all 50,000 images, and as many epochs as two hours allow."""

from __future__ import annotations

from typing import Any

from studies.study import Study

RECIPE: dict[str, Any] = {
    "preset": "stochastic-depth",
    "val_size": 0,  # all images are learnt from: the last epoch is tested
    "batch_size": 128,
    "lr": 0.1,
    "lr_schedule": "cosine",
    "warmup_epochs": 1,
    "wd": 5e-4,
    "label_smoothing": 0.1,
    "ema": 0.999,  # of a thousand steps: two or three epochs
    "amp": True,
}

STUDY = Study(
    question="How low is the error of weights to start from?",
    recipes={
        "resnet20": {**RECIPE, "model": "resnet20", "epochs": 40},
        "densenet_bc40_k16": {**RECIPE, "model": "densenet_bc40_k16", "epochs": 20},
        "resnet56": {**RECIPE, "model": "resnet56", "epochs": 15},
    },
    seeds=(0,),
)
