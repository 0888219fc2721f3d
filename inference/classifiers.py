"""Classifiers in any form, behind one interface: pixels in, logits out.

Runs, checkpoints, pretrained models and symbols need MXNet, which is imported when one is opened;
an ONNX file needs onnxruntime only.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

import numpy as np

from errors import InputError
from exports.onnx import open_onnx
from inference.metrics import softmax

BATCH = 250


@dataclass(frozen=True)
class Classifier:
    """A classifier of images, whatever it was loaded from.

    Parameters
    ----------
    classes : tuple of str
        Class names.
    facts : dict
        Where it comes from and what it reached: see `inference.trained.run_facts`.
    run : callable
        Takes pixels, uint8 (N, 3, 32, 32) with any N up to `BATCH`; returns logits (N, classes).
    data_dir : str, optional
        Where a run's training data was.
    """

    classes: tuple[str, ...]
    facts: dict[str, Any]
    run: Callable[[np.ndarray], np.ndarray]
    data_dir: str | None = None

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Return logits, float32 (N, classes), of any number of images, uint8 (N, 3, 32, 32)."""
        logits = np.empty((len(images), len(self.classes)), np.float32)
        for start in range(0, len(images), BATCH):
            part = logits[start : start + BATCH]
            found = self.run(images[start : start + BATCH])
            if found.shape != part.shape:  # a file may show this process what it hid before
                raise InputError(f"logits of shape {found.shape} instead of {part.shape}")
            part[:] = found
        return logits

    def probabilities(self, images: np.ndarray, flip: bool = False) -> np.ndarray:
        """Return probabilities, float64 (N, classes), of images, uint8 (N, 3, 32, 32).

        With `flip` they are the mean of those of each image and of its mirror image.
        """
        probabilities = softmax(self.logits(images))
        if flip:
            probabilities = (probabilities + softmax(self.logits(images[..., ::-1]))) / 2
        return probabilities


def open_classifier(source: str | Path, ctx: str = "cpu") -> Classifier:
    """Open a run folder, a checkpoint, a pretrained model, an exported symbol or an ONNX file.

    Parameters
    ----------
    source : path or str
        The folder or the file; of a symbol, its folder or any of its three files; of a pretrained
        model, its name.
    ctx : str
        Where MXNet computes: ``cpu``, ``gpu`` or ``auto``. onnxruntime computes on the CPU.

    Raises
    ------
    InputError
        If there is no such thing, or it is damaged, hostile or not one of this project's.
    """
    path = Path(source)
    if path.suffix == ".onnx":
        return Classifier(*open_onnx(path))
    import runtime  # noqa: F401  before MXNet, which it prepares this process for

    import compiler
    from exports.symbol import SYMBOL_FILES, open_symbol
    from inference.logits import compute_logits
    from inference.trained import load_trained
    from utils import contexts

    devices = contexts(ctx)
    if path.name in SYMBOL_FILES:
        path = path.parent
    if os.path.isfile(path / SYMBOL_FILES[0]):
        return Classifier(*open_symbol(path, devices[0]))
    trained = load_trained(source, devices)
    net = compiler.freeze(trained.net, devices)

    def run(images: np.ndarray) -> np.ndarray:
        return compute_logits(net, images, trained.normaliser, devices, BATCH)

    return Classifier(trained.classes, trained.facts, run, trained.data_dir)
