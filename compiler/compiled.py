"""Gluon's own `hybridize`, whose graphs are compiled for the processor that the arrays are on."""

from __future__ import annotations

import collections
import os
import types

from runtime import mx

import numpy as np
from mxnet import autograd
from mxnet.gluon import HybridBlock

from compiler.fuse import fuse
from compiler.graph import is_float32
from compiler.rewrite import ISOLATING, RULES, Rewrite

# Users turn oneDNN off to look for its bugs; its operators then do not exist.
_ONEDNN = os.environ.get("MXNET_MKLDNN_ENABLED", "1") != "0"


def compiles(ctx):
    """Whether graphs on this device are compiled; elsewhere they stay plain."""
    return _ONEDNN and ctx.device_type == "cpu"


def hybridize(net, bfloat16=False, static_alloc=True, static_shape=True, **flags):
    """Hybridize a net, and each block in it, for the processor that it runs on.

    Parameters
    ----------
    net : gluon.Block
    bfloat16 : bool, default False
        On a CPU, compute in bfloat16 from the first convolution to the average over space.
        Parameters, gradients and statistics stay float32. For processors with instructions for
        it: `runtime.has_bfloat16`.
    static_alloc, static_shape, **flags
        Of Gluon's `hybridize`; the first two for the graph of the whole net alone.
    """
    net.hybridize(static_alloc=static_alloc, static_shape=static_shape, **flags)
    # A child's own graph runs where the net's does not: in nets that run layer by layer. What each
    # of them allocated for good would be held all at once.
    for child in net._children.values() if isinstance(net, HybridBlock) else ():
        child.hybridize(**flags)

    def mark(block):
        if isinstance(block, HybridBlock):
            block.bfloat16 = bfloat16
            block._build_cache = types.MethodType(_build_cache, block)

    net.apply(mark)


def _build_cache(block, *args):
    """Build what Gluon builds at a hybridized block's first call, and compile it."""
    type(block)._build_cache(block, *args)
    data, symbol = block._cached_graph
    if not block._backend:
        names = [variable.name for variable in data]
        block._cached_op = Compiled(symbol, names, block._flags, block.bfloat16)


class Compiled:
    """A symbol as an operator: of arrays, in the order of `names`, as MXNet's `CachedOp` is.

    Parameters
    ----------
    symbol : Symbol
    data : sequence of str
        Inputs that are no parameters.
    flags : sequence of (str, object)
        Of `CachedOp`.
    bfloat16 : bool
    reruns : bool
        Whether it also runs in another thread, as the backward pass of an `autograd.Function` does.
    """

    def __init__(self, symbol, data, flags=(), bfloat16=False, reruns=False):
        self.symbol = symbol
        self.names = symbol.list_inputs()
        self._data = [number for number, name in enumerate(self.names) if name in data]
        self._flags = list(flags)
        self._bfloat16 = bfloat16
        self._reruns = reruns
        self._plain = _cached_op(symbol, data, self._flags)
        self._graphs = {}  # by training and shapes of the data

    def __call__(self, *arrays):
        """Return the symbol's outputs: an array, or a list of them."""
        key = tuple(_kind(arrays[number]) for number in self._data)
        training = autograd.is_training()
        if (training, key) not in self._graphs:
            graph = self._compile(arrays, training)
            self._graphs[training, key] = graph
            if graph and not graph.constants:  # the same in training and in inference
                self._graphs[not training, key] = graph
        graph = self._graphs[training, key]
        return graph(self.names, arrays) if graph else self._plain(*arrays)

    def _compile(self, arrays, training):
        """Return a `Graph`, or None where the plain one is as good."""
        is_fit = all(compiles(array.context) and _is_float32(array) for array in arrays)
        rules = RULES if is_fit and is_float32(self.symbol) else ISOLATING
        if rules is ISOLATING and not self._reruns:
            return None
        shapes = {name: array.shape for name, array in zip(self.names, arrays)}
        half = self._bfloat16 and rules is RULES
        rewrite = Rewrite(self.symbol, shapes, rules, training, half, self._reruns)
        return Graph(rewrite, [self.names[i] for i in self._data], self._flags, self._reruns)

    def _register_op_hook(self, callback, monitor_all):
        """Watch operators: those of the plain graph, which have the names of the net's."""
        self._plain._register_op_hook(callback, monitor_all)
        self._graphs = collections.defaultdict(lambda: None)


class Graph:
    """A rewritten symbol as an operator, which stores what the symbol cannot write itself."""

    def __init__(self, rewrite, data, flags, reruns):
        self.constants = rewrite.constants
        self._statistics = rewrite.statistics
        outputs = rewrite.outputs
        if self._statistics:
            values = mx.sym.concat(*self._statistics.values(), dim=0)
            outputs = [*outputs, mx.sym.BlockGrad(values)]
        symbol = fuse(mx.sym.Group(outputs))
        self._names = symbol.list_inputs()
        self._operator = _cached_op(symbol, data, flags)
        self._reruns = reruns
        self._made = {}  # constants by device

    def __call__(self, names, arrays):
        given = dict(zip(names, arrays))
        given.update(self._make_constants(given, arrays[0].context))
        out = self._operator(*[given[name] for name in self._names])
        if not self._statistics:
            return out
        *out, values = out
        start = 0
        with autograd.pause():
            for name in self._statistics:
                end = start + given[name].shape[0]
                values[start:end].copyto(given[name])
                start = end
        return out if len(out) > 1 else out[0]

    def _make_constants(self, given, ctx):
        # In training BatchNorm writes to them: a thread would wait for the other's turn.
        if self._reruns or ctx not in self._made:
            self._made[ctx] = {
                name: mx.nd.full(length, value, ctx, dtype=given[like].dtype)
                for name, (like, length, value) in self.constants.items()
            }
        return self._made[ctx]


def _cached_op(symbol, data, flags):
    numbers = [[], []]
    for number, name in enumerate(symbol.list_inputs()):
        numbers[name not in data].append(number)
    indices = zip(("data_indices", "param_indices"), numbers)
    return mx.nd.CachedOp(symbol, [*indices, *flags])


def _is_float32(array):
    return type(array) is mx.nd.NDArray and array.dtype == np.float32


def _kind(array):
    """Return what one graph serves: any batch, but for one image, which may look like a scalar."""
    shape = array.shape if array.shape[:1] == (1,) else array.shape[1:]
    return shape, array.dtype, array.context.device_type
