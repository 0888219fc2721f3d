"""Load exported symbols from files that are not trusted.

MXNet's own parsers trust the files that they read. So the graph is checked first: it holds nothing
but operators that `symbol_export` writes, each after its inputs. Parameters are read by
`params_file`, never by MXNet.
"""

from __future__ import annotations

import json
from typing import Any, Sequence

from runtime import mx

import numpy as np
from mxnet import gluon

from errors import InputError
from exports.sandbox import reason
from weights.params_file import read_params

# Those of every model in the registry; none of them reads files or runs code from the graph.
OPERATORS = frozenset(
    (
        "null",
        "Activation",
        "BatchNorm",
        "Concat",
        "Convolution",
        "Flatten",
        "FullyConnected",
        "Pooling",
        "Reshape",
        "_contrib_BilinearResize2D",
        "_copy",
        "_mul_scalar",
        "broadcast_add",
        "broadcast_mul",
        "broadcast_sub",
        "elemwise_mul",
        "mean",
        "ones_like",
        "sigmoid",
    )
)
_MAX_NODES = 100_000
_NODE = {"op", "name", "attrs", "inputs"}
_GRAPH = {"nodes", "arg_nodes", "node_row_ptr", "heads", "attrs"}


def check_graph(text: bytes) -> None:
    """Raise `ValueError` unless some bytes are a graph as `Symbol.tojson` writes it.

    Parameters
    ----------
    text : bytes
        JSON.
    """
    graph = json.loads(text)
    _check(isinstance(graph, dict) and set(graph) == _GRAPH, "is not a graph")
    nodes = graph["nodes"]
    _check(isinstance(nodes, list) and 0 < len(nodes) <= _MAX_NODES, "has no nodes or too many")
    for number, node in enumerate(nodes):
        where = f"node {number}"
        _check(isinstance(node, dict) and set(node) <= _NODE, f"{where} has unknown fields")
        operator, attributes = node.get("op"), node.get("attrs", {})
        _check(
            operator in OPERATORS, f"{where}: operator {operator!r:.60} is not one to be exported"
        )
        _check(isinstance(node.get("name"), str), f"{where} has no name")
        _check(isinstance(attributes, dict), f"{where} has no attributes")
        _check(all(isinstance(v, str) for v in attributes.values()), f"{where}: odd attribute")
        inputs = node.get("inputs")
        _check(isinstance(inputs, list), f"{where} has no inputs")
        # Only earlier nodes, so there are no cycles.
        _check(all(_is_entry(entry, number) for entry in inputs), f"{where}: input out of range")
        _check(bool(inputs) != (operator == "null"), f"{where} has odd inputs")
    variables = [number for number, node in enumerate(nodes) if node["op"] == "null"]
    _check(graph["arg_nodes"] == variables, "lists other variables than it has")
    names = [nodes[number]["name"] for number in variables]
    _check(len(set(names)) == len(names), "has two variables of a name")
    heads = graph["heads"]
    _check(isinstance(heads, list) and len(heads) == 1, "does not have one output")
    _check(_is_entry(heads[0], len(nodes)), "has its output out of range")
    rows = graph["node_row_ptr"]
    _check(isinstance(rows, list) and all(_is_index(row, 2**31) for row in rows), "has odd rows")
    _check(len(rows) == len(nodes) + 1 and sorted(rows) == rows, "has odd rows")


def _check(fits: bool, what: str) -> None:
    if not fits:
        raise ValueError(what)


def _is_index(value: Any, end: int) -> bool:
    return type(value) is int and 0 <= value < end


def _is_entry(entry: Any, end: int) -> bool:
    """Whether [node, output, version] points at a node before `end`."""
    if not isinstance(entry, list) or len(entry) != 3:
        return False
    return _is_index(entry[0], end) and _is_index(entry[1], 8) and _is_index(entry[2], 2**31)


def load_symbol(graph: bytes, params: bytes, ctx: Sequence[Any] | None = None) -> Any:
    """Return an exported net.

    Parameters
    ----------
    graph : bytes
        Content of ``model-symbol.json``.
    params : bytes
        Content of ``model-0000.params``.
    ctx : list of mxnet.Context, optional
        Where to put it; the CPU by default.

    Returns
    -------
    gluon.SymbolBlock
        From images (N, 3, 32, 32) to logits.

    Raises
    ------
    InputError
        If the files are not what `symbol_export.export_symbol` writes.
    """
    try:
        check_graph(graph)
        symbol = mx.sym.load_json(graph.decode())
        net = gluon.SymbolBlock(symbol, mx.sym.var("data", dtype="float32"))
    except (ValueError, RecursionError, mx.MXNetError) as error:
        raise InputError(f"the graph: {reason(error)}") from error
    arrays = read_params(params, "the parameter file")
    values = {name.partition(":")[2]: value for name, value in arrays.items()}
    wanted = dict(net.collect_params())
    if set(values) != set(wanted) or len(values) != len(arrays):
        odd = sorted(set(values) ^ set(wanted)) or sorted(arrays)
        raise InputError(f"graph and parameter file do not fit: {', '.join(odd[:3])}")
    for name, parameter in wanted.items():
        if values[name].dtype != np.float32:
            raise InputError(f"parameter {name} is {values[name].dtype} instead of float32")
        parameter._load_init(mx.nd.array(values[name]), ctx or mx.cpu())
    return net


def try_symbol(graph: bytes, params: bytes, classes: bytes) -> None:
    """Load a symbol and run it, for `sandbox.rehearse`; `classes` is a number in decimal digits."""
    net = load_symbol(graph, params)
    for batch in (1, 2):
        logits = net(mx.nd.zeros((batch, 3, 32, 32)))
        if not isinstance(logits, mx.nd.NDArray) or logits.shape != (batch, int(classes)):
            raise InputError("its output is not one logit for each class")
        logits.wait_to_read()
