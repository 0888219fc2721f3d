"""What goes with an export: its classes, its input, and where it comes from."""

from __future__ import annotations

from typing import Any, Callable, Dict, Mapping, Sequence, Tuple

import numpy as np

from errors import InputError, expected_form
from utils import Normaliser

Run = Callable[[np.ndarray], np.ndarray]  # from pixels, uint8 (N, 3, 32, 32), to logits
# What an export of any format is loaded as: class names, all of its description, and itself.
Loaded = Tuple[Tuple[str, ...], Dict[str, Any], Run]


def describe(
    classes: Sequence[str],
    normaliser: Normaliser,
    normalise: bool,
    extra: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return what a user of an export has to know: ``model.json``, and ONNX metadata."""
    return {
        **(extra or {}),
        "classes": list(classes),
        **normaliser.to_dict(),
        "input": {
            "name": "data",
            "shape": ["N", 3, 32, 32],
            "type": "float32",
            "channels": "RGB",
            "range": "0 to 255" if normalise else "(pixel - mean) / std",
        },
        "normalised_input": not normalise,
        "output": "logits (N, classes); their softmax is the probabilities",
    }


def read_description(facts: Mapping[str, Any]) -> tuple[tuple[str, ...], Run]:
    """Return class names, and a function that turns pixels into an export's input.

    Parameters
    ----------
    facts : mapping
        What `describe` returned, or anything else: it is not trusted.

    Raises
    ------
    InputError
        If something is missing or makes no sense.
    """
    fault = "it does not say what its classes and its input are (export it with export.py)"
    with expected_form(fault):
        classes = tuple(facts["classes"])
        normaliser = Normaliser.from_dict(facts)
        normalised = facts["normalised_input"]
    if len(classes) < 2 or not all(isinstance(name, str) for name in classes):
        raise InputError("it names odd classes")

    def prepare(images: np.ndarray) -> np.ndarray:
        return normaliser.arrays(images) if normalised else images.astype(np.float32)

    return classes, prepare
