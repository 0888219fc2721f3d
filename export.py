"""Take a trained net out of this repository: as an MXNet symbol, or as ONNX.

python export.py runs/NAME --format symbol     # runs/NAME/export/model-symbol.json and its like
python export.py runs/NAME --format onnx       # runs/NAME/export/model.onnx
"""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path
from typing import Any, Mapping, Sequence

from runtime import mx

import numpy as np
from mxnet import gluon

from checkpoints import current_value, save_arrays
from errors import InputError
from models import portable_symbol
from utils import normalise as normalise_images
from utils import sha256, sync_folder, to_json, write_synced, writing

SYMBOL_FILES = ("model-symbol.json", "model-0000.params", "model.json")
# Largest difference allowed between an export and its net: a share of the largest logit (or of 1,
# where all logits are smaller). Float32 sums in another order differ by about a tenth of this.
TOLERANCE = 1e-5
_TEST_IMAGES = 16


def portable_graph(
    net: Any, mean: np.ndarray, std: np.ndarray, normalise: bool
) -> tuple[Any, dict[str, Any]]:
    """Return a net as a symbol of operators that every device has, and its parameters.

    Parameters
    ----------
    net : gluon.HybridBlock
        Takes normalised images.
    mean, std : numpy.ndarray
        (3,), in units of 0 to 255.
    normalise : bool
        Whether the graph starts from pixels (0 to 255) instead of normalised images.

    Returns
    -------
    symbol : Symbol
        From ``data``, float32 (N, 3, 32, 32), to logits (N, classes).
    arrays : dict of str to NDArray
        On the CPU, by names that start with ``arg:`` or ``aux:``.
    """
    data, constants = mx.sym.var("data"), {}
    if normalise:
        shape = (1, 3, 1, 1)
        constants = {
            "pixel_mean": mx.nd.array(np.reshape(mean, shape)),
            "pixel_scale": mx.nd.array(np.reshape(1 / np.asarray(std, np.float64), shape)),
        }
        offset, scale = (mx.sym.var(name, shape=shape) for name in constants)
        data = mx.sym.broadcast_mul(mx.sym.broadcast_sub(data, offset), scale)
    # On a CPU, Module fuses a convolution with an addition of this kind and then, in GluonCV's
    # cifar_resnet*_v2, overwrites what another operator has yet to read.
    graph = (
        portable_symbol(net, data).tojson().replace('"op": "elemwise_add"', '"op": "broadcast_add"')
    )
    symbol = mx.sym.load_json(graph)
    values = {p.name: current_value(p) for p in net.collect_params().values()}
    values.update(constants)
    kinds = [("arg", name) for name in symbol.list_arguments() if name != "data"]
    kinds += [("aux", name) for name in symbol.list_auxiliary_states()]
    arrays = {f"{kind}:{name}": values[name].as_in_context(mx.cpu()) for kind, name in kinds}
    return symbol, arrays


def make_pixels(count: int = _TEST_IMAGES) -> np.ndarray:
    """Return random images to compare nets on: float32 (count, 3, 32, 32), 0 to 255."""
    return np.random.RandomState(0).randint(0, 256, (count, 3, 32, 32)).astype(np.float32)


def difference(outputs: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference of two arrays of logits, in the unit of `TOLERANCE`."""
    return float(np.abs(outputs - expected).max() / max(1.0, np.abs(expected).max()))


def check_agreement(what: str, outputs: np.ndarray, expected: np.ndarray) -> None:
    """Raise `InputError`, saying by how much, if an export's logits differ from the net's."""
    found = difference(outputs, expected)
    if not found <= TOLERANCE:  # so written, NaN is refused
        raise InputError(
            f"{what} does not agree with the net and was deleted: its logits differ by {found:.2g} "
            f"of the largest, {TOLERANCE:g} is allowed"
        )


def expected_logits(net: Any, pixels: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Return the logits of a net itself, on the first device that it is on."""
    device = next(iter(net.collect_params().values())).list_ctx()[0]
    return net(normalise_images(mx.nd.array(pixels, ctx=device), mean, std)).asnumpy()


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
    symbol_file, params_file, description_file = SYMBOL_FILES
    symbol, arrays = portable_graph(net, mean, std, normalise)
    pixels = make_pixels()
    expected = expected_logits(net, pixels, mean, std)
    device = next(iter(net.collect_params().values())).list_ctx()[0]
    with writing(folder):
        shutil.rmtree(side, ignore_errors=True)
        side.mkdir(parents=True)
    try:
        with writing(folder):
            files = {symbol_file: symbol.tojson().encode()}
            write_synced(side / symbol_file, files[symbol_file])
            files[params_file] = save_arrays(side / params_file, arrays)
            description = {
                **describe(classes, mean, std, normalise, extra),
                "sha256": {name: sha256(data) for name, data in files.items()},
            }
            write_synced(side / description_file, to_json(description, indent=1) + b"\n")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Cannot decide type")  # it is that of floats
            loaded = gluon.SymbolBlock.imports(
                str(side / symbol_file), ["data"], str(side / params_file), ctx=device
            )
        inputs = mx.nd.array(pixels, ctx=device)
        if not normalise:
            inputs = normalise_images(inputs, mean, std)
        check_agreement(f"the symbol for {folder}", loaded(inputs).asnumpy(), expected)
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for name in SYMBOL_FILES:
                os.replace(side / name, folder / name)
            sync_folder(folder)
    finally:
        shutil.rmtree(side, ignore_errors=True)
    return {name: folder / name for name in SYMBOL_FILES}


def describe(
    classes: Sequence[str],
    mean: np.ndarray,
    std: np.ndarray,
    normalise: bool,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return what a user of an export has to know, as it stands in ``model.json`` and in ONNX."""
    return {
        **(extra or {}),
        "classes": list(classes),
        "input": {
            "name": "data",
            "shape": ["N", 3, 32, 32],
            "type": "float32",
            "channels": "RGB",
            "range": "0 to 255" if normalise else "normalised: (pixel - mean) / std",
        },
        "normalised_input": not normalise,
        "output": "logits (N, classes): softmax makes them probabilities",
        "mean": [float(value) for value in mean],
        "std": [float(value) for value in std],
    }
