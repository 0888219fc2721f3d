"""BatchNorm and the ReLU that alone reads it as one operator, where layouts in memory allow it."""

from __future__ import annotations

FUSED = "_contrib_BatchNormWithReLU"
# What reads a tensor in the blocked layout and writes one; the first four also pass it back.
PASSING = {"BatchNorm", FUSED, "Activation", "elemwise_add"}
ONEDNN = {*PASSING, "Convolution", "Pooling", "Concat"}


def fuse(graph):
    """Fuse each ``BatchNorm → Activation(relu)`` of a graph that may be one operator.

    It saves writing and reading a tensor. The last pass, since it has to see the operators that
    will really run. The fused operator keeps a mask of the ReLU in the layout that its input had in
    the forward pass; where the gradient comes in another, it is wrong by 10 to 36 % and nothing
    fails. So BatchNorm's input must have the blocked layout, and every other reader must leave it
    so: operators that are not oneDNN's turn the array that they read into the plain layout, in
    place. And the gradient must not come from a grouped convolution, whose blocks are others:
    BatchNorm, Activation and additions pass its layout on. Returns how many there were.
    """
    readers, count = graph.readers(), 0
    for relu in graph.needed():
        if relu.op != "Activation" or relu.get("act_type") != "relu":
            continue
        (value,) = relu.inputs
        norm = value.node
        if (
            norm.op == "BatchNorm"
            and norm.inputs[0].blocked
            and readers[value] == [relu]
            and all(reader and reader.op in ONEDNN for reader in readers[norm.inputs[0]])
            and _fits(relu, readers)
        ):
            norm.op = FUSED
            for reader in readers[relu.outputs[0]]:
                reader.inputs = [value if v is relu.outputs[0] else v for v in reader.inputs]
            readers[value] = readers[relu.outputs[0]]
            count += 1
    return count


def _fits(node, readers):
    """Whether no reader sends back a gradient in other blocks."""
    return all(
        reader
        and reader.get("num_group", 1) == 1
        and (reader.op not in PASSING or _fits(reader, readers))
        for reader in readers[node.outputs[0]]
    )
