"""A net for inference alone: convolutions with what follows them as one operator."""

from __future__ import annotations

import mxnet as mx
from mxnet.gluon import SymbolBlock

from .compiled import attach, compiles
from .graph import Graph


def freeze(net, ctx):
    """Return what a net computes now, for inference alone and faster on a CPU.

    MXNet's oneDNN backend makes one operator of a convolution, its BatchNorm, an addition and ReLU.
    It is used where every BatchNorm follows a convolution. In DenseNets, pre-activation ResNets and
    those that pool they do not, and in GluonCV's pre-activation ResNets the operator overwrites
    sums that are still to be read. Those are compiled, and what their graph computes of parameters
    alone, such as padded weights, is computed once. On a GPU the net is returned unchanged.

    Parameters
    ----------
    net : gluon.HybridBlock
        Of one input and one output, in float32.
    ctx : list of Context
        Where it is.

    Returns
    -------
    gluon.HybridBlock
        Hybridized, with parameters of its own, unless it is `net`.
    """
    if not all(map(compiles, ctx)):
        return net
    data = mx.sym.var("data", dtype="float32")
    plain = net(data)
    fused = plain.get_backend_symbol("MKLDNN")
    fits = not any(node.op == "BatchNorm" for node in Graph.read(fused).nodes)
    frozen = SymbolBlock(fused if fits else plain, data)
    parameters = net.collect_params()
    mx.nd.waitall()  # or running statistics could be from before the last step
    for name, parameter in frozen.collect_params().items():
        parameter.grad_req = "null"
        parameter._load_init(parameters[name].data(ctx[0]), ctx)
    frozen.hybridize(static_alloc=True, static_shape=True)
    if not fits:
        attach(frozen, False, frozenset(), True)
    return frozen
