"""Load ONNX files that are not trusted into onnxruntime, without MXNet."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from errors import InputError
from exports.description import read_description


def load_onnx(data: bytes) -> tuple[Any, dict[str, Any]]:
    """Return an onnxruntime session of a file's bytes, and its metadata."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised; users need not see the rest
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    return session, {key: json.loads(value) for key, value in metadata.items()}


def try_onnx(data: bytes) -> None:
    """Load an ONNX file and run it, for `exports.sandbox.rehearse`."""
    session, facts = load_onnx(data)
    classes, prepare = read_description(facts, "its metadata")
    inputs, outputs = session.get_inputs(), session.get_outputs()
    kinds = {entry.type for entry in (*inputs, *outputs)}
    if len(inputs) != 1 or len(outputs) != 1 or kinds != {"tensor(float)"}:
        raise InputError("it does not have one input and one output of type float")
    for batch in (1, 2):
        pixels = prepare(np.zeros((batch, 3, 32, 32), np.uint8))
        logits = session.run(None, {inputs[0].name: pixels})[0]
        if logits.shape != (batch, len(classes)):
            raise InputError("its output is not one logit for each class")
