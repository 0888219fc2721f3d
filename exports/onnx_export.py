"""Export a net as ONNX, which onnxruntime and others compute without MXNet."""

from __future__ import annotations

import functools
import json
import os
import tempfile
from pathlib import Path
from typing import Any, Mapping, Sequence

import numpy as np

from errors import InputError
from exports.description import describe
from exports.graph import (
    check_agreement,
    make_pixels,
    net_logits,
    portable_graph,
    rounding_error,
    without_warnings,
)
from utils import Normaliser, one_line, write_atomically

MODEL_FILE = "model.onnx"
# mxnet.onnx writes operators of opset 13. There BatchNormalization cannot say that it is not
# training, and onnx's own ReferenceEvaluator takes the batch's statistics; from 14 on it says so.
# Of the other operators, Add, Mul, Sub, Relu, Identity and Reshape have changed: they allow more.
OPSET = 14
_IR_VERSION = 7  # of the files of opset 14: every onnxruntime since 1.8 reads them
_BATCHES = (1, 64)


def export_onnx(
    net: Any,
    path: str | Path,
    classes: Sequence[str],
    normaliser: Normaliser,
    normalise: bool = True,
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Write a net as an ONNX file whose metadata describe its input and its classes.

    Its input ``data`` is (N, 3, 32, 32) for any N, its output ``logits`` (N, classes). The metadata
    are those of ``model.json`` beside a symbol. Before the file replaces what is there,
    `onnx.checker` has passed it, and onnxruntime has given the net's logits for 1 and 64 images.

    Parameters
    ----------
    net, classes, normaliser, normalise, extra
        As in `export_symbol`; the net on the CPU, where onnxruntime computes.
    path : path
        The file.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        If it cannot be written, does not agree with the net, or onnx is too new for MXNet.
    """
    import onnx
    import onnxruntime

    path = Path(path)
    symbol, arrays = portable_graph(net, normaliser, normalise)
    rounding = functools.partial(rounding_error, net, symbol, arrays, normaliser)
    model = _convert(symbol, arrays)
    description = describe(classes, normaliser, normalise, extra)
    onnx.helper.set_model_props(model, {k: json.dumps(v) for k, v in description.items()})
    onnx.checker.check_model(model, full_check=True)
    data = model.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    for batch in _BATCHES:
        pixels = make_pixels(batch)
        inputs = pixels
        if not normalise:
            inputs = normaliser.arrays(pixels)
        logits = session.run(["logits"], {"data": inputs})[0]
        expected = net_logits(net, pixels, normaliser)
        check_agreement(f"{path} at batch {batch}", logits, expected, rounding)
    with one_line(f"cannot write {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, data)
    return path


def _convert(symbol: Any, arrays: Mapping[str, Any]) -> Any:
    """Return an ONNX model of a graph, with nothing but the images among its inputs."""
    import onnx
    from mxnet import onnx as mxnet_onnx

    values = {name.partition(":")[2]: value for name, value in arrays.items()}
    shape = ("N", 3, 32, 32)
    # mxnet.onnx checks and labels its operators as of the newest opset there is.
    context = onnx.checker.DEFAULT_CONTEXT
    newest, context.opset_imports = context.opset_imports, {"": OPSET}
    try:
        with tempfile.TemporaryDirectory() as folder, without_warnings():
            file = os.path.join(folder, "model.onnx")
            options = {"dynamic": True, "dynamic_input_shapes": [shape]}
            mxnet_onnx.export_model(symbol, values, [(1, *shape[1:])], np.float32, file, **options)
            model = onnx.load(file)
    except ImportError as error:  # it says that there is no onnx, where a part of it has gone
        raise InputError(
            f"mxnet.onnx cannot use onnx {onnx.__version__}: requirements/common.txt has the "
            "version to take"
        ) from error
    finally:
        context.opset_imports = newest
    model.ir_version = _IR_VERSION
    del model.opset_import[:]
    model.opset_import.append(onnx.helper.make_opsetid("", OPSET))
    # The caller could replace weights that are inputs, so onnxruntime would not fold them.
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [entry for entry in model.graph.input if entry.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    (output,) = model.graph.output
    (last,) = (node for node in model.graph.node if output.name in node.output)
    last.output[list(last.output).index(output.name)] = "logits"
    classes = symbol.infer_shape(data=(1, *shape[1:]))[1][0][1]
    kind = onnx.TensorProto.FLOAT
    output.CopyFrom(onnx.helper.make_tensor_value_info("logits", kind, ["N", classes]))
    return model
