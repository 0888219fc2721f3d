"""Nets as symbols, which any MXNet loads without this repository.

Reading trusts no file. MXNet's own parsers do, so they get none: a graph is written anew from what
it says of its nodes, and parameters are read by `weights.params_file`.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any, Mapping, Sequence

from runtime import mx

import numpy as np
from mxnet import gluon

import compiler
from errors import OTHER_FORM, InputError, expected_form
from exports.description import Loaded, describe, read_description
from exports.graph import check_agreement, device_of, inference_graph
from exports.sandbox import try_in_child
from utils import Normaliser, one_line, read_regular, sha256, to_json, whole_file
from weights.params_file import MAX_BYTES, read_params, write_params

SYMBOL_FILES = ("model.json", "model-symbol.json", "model-0000.params")
# Those of every model in the registry; none of them reads files or runs code from the graph.
OPERATORS = {
    *("null", "Activation", "BatchNorm", "Concat", "Convolution", "Flatten", "FullyConnected"),
    *("Pooling", "Reshape", "_contrib_BilinearResize2D", "_copy", "_mul_scalar", "broadcast_add"),
    *("broadcast_mul", "broadcast_sub", "elemwise_mul", "mean", "ones_like", "sigmoid"),
    "zeros_like",
}
_MAX_OUTPUTS = 8  # of one operator; these have five at most
_MAX_JSON = 16 * 2**20  # bytes; Python takes some ten times as many to read it


def export_symbol(
    net: Any,
    folder: str | Path,
    classes: Sequence[str],
    normaliser: Normaliser,
    normalise: bool = True,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Path]:
    """Write a net as a symbol that `gluon.SymbolBlock.imports` and `mx.mod.Module` load.

    Before the files replace what is there, they have been loaded and have given the net's logits.

    Parameters
    ----------
    net : gluon.HybridBlock
        Takes normalised images (N, 3, 32, 32), returns logits (N, classes).
    folder : path
        Where `SYMBOL_FILES` go.
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
    symbol, arrays = inference_graph(net, normaliser, normalise)
    graph = symbol.tojson().encode()
    params = write_params(arrays)
    facts = describe(classes, normaliser, normalise, extra)
    model = to_json({**facts, "sha256": _checksums(graph, params)}, indent=1)
    loaded = load_symbol(model, read_graph(graph, folder), params, device_of(net))
    check_agreement(f"the symbol for {folder}", loaded, net, normaliser)
    with one_line(f"cannot write {folder}"), contextlib.ExitStack() as files:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in zip(SYMBOL_FILES, (model, graph, params)):
            file = files.enter_context(whole_file(folder / name))
            file.write(data)
            file.flush()  # a full disk is noticed before any of them is replaced
    return {name: folder / name for name in SYMBOL_FILES}


def _checksums(graph: bytes, params: bytes) -> dict[str, str]:
    """Return what ``model.json`` says of the other two files."""
    return dict(zip(SYMBOL_FILES[1:], (sha256(graph), sha256(params))))


def read_graph(text: bytes, source: object) -> str:
    """Return a graph's JSON, written anew from what a file says of its nodes.

    So it holds nothing but operators that are exported, each after its inputs. The `text` should be
    what `Symbol.tojson` wrote; it is not trusted.

    Raises
    ------
    InputError
        If it is no such graph.
    """
    try:
        graph = json.loads(text)
        nodes = [_node(node, number) for number, node in enumerate(graph["nodes"])]
        (head,) = graph["heads"]
        head = _entry(head, len(nodes))
    except OTHER_FORM as error:
        raise InputError(f"{source} holds no graph of an exported net: {error!s:.150}") from error
    variables = [number for number, node in enumerate(nodes) if node["op"] == "null"]
    # Without its version, MXNet takes a graph for one of its first releases.
    version = {"mxnet_version": ["int", 10901]}
    return json.dumps({"nodes": nodes, "arg_nodes": variables, "heads": [head], "attrs": version})


def _node(node: Any, number: int) -> dict[str, Any]:
    operator, inputs = node["op"], [_entry(entry, number) for entry in node["inputs"]]
    if operator not in OPERATORS:
        raise ValueError(f"node {number}: operator {operator!r:.60} is not one to be exported")
    if bool(inputs) == (operator == "null"):
        raise ValueError(f"node {number}: {len(inputs)} inputs of {operator}")
    attributes = {str(key): str(value) for key, value in node.get("attrs", {}).items()}
    return {"op": operator, "name": str(node["name"]), "inputs": inputs, "attrs": attributes}


def _entry(entry: Any, end: int) -> list[int]:
    """Return [node, output, 0] of an input, which must be of a node before `end`."""
    node, output, *_ = entry
    if not (type(node) is type(output) is int and 0 <= node < end and 0 <= output < _MAX_OUTPUTS):
        raise ValueError(f"input {entry!r:.60} where {end} nodes are known")
    return [node, output, 0]


def load_symbol(model: bytes, graph: str, params: bytes, ctx: Any = None) -> Loaded:
    """Load an exported net from its files' content, and what `read_graph` returned, to a device.

    Raises
    ------
    InputError
        If the files are not what `export_symbol` writes; MXNet raises errors of its own.
    """
    ctx, facts = ctx or mx.cpu(), json.loads(model)
    classes, prepare = read_description(facts)
    arrays = read_params(params, "its parameter file")
    values = {name.partition(":")[2]: value for name, value in arrays.items()}
    net = gluon.SymbolBlock(mx.sym.load_json(graph), mx.sym.var("data", dtype="float32"))
    wanted = dict(net.collect_params())
    if set(values) != set(wanted) or len(values) != len(arrays):
        odd = sorted(set(values) ^ set(wanted)) or sorted(arrays)
        raise InputError(f"graph and parameter file do not fit: {', '.join(odd[:3])}")
    for name, parameter in wanted.items():
        if values[name].dtype != np.float32:
            raise InputError(f"parameter {name} is {values[name].dtype} instead of float32")
        parameter._load_init(mx.nd.array(values[name]), ctx)
    compiler.hybridize(net)

    def run(images: np.ndarray) -> np.ndarray:
        return net(mx.nd.array(prepare(images), ctx=ctx)).asnumpy()

    return classes, facts, run


def open_symbol(folder: Path, ctx: Any) -> Loaded:
    """Load a folder's symbol, which is not trusted, to a device.

    Raises
    ------
    InputError
        If a file cannot be read, is damaged or hostile, or was not written by `export_symbol`.
    """
    limits = (_MAX_JSON, _MAX_JSON, MAX_BYTES)
    model, graph, params = (
        read_regular(folder / name, limit) for name, limit in zip(SYMBOL_FILES, limits)
    )
    with expected_form(f"{folder / SYMBOL_FILES[0]} is damaged"):
        intact = json.loads(model)["sha256"] == _checksums(graph, params)
    if not intact:
        raise InputError(f"{folder} is damaged: its checksums are not those in {SYMBOL_FILES[0]}")
    nodes = read_graph(graph, folder)
    try_in_child(load_symbol, model, nodes, params, source=folder)
    return load_symbol(model, nodes, params, ctx)
