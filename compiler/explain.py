"""What the compiler does to a net, and what it leaves alone."""

from __future__ import annotations

import mxnet as mx
from mxnet.gluon.block import _flatten

from .compiled import check_rules, rewrite
from .graph import Graph


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
    Rewriter
        Printed, a table of rules; its `graph`, printed, has an operator a line.

    Raises
    ------
    Exception
        Whatever keeps the net from being read, inferred or rewritten.
    """
    check_rules(without)
    data = [mx.sym.var(f"data{number}") for number in range(len(shapes))]
    symbol = mx.sym.Group(_flatten(net(*data), "output")[0])
    known = {variable.name: shape for variable, shape in zip(data, shapes)}
    # A net that has weights says itself which of them are learnt.
    learnt = {name for name, p in net.collect_params().items() if p.grad_req != "null"}
    return rewrite(Graph.read(symbol, known), training, bfloat16, without, learnt)
