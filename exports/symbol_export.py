"""Export a net as a symbol, which any MXNet loads without this repository."""

from __future__ import annotations

import functools
import os
import shutil
from pathlib import Path
from typing import Any, Mapping, Sequence

from runtime import mx

from mxnet import gluon

from exports.description import describe
from exports.graph import (
    check_agreement,
    device_of,
    make_pixels,
    net_logits,
    portable_graph,
    rounding_error,
    without_warnings,
)
from utils import Normaliser, one_line, sha256, sync_folder, to_device, to_json, write_synced
from weights.parameters import save_arrays

SYMBOL_FILES = ("model-symbol.json", "model-0000.params", "model.json")
_BATCH = 16


def export_symbol(
    net: Any,
    folder: str | Path,
    classes: Sequence[str],
    normaliser: Normaliser,
    normalise: bool = True,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Path]:
    """Write a net as a symbol that `gluon.SymbolBlock.imports` and `mx.mod.Module` load.

    The files are written to a temporary folder, loaded again and compared with the net; only then
    do they replace what is there.

    Parameters
    ----------
    net : gluon.HybridBlock
        Takes normalised images (N, 3, 32, 32), returns logits (N, classes).
    folder : path
        Where ``model-symbol.json``, ``model-0000.params`` and ``model.json`` go.
    classes : sequence of str
        Class names.
    normaliser : Normaliser
        The training images'.
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
    symbol, arrays = portable_graph(net, normaliser, normalise)
    rounding = functools.partial(rounding_error, net, symbol, arrays, normaliser)
    device, pixels = device_of(net), make_pixels(_BATCH)
    expected = net_logits(net, pixels, normaliser)
    try:
        with one_line(f"cannot write {folder}"):
            shutil.rmtree(side, ignore_errors=True)
            side.mkdir(parents=True)
            _write_symbol(side, symbol, arrays, describe(classes, normaliser, normalise, extra))
        with without_warnings():
            files = [str(side / name) for name in SYMBOL_FILES]
            loaded = gluon.SymbolBlock.imports(files[0], ["data"], files[1], ctx=device)
        inputs = mx.nd.array(pixels, ctx=device)
        if not normalise:
            inputs = to_device(normaliser.arrays(pixels), device)
        check_agreement(f"the symbol for {folder}", loaded(inputs).asnumpy(), expected, rounding)
        with one_line(f"cannot write {folder}"):
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
