"""BatchNorm and the ReLU that alone reads it as one operator, where layouts in memory allow it."""

from __future__ import annotations

import collections
import json

from runtime import mx

# What reads a tensor in the blocked layout and writes one.
ONEDNN = {"Convolution", "BatchNorm", "Activation", "Pooling", "Concat", "elemwise_add"}
BLOCKED = "__blocked__"  # attribute of a BatchNorm whose input has the blocked layout


def fuse(symbol):
    """Return the symbol with each ``BatchNorm → Activation(relu)`` that may be one operator fused.

    It saves writing and reading a tensor. The last pass, since it has to see the operators that
    will really run. The fused operator keeps a mask of the ReLU in the layout that its input had in
    the forward pass; where the gradient comes in another, it is wrong by 10 to 36 % and nothing
    fails. So BatchNorm's input must have the blocked layout (`Rewrite` says which do), and every
    other reader must leave it so: operators that are not oneDNN's turn the array that they read
    into the plain layout, in place. And the ReLU's readers must send back a gradient in the blocked
    layout, which grouped convolutions do not.
    """
    graph = json.loads(symbol.tojson(remove_amp_cast=False))
    nodes, heads = graph["nodes"], graph["heads"]
    readers = collections.defaultdict(list)  # of each node's first output
    for node in (*nodes, {"op": "head", "inputs": heads}):
        for i, number, *_ in node["inputs"]:
            readers[i].append(node if number == 0 else {"op": "statistic"})
    for i, relu in enumerate(nodes):
        norm, _, *_ = relu["inputs"][0] if relu["inputs"] else (0, 0)
        if (
            _is_relu(relu)
            and BLOCKED in nodes[norm].get("attrs", {})
            and [r for r in readers[norm] if r["op"] != "statistic"] == [relu]
            and all(r["op"] in ONEDNN for r in readers[nodes[norm]["inputs"][0][0]])
            and all(_ungrouped(r) for r in readers[i])
        ):
            nodes[norm]["op"] = "_contrib_BatchNormWithReLU"
            for entry in (e for node in nodes for e in node["inputs"]):
                if entry[0] == i:
                    entry[0] = norm
    return mx.sym.load_json(json.dumps(graph))


def _is_relu(node):
    return node["op"] == "Activation" and node["attrs"]["act_type"] == "relu"


def _ungrouped(node):
    return node["op"] != "head" and node.get("attrs", {}).get("num_group", "1") == "1"
