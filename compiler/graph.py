"""A symbol as nodes, each of which can be made anew with other inputs and attributes."""

from __future__ import annotations

import ast
import json

from runtime import mx

import numpy as np


class Node:
    """An operator or a variable of a symbol.

    Attributes
    ----------
    op, name : str
        The operator is ``null`` for a variable.
    inputs : list of (int, int)
        Number of the node, and of its output, that each input is.
    attrs : dict of str to str
    shapes : list of tuple of int
        Of its outputs.
    """

    def __init__(self, op, name, inputs, attrs=None, **rest):
        self.op = op
        self.name = name
        self.inputs = [tuple(entry[:2]) for entry in inputs]
        self.attrs = attrs or {}
        self.shapes = []
        self._rest = rest  # graphs within a control-flow operator

    def get(self, attribute, default=None):
        """Return an attribute as a Python value."""
        try:
            return ast.literal_eval(self.attrs[attribute])
        except KeyError:
            return default
        except (ValueError, SyntaxError):
            return self.attrs[attribute]

    def emit(self, *symbols, op=None, **attrs):
        """Return the node's operator on other inputs and, maybe, with other attributes."""
        places = [f"input{number}" for number in range(len(symbols))]
        nodes = [{"op": "null", "name": place, "inputs": []} for place in places]
        nodes.append(
            {
                **self._rest,
                "op": op or self.op,
                "name": self.name,
                "attrs": {**self.attrs, **{key: str(value) for key, value in attrs.items()}},
                "inputs": [[number, 0, 0] for number in range(len(symbols))],
            }
        )
        graph = {
            "nodes": nodes,
            "arg_nodes": list(range(max(1, len(symbols)))),
            "heads": [[len(symbols), 0, 0]],
            "attrs": {"mxnet_version": ["int", int(mx.__version__.replace(".", "0"))]},
        }
        symbol = mx.sym.load_json(json.dumps(graph))
        outputs = len(symbol.get_internals().list_outputs()) - len(symbols)
        if outputs > 1:
            graph["heads"] = [[len(symbols), number, 0] for number in range(outputs)]
            symbol = mx.sym.load_json(json.dumps(graph))
        return symbol(**dict(zip(places, symbols))) if symbols else symbol


def read(symbol, shapes):
    """Return a symbol's nodes, in order, and its heads as (node, output).

    Parameters
    ----------
    symbol : Symbol
    shapes : dict of str to tuple of int
        Of all inputs.

    Returns
    -------
    nodes : list of Node
    heads : list of (int, int)
    """
    graph = json.loads(symbol.tojson(remove_amp_cast=False))  # by default it drops casts
    known = iter(symbol.get_internals().infer_shape(**shapes)[1])
    nodes = [Node(**node) for node in graph["nodes"]]
    for node in nodes:
        outputs = len(node.emit(*[mx.sym.var("x")] * len(node.inputs)).list_outputs())
        node.shapes = [next(known) for _ in range(outputs)]
    return nodes, [tuple(entry[:2]) for entry in graph["heads"]]


def is_float32(symbol):
    """Whether everything in a symbol is float32, where its inputs are."""
    inputs = dict.fromkeys(symbol.list_inputs(), np.float32)
    return set(symbol.get_internals().infer_type(**inputs)[1]) == {np.float32}
