"""One walk over a plain graph, which makes a new one by rules.

A rule returns what an operator becomes, or the reason why it is left alone; what is left reads its
inputs as the plain net has them. In the new graph an image's channels may be padded, and a
concatenation may be in two segments, which every reader reads by themselves.
"""

from __future__ import annotations

import collections
import itertools

import numpy as np

from .channels import BLOCK, padded, strip, tidy
from .fuse import is_onednn
from .graph import Graph

# Operators that send no gradient back.
GRADIENTLESS = {"BlockGrad", "argmax", "argmin", "ones_like", "zeros_like", "shape_array", "sign"}


class Tensor:
    """What a value of the plain graph is in the new one.

    `plain` is the same, as the plain graph has it. Of images, `segments` are what their channels
    are a concatenation of, padded, in bfloat16 if that is wanted, and `pieces` what those were
    joined from, in as many steps as it took.
    """

    def __init__(self, plain=None, segments=(), pieces=None):
        self.plain = plain
        self.segments = tuple(segments)
        self.pieces = pieces or self.segments


class Rewriter:
    """One walk over a plain graph.

    Parameters
    ----------
    plain : Graph
        With shapes.
    rule_of : callable
        Given a node: a rule's name, and what returns a Tensor or the reason why there is none.
    training : bool
        Whether for training: BatchNorm over padded channels then differs.
    half, without
        `bfloat16` and `without` of `hybridize`.
    learnt : collection of str
        Parameters that have a gradient.

    Attributes
    ----------
    graph : Graph
        The new one.
    moves : dict of Value to Value
        By running statistic: of what a gradient has to come for the backward pass to move it.
    trusted : list of str
        Parameters on whose being learnt that depends.
    differs : bool
        Whether the graph for inference is another than that for training.
    taken : collections.Counter
        How often each rule was applied.
    left : dict of str to collections.Counter
        By rule: why operators were left alone, and how often. ``(no rule)``: by operator.
    """

    def __init__(self, plain, rule_of, training, half=False, without=(), learnt=()):
        self.plain, self.training, self.half, self.without = plain, training, half, without
        self.graph, self.differs, self.learnt = Graph(plain.attrs), False, learnt
        self.add = self.graph.add
        self.moves, self.trusted = {}, []
        self.taken, self.left = collections.Counter(), collections.defaultdict(collections.Counter)
        self.memo, made = {}, {}
        self.always_learnt = _always_learnt(plain)
        for node in plain.nodes:
            inputs = [made[value] for value in node.inputs]
            tensor = self._apply(*rule_of(node), node, inputs)
            if tensor is None:
                again = self.graph.repeat(node, *map(self.as_plain, inputs))
                made.update(zip(node.outputs, map(Tensor, again.outputs)))
            else:
                made[node.outputs[0]] = tensor
        self.graph.heads = [self._moving(self.as_plain(made[head]), head) for head in plain.heads]
        readers = self.graph.readers()
        if any(
            node and node.op == "BatchNorm" for running in self.moves for node in readers[running]
        ):
            raise ValueError("one BatchNorm is called with padded channels and with others")

    def _apply(self, name, rule, node, inputs):
        if rule is None:
            if node.op != "null":
                self.left["(no rule)"][node.op] += 1
            return None
        if name in self.without:
            result = "switched off"
        elif any(value.dtype != np.float32 for value in (*node.inputs, node.outputs[0])):
            result = "not float32"
        else:
            try:
                result = rule(self, node, *inputs)
            except Exception as error:
                raise ValueError(f"{node.op} {node.name}: {error}") from error
        if isinstance(result, str):
            self.left[name][result] += 1
            return None
        self.taken[name] += 1
        return result

    def __str__(self):
        lines = [f"{'rule':12} {'taken':>5}  left alone"]
        for name in sorted({*self.taken, *self.left}):
            reasons = (f"{count}× {why}" for why, count in self.left.get(name, {}).items())
            lines.append(f"{name:12} {self.taken[name]:5}  {'; '.join(reasons)}".rstrip())
        images = [v for node in self.graph.needed() for v in node.outputs if v.parts]
        real, computed = sum(sum(v.parts) for v in images), sum(v.shape[1] for v in images)
        lines.append(f"channels of images: {real:,}, computed as {computed:,} (blocks of {BLOCK})")
        reorders = sum(
            value.blocked != is_onednn(reader)
            for value, found in self.graph.readers().items()
            for reader in found
            if reader and value.parts
        )
        lines.append(f"changes of layout to be expected: {reorders}")
        return "\n".join(lines)

    def _moving(self, value, head):
        """Return an output from whose gradient one comes to all `moves`."""
        if not self.moves:
            return value
        moves = tuple(self.moves.values())
        rows = self.add("Concat", *moves, dim=0, num_args=len(moves))
        nothing = self.add("sum", self.add("clip", rows, a_min=0, a_max=0))
        nothing = self.add("Reshape", nothing, shape=(1,) * len(head.shape))
        nothing = self.add("Cast", nothing, dtype=np.dtype(head.dtype).name)
        return self.add("broadcast_add", value, nothing)

    def once(self, key, make):
        """Return what `make` returned when it was first called for this key."""
        if key not in self.memo:
            self.memo[key] = make()
        return self.memo[key]

    def image(self, value, parts, space, blocked):
        """Say of a value that it is an image with padded channels; return it."""
        value.parts, value.blocked = tidy(parts), blocked
        value.shape = (0, padded(*parts), *space)
        return value

    def float32(self, value):
        """Return an image in float32."""
        return self.add("amp_cast", value, dtype="float32") if self.half else value

    def bfloat16(self, value):
        """Return a value in what images are computed in."""
        return self.add("amp_cast", value, dtype="bfloat16") if self.half else value

    def as_plain(self, x):
        """Return a Tensor as it is in the plain graph."""
        if x.plain is None:
            value = self.join(x.segments)
            target = (0, sum(value.parts), *value.shape[2:])
            x.plain = strip(self.graph, self.float32(value), value.parts, target, axis=1)
        return x.plain

    def join(self, images):
        """Return the concatenation of padded images."""

        def make():
            value = self.add("Concat", *images, dim=1, num_args=len(images))
            parts = [width for image in images for width in image.parts]
            blocked = all(image.blocked for image in images)
            return self.image(value, parts, images[0].shape[2:], blocked)

        return images[0] if len(images) == 1 else self.once(("join", images), make)

    def split(self, parameter, images, axis=0):
        """Return the parts of a parameter, along an axis, that belong to each of some images."""
        if len(images) == 1:
            return [parameter]
        starts = (0, *itertools.accumulate(sum(image.parts) for image in images))[:-1]
        options = {"axis": axis, "squeeze_axis": False, "sections": 0, "outputs": len(images)}
        # A split writes its gradient even where it should add it (grad_req "add"); a copy adds it.
        copy = self.add("_copy", parameter)
        return self.add("_split_v2", copy, indices=starts, **options).node.outputs


def _always_learnt(plain):
    """Return the nodes to which a gradient comes from each of a graph's heads."""
    learnt = []
    for head in plain.heads:
        found = {head.node}
        for node in reversed(plain.nodes):
            if node in found and node.op not in GRADIENTLESS:
                found.update(value.node for value in node.inputs)
        learnt.append(found)
    return set.intersection(*learnt)
