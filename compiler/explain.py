"""What the compiler does to a net, and what it leaves alone."""

from __future__ import annotations

import collections

import mxnet as mx

from .channels import BLOCK
from .compiled import check_rules, rewrite
from .fuse import ONEDNN
from .graph import Graph
from .rules import rule_of


class Report:
    """What became of a net's operators; printed, a table.

    Attributes
    ----------
    taken : Counter
        How often each rule was applied.
    left : dict of str to Counter
        By rule: why it was not, and how often. ``(no rule)``: operators that no rule is for.
    channels : (int, int)
        Of all images that are padded: how many there are, and with what is padded.
    reorders : int
        Tensors that change between oneDNN's blocked layout and the plain one.
    graph : Graph
        The new graph; printed, an operator a line.
    """

    def __init__(self, rewriter):
        self.taken, self.left, self.graph = rewriter.taken, dict(rewriter.left), rewriter.graph
        nodes = (node for node in rewriter.plain.nodes if node.op != "null")
        unknown = [node.op for node in nodes if rule_of(node)[1] is None]
        if unknown:
            self.left["(no rule)"] = collections.Counter(unknown)
        images = [v for node in self.graph.needed() for v in node.outputs if v.parts]
        self.channels = (sum(sum(v.parts) for v in images), sum(v.shape[1] for v in images))
        self.reorders = sum(
            value.blocked != (reader.op in ONEDNN)
            for value, found in self.graph.readers().items()
            for reader in found
            if reader and value.parts
        )

    def __str__(self):
        real, padded = self.channels
        lines = [f"{'rule':12} {'taken':>5}  left alone"]
        for name in sorted({*self.taken, *self.left}):
            reasons = (f"{count}× {why}" for why, count in self.left.get(name, {}).items())
            lines.append(f"{name:12} {self.taken[name]:5}  {'; '.join(reasons)}".rstrip())
        lines.append(f"channels of images: {real:,}, computed as {padded:,} (blocks of {BLOCK})")
        lines.append(f"changes of layout to be expected: {self.reorders}")
        return "\n".join(lines)


def explain(net, *shapes, training=True, bfloat16=False, without=()):
    """Return what the compiler does to a net on a CPU.

    Parameters
    ----------
    net : gluon.HybridBlock
        It needs no weights.
    *shapes : tuple of int
        Of its inputs, float32.
    training : bool
        Whether in training or in inference.
    bfloat16, without
        As of `hybridize`.

    Returns
    -------
    Report

    Raises
    ------
    Exception
        Whatever makes `hybridize` leave the net as Gluon has it.
    """
    check_rules(without)
    data = [mx.sym.var(f"data{number}") for number in range(len(shapes))]
    symbol = mx.sym.Group(_flat(net(*data)))
    known = {variable.name: shape for variable, shape in zip(data, shapes)}
    arguments, _, auxiliary = symbol.infer_shape(**known)
    known.update(zip(symbol.list_arguments(), arguments))
    known.update(zip(symbol.list_auxiliary_states(), auxiliary))
    # A net that has weights says itself which of them are learnt.
    learnt = {name for name, p in net.collect_params().items() if p.grad_req != "null"}
    return Report(rewrite(Graph.read(symbol, known), training, bfloat16, without, learnt))


def _flat(outputs):
    if isinstance(outputs, mx.sym.Symbol):
        return [outputs]
    return [symbol for output in outputs for symbol in _flat(output)]
