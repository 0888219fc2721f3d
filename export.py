"""Take a trained net out of this repository: as an MXNet symbol, or as ONNX.

    python export.py runs/NAME --format symbol     # runs/NAME/export/model-symbol.json and its like
    python export.py runs/NAME --format onnx       # runs/NAME/export/model.onnx

Nothing is reported as written before it has been loaded again and has given the net's own logits.
"""

from __future__ import annotations

from errors import InputError, Parser, command_line  # isort: split

import contextlib
import functools
import json
import os
import shutil
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any, Iterator, Mapping, Sequence

from runtime import mx

import numpy as np
from mxnet import gluon

from formats.portable import (
    check_agreement,
    describe,
    device_of,
    make_pixels,
    net_logits,
    portable_graph,
    rounding_error,
)
from formats.weights import save_arrays
from training.artefacts import MODEL_FILE, SYMBOL_FILES, load_trained
from utils import sha256, sync_folder, to_input, to_json, write_atomically, write_synced, writing

# mxnet.onnx writes operators of opset 13, whose BatchNormalization does not say that it is not
# training: onnx's own ReferenceEvaluator takes the images' statistics there. From 14 on it says so.
# Of the other operators Add, Mul, Sub, Relu, Identity and Reshape have changed; they allow more.
OPSET = 14
_IR_VERSION = 7  # of the files of opset 14: every onnxruntime since 1.8 reads them
_SYMBOL_BATCH = 16
_ONNX_BATCHES = (1, 64)


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """MXNet's loader cannot decide the type of floats, and its ONNX module uses old names."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# ------------------------------------------------------------------------------------- symbol


def export_symbol(
    net: Any,
    folder: str | Path,
    classes: Sequence[str],
    mean: np.ndarray,
    std: np.ndarray,
    normalise: bool = True,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Path]:
    """Write a net as a symbol that `gluon.SymbolBlock.imports` and `mx.mod.Module` load.

    The files are written beside their place, loaded again and compared with the net; only then do
    they replace what is there.

    Parameters
    ----------
    net : gluon.HybridBlock
        Takes normalised images (N, 3, 32, 32), returns logits (N, classes).
    folder : path
        Where ``model-symbol.json``, ``model-0000.params`` and ``model.json`` go.
    classes : sequence of str
        Class names.
    mean, std : numpy.ndarray
        (3,), of the training images, in units of 0 to 255.
    normalise : bool
        Whether the symbol takes pixels from 0 to 255 and normalises them itself.
    extra : mapping, optional
        What else ``model.json`` should say, in a form that JSON can hold.

    Returns
    -------
    dict of str to Path
        The files written, by their names.

    Raises
    ------
    InputError
        If they cannot be written, or the reloaded symbol does not agree with the net.
    """
    folder = Path(folder)
    side = folder.with_name(f".{folder.name}.writing")
    symbol, arrays = portable_graph(net, mean, std, normalise)
    rounding = functools.partial(rounding_error, net, symbol, arrays, mean, std)
    device, pixels = device_of(net), make_pixels(_SYMBOL_BATCH)
    expected = net_logits(net, pixels, mean, std)
    try:
        with writing(folder):
            shutil.rmtree(side, ignore_errors=True)
            side.mkdir(parents=True)
            _write_symbol(side, symbol, arrays, describe(classes, mean, std, normalise, extra))
        with _without_warnings():
            files = [str(side / name) for name in SYMBOL_FILES]
            loaded = gluon.SymbolBlock.imports(files[0], ["data"], files[1], ctx=device)
        inputs = mx.nd.array(pixels, ctx=device)
        if not normalise:
            inputs = to_input(pixels, mean, std, device)
        check_agreement(f"the symbol for {folder}", loaded(inputs).asnumpy(), expected, rounding)
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for name in SYMBOL_FILES:
                os.replace(side / name, folder / name)
            sync_folder(folder)
    finally:
        shutil.rmtree(side, ignore_errors=True)
    return {name: folder / name for name in SYMBOL_FILES}


def _write_symbol(
    folder: Path, symbol: Any, arrays: Mapping[str, Any], description: dict[str, Any]
) -> None:
    """Write the three files; ``model.json`` has the checksums of the other two."""
    symbol_file, params_file, model_file = SYMBOL_FILES
    graph = symbol.tojson().encode()
    write_synced(folder / symbol_file, graph)
    params = save_arrays(folder / params_file, arrays)
    checksums = {symbol_file: sha256(graph), params_file: sha256(params)}
    write_synced(folder / model_file, to_json({**description, "sha256": checksums}, indent=1))


# --------------------------------------------------------------------------------------- ONNX


def export_onnx(
    net: Any,
    path: str | Path,
    classes: Sequence[str],
    mean: np.ndarray,
    std: np.ndarray,
    normalise: bool = True,
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Write a net as an ONNX file that says itself what its input and its classes are.

    Its input ``data`` is (N, 3, 32, 32) for any N, its output ``logits`` (N, classes). Metadata has
    what ``model.json`` has beside a symbol. `onnx.checker` passes it, and onnxruntime gives the
    net's logits for one image and for 64, before it replaces what is there.

    Parameters
    ----------
    net, classes, mean, std, normalise, extra
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
        If it cannot be written, or does not agree with the net.
    """
    import onnx
    import onnxruntime

    path = Path(path)
    symbol, arrays = portable_graph(net, mean, std, normalise)
    rounding = functools.partial(rounding_error, net, symbol, arrays, mean, std)
    model = _convert(symbol, arrays)
    description = describe(classes, mean, std, normalise, extra)
    onnx.helper.set_model_props(model, {k: json.dumps(v) for k, v in description.items()})
    onnx.checker.check_model(model, full_check=True)
    data = model.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    for batch in _ONNX_BATCHES:
        pixels = make_pixels(batch)
        inputs = pixels
        if not normalise:
            inputs = to_input(pixels, mean, std, mx.cpu()).asnumpy()
        logits = session.run(["logits"], {"data": inputs})[0]
        expected = net_logits(net, pixels, mean, std)
        check_agreement(f"{path} at batch {batch}", logits, expected, rounding)
    with writing(path):
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
        with tempfile.TemporaryDirectory() as folder, _without_warnings():
            file = os.path.join(folder, "model.onnx")
            options = {"dynamic": True, "dynamic_input_shapes": [shape]}
            mxnet_onnx.export_model(symbol, values, [(1, *shape[1:])], np.float32, file, **options)
            model = onnx.load(file)
    finally:
        context.opset_imports = newest
    model.ir_version = _IR_VERSION
    del model.opset_import[:]
    model.opset_import.append(onnx.helper.make_opsetid("", OPSET))
    # Weights among the inputs could be replaced by the caller, so nothing would be folded.
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


# ---------------------------------------------------------------------------------------- main


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Export what the command line names."""
    parser = Parser(description="Export a trained net.")
    parser.add_argument("run", metavar="RUN", help="run folder, checkpoint, or pretrained model")
    parser.add_argument("--format", choices=("symbol", "onnx"), default="symbol")
    parser.add_argument("--out", help="folder to write to [RUN/export]")
    parser.add_argument(
        "--normalised-input",
        action="store_true",
        help="leave (pixel - mean) / std to the caller instead of taking pixels from 0 to 255",
    )
    arguments = parser.parse_args(argv)
    trained = load_trained(arguments.run)
    # Training deletes its older checkpoints, with all that is in them.
    if not arguments.out and not (Path(arguments.run) / "config.json").is_file():
        raise InputError(f"{arguments.run} is no run folder to export into: give one by --out")
    folder = Path(arguments.out or Path(arguments.run) / "export")
    what = (trained.classes, trained.mean, trained.std)
    how = (not arguments.normalised_input, trained.facts)
    if arguments.format == "onnx":
        print(export_onnx(trained.net, folder / MODEL_FILE, *what, *how))
    else:
        for path in export_symbol(trained.net, folder, *what, *how).values():
            print(path)


if __name__ == "__main__":
    sys.exit(main())
