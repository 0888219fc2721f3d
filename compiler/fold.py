"""What a graph computes of its parameters alone is computed once, where they no longer change."""

from __future__ import annotations

import re

from .graph import Graph, Node

# What gives other numbers each time.
_RANDOM = re.compile("random|sample|shuffle|dropout|_npi_", re.IGNORECASE)


def fold(graph, data):
    """Take out of a graph for inference what depends on no data, whose inputs' names are given.

    Returns the graph that computes what is taken out, and the names of the variables that the rest
    then reads it from, in the order of its outputs.
    """
    once, variables = Graph(graph.attrs), {}
    nodes = graph.needed()
    fixed = set()
    for node in nodes:
        if node.op == "null":
            constant = node.name not in data
        else:
            # What reads nothing is left: it is quickly made, or random.
            constant = node.inputs and all(value.node in fixed for value in node.inputs)
            constant = constant and not (node.branches or _RANDOM.search(node.op))
        if constant:
            fixed.add(node)
            once.nodes.append(node)

    def read(value):
        if value.node not in fixed or value.node.op == "null":
            return value
        if value not in variables:
            variables[value] = Node("null", f"folded{len(variables)}").outputs[0]
        return variables[value]

    for node in nodes:
        if node not in fixed:
            node.inputs = [read(value) for value in node.inputs]
    graph.heads = [read(value) for value in graph.heads]
    graph.nodes = [*(value.node for value in variables.values()), *nodes]
    once.heads = list(variables)
    return once, [value.node.name for value in variables.values()]
