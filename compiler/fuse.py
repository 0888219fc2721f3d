"""BatchNorm and the ReLU that alone reads it as one operator, where layouts in memory allow it."""

from __future__ import annotations

FUSED = "_contrib_BatchNormWithReLU"
# What reads a tensor in the blocked layout and writes one; the first four also pass it back.
PASSING = {"BatchNorm", FUSED, "Activation", "elemwise_add"}
_ONEDNN = {*PASSING, "Convolution", "Pooling", "Concat"}


def is_onednn(node):
    """Whether oneDNN computes a node, so that it leaves what it reads in the blocked layout."""
    if node.op == "Pooling":
        whole = node.get("pooling_convention", "valid") == "valid"  # no window leaves the image
        return node.get("pool_type", "max") in (("max", "avg") if whole else ("max",))
    return node.op in _ONEDNN and node.get("act_type") != "softsign"


def fuse(graph):
    """Fuse each ``BatchNorm → Activation(relu)`` of a graph that may be one operator.

    It saves writing and reading a tensor. The last pass, since it has to see the operators that
    will really run. The fused operator keeps a mask of the ReLU in the layout that its input had in
    the forward pass; where the gradient comes in another, it is wrong altogether and nothing
    fails. So BatchNorm's input must have the blocked layout, and every other reader must leave it
    so: operators that are not oneDNN's turn the array that they read into the plain layout, in
    place. And the gradient must not come from a convolution of other blocks, as a grouped one:
    BatchNorm, Activation and additions pass its layout on. Returns how many there were.
    """
    readers, count = graph.readers(), 0
    fits = {}  # whether no reader sends back a gradient in other blocks
    for node in reversed(graph.needed()):
        fits[node] = all(
            reader
            and reader.get("num_group", 1) == 1
            and (reader.op != "Convolution" or reader.outputs[0].blocked)
            and (reader.op not in PASSING or fits[reader])
            for reader in readers[node.outputs[0]]
        )
    for relu in graph.needed():
        if relu.op != "Activation" or relu.get("act_type") != "relu":
            continue
        (value,) = relu.inputs
        norm = value.node
        if (
            norm.op == "BatchNorm"
            and norm.inputs[0].blocked
            and readers[value] == [relu]
            and all(reader and is_onednn(reader) for reader in readers[norm.inputs[0]])
            and fits[relu]
        ):
            norm.op = FUSED
            for reader in readers[relu.outputs[0]]:
                reader.inputs = [value if v is relu.outputs[0] else v for v in reader.inputs]
            readers[value] = readers[relu.outputs[0]]
            count += 1
    return count
