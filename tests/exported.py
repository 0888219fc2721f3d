"""A run on a few of the embedded images, as the tests of what comes after training need it."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import pytest
from tiny_train import TEST, tiny_shapes

import datasets
from records.config import make_config
from training import run as run_module
from training.train import train

__all__ = ["MODEL", "TEST", "VALIDATION", "small_data", "train_run"]
MODEL, VALIDATION = "resnet20_sd", 40


@functools.lru_cache(maxsize=None)
def small_data(fingerprint: str = "a" * 64) -> datasets.Dataset:
    """Return a small part of the embedded images."""
    return dataclasses.replace(tiny_shapes("shapes"), fingerprint=fingerprint)


def train_run(folder: Path, name: str, **settings: Any) -> Path:
    """Train a small net on `small_data`; return its run folder."""
    chosen = {"model": MODEL, "depth": 8, "epochs": 2, "batch_size": 40, "lr": 0.05}
    chosen.update(dataset="shapes", val_size=VALIDATION, run_dir=str(folder), name=name, **settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "get_dataset", lambda *_: small_data())
        train(make_config(**chosen))
    return folder / name
