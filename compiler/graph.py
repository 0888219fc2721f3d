"""A symbol as nodes and values: read once from JSON, changed by passes, written once."""

from __future__ import annotations

import ast
import contextlib
import json

import mxnet as mx
import numpy as np


class Value:
    """One output of a node, and what is known of it.

    Attributes
    ----------
    node : Node
    number : int
        Which of the node's outputs.
    shape, dtype : tuple of int, numpy type; or None
        As read; of a value that a pass has made, unknown.
    parts : tuple of int or None
        Of images (N, C, H, W) whose channels are padded: the widths of the parts that the channels
        consist of, each with zeros up to a multiple of the block. None: the channels as they are.
    blocked : bool
        Whether oneDNN has written it in its blocked layout.
    """

    __slots__ = ("blocked", "dtype", "node", "number", "parts", "shape")

    def __init__(self, node, number):
        self.node, self.number = node, number
        self.shape = self.dtype = self.parts = None
        self.blocked = False

    def __str__(self):
        return f"%{self.node.name}" + (f".{self.number}" if self.number else "")


class Node:
    """An operator, or a variable, whose operator is ``null``.

    Attributes
    ----------
    op, name : str
    inputs, outputs : list of Value
        Outputs count those that MXNet hides from users, such as BatchNorm's statistics.
    attrs : dict of str to str
    """

    def __init__(self, op, name, inputs=(), attrs=None, outputs=1, rest=None):
        self.op, self.name = op, name
        self.inputs = list(inputs)
        self.attrs = dict(attrs or {})
        self.outputs = [Value(self, number) for number in range(outputs)]
        self._rest = rest or {}  # graphs within a control-flow operator

    @property
    def branches(self):
        """Whether it is control flow, with graphs of its own."""
        return "subgraphs" in self._rest

    def get(self, attribute, default=None):
        """Return an attribute as a Python value."""
        try:
            return ast.literal_eval(self.attrs[attribute])
        except KeyError:
            return default
        except (ValueError, SyntaxError):
            return self.attrs[attribute]

    def __str__(self):
        settings = "".join(f" {key}={value}" for key, value in self.attrs.items())
        line = f"%{self.name} = {self.op}({', '.join(map(str, self.inputs))}){settings}"
        first = self.outputs[0]
        facts = (first.shape, first.parts and f"parts={first.parts}", first.blocked and "blocked")
        return "  ".join([line, *(str(fact) for fact in facts if fact)])


class Graph:
    """Nodes, each after those that it reads.

    Attributes
    ----------
    nodes : list of Node
    heads : list of Value
        What the graph returns.
    constants : dict of str to (Value, tuple of int, float)
        Variables that whoever runs the graph fills, by name: shapes, and what fills them.
    batched : bool
        As read: whether it has this form for every batch, so that no shape depends on the batch but
        in its first length, as far as a batch of twice the size shows.
    """

    def __init__(self, attrs=None):
        self.nodes, self.heads, self.constants, self.batched = [], [], {}, False
        self.attrs = attrs or {}

    @classmethod
    def read(cls, symbol, shapes=None, types=None, data=()):
        """Return a symbol's graph.

        Given shapes of inputs by name, from which all others follow, and the types of those that
        are not float32, every value has its shape and type. `data` names the inputs whose first
        length is the batch's. Raises an MXNetError if the shapes do not fit, a ValueError if one
        depends on numbers.
        """
        text = json.loads(symbol.tojson(remove_amp_cast=False))  # by default it drops casts
        graph = cls(text["attrs"])
        rows = text["node_row_ptr"]
        for node, first, end in zip(text["nodes"], rows, rows[1:]):
            inputs = [graph.nodes[i].outputs[number] for i, number, *_ in node["inputs"]]
            rest = {key: node[key] for key in node.keys() - {"op", "name", "inputs", "attrs"}}
            fields = (node["op"], node["name"], inputs, node.get("attrs"), end - first, rest)
            graph.nodes.append(Node(*fields))
        graph.heads = [graph.nodes[i].outputs[number] for i, number, *_ in text["heads"]]
        if shapes is not None:
            types = {**dict.fromkeys(shapes, np.float32), **(types or {})}
            graph._infer(text, shapes, types, data)
        return graph

    def _infer(self, text, shapes, types, data):
        values = [value for node in self.nodes for value in node.outputs]
        numbers = {id(node): number for number, node in enumerate(self.nodes)}
        heads = [[numbers[id(value.node)], value.number, 0] for value in values]
        everything = mx.sym.load_json(json.dumps({**text, "heads": heads}))
        known = everything.infer_shape_partial(**shapes)[1]
        types = everything.infer_type(**types)[1] or [None] * len(known)
        for value, value.shape, value.dtype in zip(values, known, types):
            # Unknown lengths are 0, or -1 where arrays without elements are allowed.
            if not value.shape or min(value.shape) < 1:
                raise ValueError(f"{value.node.op} {value.node.name}: its shape depends on numbers")
        many = {name: shapes[name] for name in data if shapes[name][:1] not in ((), (1,))}
        twice = {**shapes, **{name: (2 * first, *rest) for name, (first, *rest) in many.items()}}
        with contextlib.suppress(mx.MXNetError):
            found = everything.infer_shape_partial(**twice)[1] if many else ()
            self.batched = all(
                new[1:] == v.shape[1:] and (new[0] == 1) == (v.shape[0] == 1)
                for v, new in zip(values, found)
            )

    def add(self, op, *inputs, name=None, outputs=1, **attrs):
        """Add an operator; return its first output."""
        attrs = {key: str(value) for key, value in attrs.items()}
        node = Node(op, name or f"{op.lower()}{len(self.nodes)}", inputs, attrs, outputs)
        self.nodes.append(node)
        return node.outputs[0]

    def repeat(self, node, *inputs, op=None, **attrs):
        """Add a node of another graph on other inputs, maybe with other attributes; return it."""
        attrs = {**node.attrs, **{key: str(value) for key, value in attrs.items()}}
        fields = (op or node.op, node.name, inputs, attrs, len(node.outputs), node._rest)
        self.nodes.append(Node(*fields))
        return self.nodes[-1]

    def constant(self, name, shape, fill):
        """Return a variable that whoever runs the graph fills with a number: see `constants`."""
        name = f"constant_{name}_{'x'.join(map(str, shape))}"
        if name not in self.constants:
            self.constants[name] = (self.add("null", name=name, __shape__=shape), shape, fill)
        return self.constants[name][0]

    def readers(self):
        """Return the nodes that read each value; None stands for the graph's caller."""
        found = {value: [] for node in self.nodes for value in node.outputs}
        for node in self.needed():
            for value in node.inputs:
                found[value].append(node)
        for value in self.heads:
            found[value].append(None)
        return found

    def needed(self):
        """Return the nodes that the heads depend on, in order."""
        needed = {value.node for value in self.heads}
        for node in reversed(self.nodes):
            if node in needed:
                needed.update(value.node for value in node.inputs)
        return [node for node in self.nodes if node in needed]

    def write(self):
        """Return the symbol."""
        nodes = self.needed()
        numbers = {node: number for number, node in enumerate(nodes)}

        def entries(values):
            return [[numbers[value.node], value.number, 0] for value in values]

        described = [
            {
                "op": node.op,
                "name": node.name,
                "inputs": entries(node.inputs),
                **({"attrs": node.attrs} if node.attrs else {}),
                **node._rest,
            }
            for node in nodes
        ]
        variables = [number for node, number in numbers.items() if node.op == "null"]
        graph = {"nodes": described, "arg_nodes": variables, "heads": entries(self.heads)}
        return mx.sym.load_json(json.dumps({**graph, "attrs": self.attrs}))

    def __str__(self):
        heads = ", ".join(map(str, self.heads))
        return "\n".join([*map(str, self.needed()), f"return {heads}"])
