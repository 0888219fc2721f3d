"""Nets as ONNX files, which onnxruntime and others compute without MXNet.

Only writing needs MXNet and onnx. Reading needs onnxruntime alone.
"""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any, Mapping, Sequence

import numpy as np

from errors import InputError
from exports.description import Loaded, describe, read_description
from exports.sandbox import try_in_child
from utils import Normaliser, one_line, read_regular, write_atomically
from weights.params_file import MAX_BYTES

MODEL_FILE = "model.onnx"
# mxnet.onnx writes operators of opset 13. There BatchNormalization cannot say that it is not
# training, and onnx's own ReferenceEvaluator takes the batch's statistics; from 14 on it says so.
# Of the other operators, Add, Mul, Sub, Relu, Identity and Reshape have changed: they allow more.
OPSET = 14
_IR_VERSION = 7  # of the files of opset 14: every onnxruntime since 1.8 reads them


def export_onnx(
    net: Any,
    path: str | Path,
    classes: Sequence[str],
    normaliser: Normaliser,
    normalise: bool = True,
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Write a net as an ONNX file whose metadata describe its input and its classes; return it.

    Its input ``data`` is (N, 3, 32, 32) for any N, its output ``logits`` (N, classes). The metadata
    are those of ``model.json`` beside a symbol. Before the file replaces what is there,
    `onnx.checker` has passed it, and onnxruntime has given the net's logits.

    Parameters
    ----------
    net, path, classes, normaliser, normalise, extra
        As in `exports.symbol.export_symbol`; the net on the CPU, where onnxruntime computes.

    Raises
    ------
    InputError
        If it cannot be written, does not agree with the net, or onnx is too new for MXNet.
    """
    import onnx

    from exports.graph import check_agreement, inference_graph

    path = Path(path)
    model = _convert(*inference_graph(net, normaliser, normalise))
    description = describe(classes, normaliser, normalise, extra)
    onnx.helper.set_model_props(model, {k: json.dumps(v) for k, v in description.items()})
    onnx.checker.check_model(model, full_check=True)
    data = model.SerializeToString()
    check_agreement(str(path), load_onnx(data), net, normaliser)
    write_atomically(path, data, make_folder=True)
    return path


def _convert(symbol: Any, arrays: Mapping[str, Any]) -> Any:
    """Return an ONNX model of a graph, with nothing but the images among its inputs."""
    from runtime import mx

    import onnx
    from mxnet import onnx as mxnet_onnx

    values = {name.partition(":")[2]: mx.nd.array(value) for name, value in arrays.items()}
    shape = ("N", 3, 32, 32)
    # mxnet.onnx checks and labels its operators as of the newest opset there is.
    context = onnx.checker.DEFAULT_CONTEXT
    newest, context.opset_imports = context.opset_imports, {"": OPSET}
    try:
        with one_line("cannot write a temporary file"), tempfile.TemporaryDirectory() as folder:
            file = os.path.join(folder, "model.onnx")
            options = {"dynamic": True, "dynamic_input_shapes": [shape]}
            arguments = (symbol, values, [(1, *shape[1:])], np.float32, file)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # mxnet.onnx's own, that no user can act on
                mxnet_onnx.export_model(*arguments, **options)
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


def load_onnx(data: bytes) -> Loaded:
    """Load an ONNX file's bytes into onnxruntime, on the CPU.

    Raises
    ------
    InputError
        If it does not describe itself as `export_onnx` does; onnxruntime raises errors of its own.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised; users need not see the rest
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    facts = {key: json.loads(value) for key, value in metadata.items()}
    classes, prepare = read_description(facts)
    inputs, outputs = session.get_inputs(), session.get_outputs()
    kinds = {entry.type for entry in (*inputs, *outputs)}
    if len(inputs) != 1 or len(outputs) != 1 or kinds != {"tensor(float)"}:
        raise InputError("it does not have one input and one output of type float")

    def run(images: np.ndarray) -> np.ndarray:
        try:
            return session.run(None, {inputs[0].name: prepare(images)})[0]
        except Exception as error:  # of onnxruntime's own kinds; a graph may go by its pixels
            raise InputError(f"onnxruntime cannot compute it: {error!s:.150}") from error

    return classes, facts, run


def open_onnx(path: Path) -> Loaded:
    """Load an ONNX file that is not trusted.

    Raises
    ------
    InputError
        If it cannot be read, is damaged or hostile, or was not written by `export_onnx`.
    """
    data = read_regular(path, MAX_BYTES)
    try_in_child(load_onnx, data, source=path)
    return load_onnx(data)
