"""Gluon's own `hybridize`, whose graphs are compiled for the processor that the arrays are on."""

from __future__ import annotations

import collections
import functools
import threading
import warnings

import mxnet as mx
from mxnet import autograd
from mxnet.gluon import HybridBlock

from .fold import fold
from .fuse import fuse
from .graph import Graph
from .processor import ONEDNN
from .rewrite import Rewriter
from .rules import NAMES, rule_of

# Graphs that a block keeps, each with memory of its own: eight shapes of images, in training and in
# inference.
KEPT = 16


def compiles(ctx):
    """Whether graphs on this device are compiled; elsewhere they stay plain."""
    return ONEDNN and ctx.device_type == "cpu"


def hybridize(net, bfloat16=False, without=(), static_alloc=True, static_shape=True, **flags):
    """Hybridize a net, and each block in it, for the processor that it runs on.

    Gluon's own ``net.hybridize(...)`` takes this away again.

    Parameters
    ----------
    net : gluon.Block
    bfloat16 : bool, default False
        On a CPU, compute in bfloat16 from the first convolution to the average over space.
        Parameters, gradients and statistics stay float32. For processors with instructions for
        it: `has_bfloat16`.
    without : collection of str
        Rules not to apply, by the names in the table of this folder's README.
    static_alloc, static_shape, **flags
        Of Gluon's `hybridize`; the first two for the graph of the whole net alone.

    Raises
    ------
    ValueError
        If a rule is unknown.
    """
    check_rules(without)
    net.hybridize(static_alloc=static_alloc, static_shape=static_shape, **flags)
    # Where a net's parts run one by one they have graphs of their own; those allocate as they go,
    # or the memory of all would be held all the time.
    for child in net._children.values() if isinstance(net, HybridBlock) else ():
        child.hybridize(**flags)

    def hook(block):
        if isinstance(block, HybridBlock):
            attach(block, bfloat16, frozenset(without))

    net.apply(hook)


def check_rules(without):
    """Raise a ValueError unless these are names of rules."""
    unknown = sorted(set(without) - NAMES)
    if unknown:
        raise ValueError(f"unknown rule {unknown[0]!r}: there are {', '.join(sorted(NAMES))}")


def attach(block, *settings):
    """Have a hybridized block's graphs compiled; settings are those of `Compiled`."""
    block._build_cache = functools.partial(_build, block, block._flags, settings)


def _build(block, flags, settings, *args):
    """Build what Gluon builds at a hybridized block's first call, and compile it."""
    type(block)._build_cache(block, *args)
    if block._flags is not flags or block._backend:  # hybridized anew, by Gluon alone
        del block._build_cache
        return
    data, symbol = block._cached_graph
    names = [variable.name for variable in data]
    block._cached_op = Compiled(block.name, symbol, names, flags, *settings)


class Compiled:
    """A symbol as an operator: of arrays, in the order of `names`, as MXNet's `CachedOp` is.

    `name` is the net's, for a warning; `data` names the inputs that are no parameters, and `frozen`
    says whether those stay as they are when the graph for inference is first run. Threads may call
    it at once: they take turns.
    """

    def __init__(self, name, symbol, data, flags, bfloat16=False, without=(), frozen=False):
        self.name, self.symbol = name, symbol
        self.names = symbol.list_inputs()
        self._data = [number for number, name in enumerate(self.names) if name in data]
        # MXNet does not learn through control flow whose memory is static.
        branches = any(node.branches for node in Graph.read(symbol).nodes)
        self._flags = [(k, v) for k, v in flags if not (branches and k.startswith("static"))]
        self._settings, self._frozen = (bfloat16, without), frozen
        self._plain = _cached_op(symbol, data, self._flags)
        self._graphs = collections.OrderedDict()  # by training, recording, shapes of the data
        self._lock = threading.RLock()
        self._watched, self._any_batch = False, True

    def __call__(self, *arrays):
        """Return the symbol's outputs: an array, or a list of them."""
        with self._lock:
            graph = None if self._watched else self._graph(arrays)
            return graph(self.names, arrays) if graph else self._plain(*arrays)

    def _graph(self, arrays):
        key = self._key(arrays)
        graph = self._graphs.get(key)
        if graph and not all(_is_learnt(arrays[number]) for number in graph.trusted):
            del self._graphs[key]  # frozen since
        if key not in self._graphs:
            graph = self._compile(arrays, key)
            key = self._key(arrays)  # it may have shown that there is a graph for each batch
            self._graphs[key] = graph
            kept = [key for key, graph in self._graphs.items() if graph]  # None takes no memory
            if len(kept) > KEPT:
                del self._graphs[kept[0]]
        self._graphs.move_to_end(key)
        return self._graphs[key]

    def _key(self, arrays):
        training = autograd.is_training()
        kinds = (_kind(arrays[number], self._any_batch) for number in self._data)
        return training, autograd.is_recording() and not training, *kinds

    def _compile(self, arrays, key):
        """Return a `Running`, or None where the plain graph runs."""
        training, back_from_inference, *kinds = key
        bfloat16, without = self._settings
        if back_from_inference:  # for which the fused operator keeps nothing in inference
            without = {*without, "fuse"}
        other = self._graphs.get((not training, False, *kinds))
        if other and not (other.differs or self._frozen or back_from_inference):
            return other
        if not all(type(array) is mx.nd.NDArray and compiles(array.context) for array in arrays):
            return None
        shapes = {name: array.shape for name, array in zip(self.names, arrays)}
        types = {name: array.dtype for name, array in zip(self.names, arrays)}
        try:
            data = [self.names[number] for number in self._data]
            plain = Graph.read(self.symbol, shapes, types, data)
            learnt = {name for name, array in zip(self.names, arrays) if _is_learnt(array)}
            self._any_batch &= plain.batched
            rewriter = rewrite(plain, training, bfloat16, without, learnt)
            if not any(rewriter.taken.values()):
                return None
            frozen = self._frozen and not training
            return Running(rewriter, shapes, self.names, data, self._flags, frozen)
        except Exception as error:  # whatever it is, Gluon's own graph is there to run
            reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
            line = f"{self.name} runs as Gluon has it, not compiled: {reason[0]}"
            warnings.warn(line, RuntimeWarning, stacklevel=2)
            return None

    def _register_op_hook(self, callback, monitor_all):
        """Watch operators: those of the plain graph, which have the names of the net's."""
        self._plain._register_op_hook(callback, monitor_all)
        self._watched = True


def rewrite(plain, training, bfloat16, without, learnt):
    """Return the `Rewriter` that has made a new graph of a plain one."""
    rewriter = Rewriter(plain, rule_of, training, bfloat16, without, learnt)
    if "fuse" not in without:
        rewriter.taken["fuse"] += fuse(rewriter.graph)
    return rewriter


class Running:
    """A rewriter's graph as an operator, folded if `frozen`; `names` are the plain graph's inputs.

    A ValueError is raised if it does not return what the plain graph does.
    """

    def __init__(self, rewriter, shapes, names, data, flags, frozen):
        graph = rewriter.graph
        self._constants = {name: row[1:] for name, row in graph.constants.items()}
        shapes = {**shapes, **{name: shape for name, (shape, _) in self._constants.items()}}
        once, self._folded = fold(graph, data) if frozen else (None, [])
        self._once = once.write() if self._folded else None
        if self._folded:
            shapes.update(zip(self._folded, _shapes(self._once, shapes)))
        symbol = graph.write()
        self._names = symbol.list_inputs()
        found, expected = _shapes(symbol, shapes), [head.shape for head in rewriter.plain.heads]
        if found != expected:
            raise ValueError(f"outputs of {found} where the plain graph has {expected}")
        self._operator = _cached_op(symbol, data, flags)
        self.differs = rewriter.differs
        self.trusted = [names.index(name) for name in rewriter.trusted]
        self._made = {}  # constants, and what is folded, by device

    def __call__(self, names, arrays):
        ctx = arrays[0].context
        if ctx not in self._made:
            self._made[ctx] = self._make(dict(zip(names, arrays)), ctx)
        given = {**dict(zip(names, arrays)), **self._made[ctx]}
        return self._operator(*[given[name] for name in self._names])

    def _make(self, given, ctx):
        rows = self._constants.items()
        made = {name: mx.nd.full(shape, fill, ctx) for name, (shape, fill) in rows}
        if self._folded:
            given = {**given, **made}
            inputs = [given[name] for name in self._once.list_inputs()]
            found = _cached_op(self._once, (), ())(*inputs)
            made.update(zip(self._folded, found if isinstance(found, list) else [found]))
        return made


def _shapes(symbol, shapes):
    """Return the shapes of a symbol's outputs."""
    return symbol.infer_shape(**{name: shapes[name] for name in symbol.list_inputs()})[1]


def _cached_op(symbol, data, flags):
    numbers = [[], []]
    for number, name in enumerate(symbol.list_inputs()):
        numbers[name not in data].append(number)
    indices = zip(("data_indices", "param_indices"), numbers)
    return mx.nd.CachedOp(symbol, [*indices, *flags])


def _is_learnt(array):
    return array.grad is not None


def _kind(array, any_batch):
    """Return what one graph serves; any batch, but for one image, which may look like a scalar."""
    shape = array.shape
    if any_batch and shape[:1] not in ((), (1,)):
        shape = (None, *shape[1:])
    return shape, array.dtype, array.context.device_type
