"""How pieces of a net become graphs where Gluon's way does not do.

Gluon traces a net once. The graphs here differ between devices, and between training and inference,
and layers can ask which is being made: operators made for a CPU, only such as every device and ONNX
have (`portable`), or padded channels. MXNet lets an operator write to a variable alone, so in these
graphs BatchNorm cannot move its running statistics: a `Graph` stores them. That also lets a piece
run again within a step, as a memory-efficient DenseNet's do.
"""

from __future__ import annotations

import contextlib
import os
import threading

from runtime import mx

from mxnet import autograd

# ------------------------------------------------------------------------------ the device

# Users turn oneDNN off to look for its bugs; MXNet's fused operators then do not exist.
_ONEDNN = os.environ.get("MXNET_MKLDNN_ENABLED", "1") != "0"
_current = threading.local()


@contextlib.contextmanager
def _within(name, value):
    previous = getattr(_current, name, None)
    setattr(_current, name, value)
    try:
        yield
    finally:
        setattr(_current, name, previous)


def portable():
    """Within this context nets are traced with operators that every device and ONNX have."""
    return _within("portable", True)


def on_cpu(ctx=None):
    """Whether a layer may use the forms made for a CPU, on a device.

    By default on that of the layer now running or being traced: Gluon enters the context of a
    block's input before it runs or traces the block.
    """
    device = (ctx or mx.context.current_context()).device_type
    return _ONEDNN and device == "cpu" and not getattr(_current, "portable", False)


def bfloat16_if(active):
    """Within this context, if `active`, layers on a CPU compute in bfloat16."""
    return _within("bfloat16", active)


def in_bfloat16():
    """Whether the layer now running or being traced computes in bfloat16."""
    return getattr(_current, "bfloat16", False) and on_cpu()


# ------------------------------------------------------------------------------ the graph


class Trace:
    """What layers have to know, and to tell, while a `Graph` is traced.

    Attributes
    ----------
    training : bool
    pads : bool
        Whether channels are padded.
    fuses : bool
        Whether BatchNorm and ReLU may be one operator.
    isolates : bool
        Whether BatchNorm leaves its running statistics to the `Graph`.
    statistics : list of (Parameter, Symbol)
        Each running statistic, with its value after the step.
    constants : dict of str to (int, float)
        Variables that are no parameters: their length, and what fills them.
    """

    def __init__(self, training, pads, fuses, isolates):
        self.training = training
        self.pads = pads
        self.fuses = fuses
        self.isolates = isolates
        self.statistics = []
        self.constants = {}

    def constant(self, name, length, value):
        """Return a new variable of one dimension."""
        self.constants[name] = (length, value)
        return mx.sym.var(name, shape=(length,))

    def make_constants(self, ctx):
        """Return the arrays of all constants, by name."""
        return {n: mx.nd.full(length, value, ctx) for n, (length, value) in self.constants.items()}


def current_trace():
    """Return the `Trace` in progress, or None."""
    return getattr(_current, "trace", None)


def pads_channels():
    """Whether the tensors of the layer now being traced have padded channels."""
    trace = current_trace()
    return trace is not None and trace.pads


_FLAGS = ("static_alloc", "static_shape", "forward_bulk_size", "backward_bulk_size")


class Graph:
    """A piece of a net as an operator, for training and for inference.

    Parameters
    ----------
    piece : callable
        Maps a Symbol to a Symbol, through layers that look at `current_trace`.
    parameters : ParameterDict
        Of those layers.
    pads : bool, default False
        Whether channels are padded where the device is a CPU.
    fuses : bool, default True
        Whether BatchNorm and ReLU may be one operator on a CPU.
    isolates : bool, default True
        Whether BatchNorm leaves its running statistics to the graph: it has to where channels are
        padded or a piece runs again.
    reruns : bool, default False
        Whether a backward pass runs the piece again, in its thread, while the next forward pass may
        have begun.
    **flags
        Of `hybridize`.
    """

    def __init__(
        self, piece, parameters, pads=False, fuses=True, isolates=True, reruns=False, **flags
    ):
        self.piece = piece
        self.parameters = parameters
        self.pads = pads
        self.fuses = fuses
        self.isolates = isolates
        self.reruns = reruns
        # Gluon hands on to children what it was not given as well, and what concerns itself alone.
        self.flags = [(name, value) for name, value in flags.items() if name in _FLAGS and value]
        self._traces = {}  # by training and type of device: operator, names of its inputs, trace
        self._constants = {}  # by training and device: arrays by name

    def __call__(self, x, arrays=(), update=True):
        """Return the piece's output.

        Parameters
        ----------
        x : NDArray
        arrays : dict of str to NDArray
            In place of parameters of these names.
        update : bool, default True
            In training, whether running statistics move on.
        """
        training, ctx = autograd.is_training(), x.ctx
        if (training, ctx.device_type) not in self._traces:
            self._traces[training, ctx.device_type] = self._trace(training, ctx)
        operator, names, trace = self._traces[training, ctx.device_type]
        given = {"data": x, **self._constants_of(trace, ctx), **dict(arrays)}
        out = operator(*[given[n] if n in given else self.parameters[n].data(ctx) for n in names])
        if not trace.statistics:
            return out
        out, values = out
        if update:
            self._store(trace, values)
        return out

    def _constants_of(self, trace, ctx):
        if trace.training and self.reruns:  # BatchNorm writes to them, and would wait for its turn
            return trace.make_constants(ctx)
        if (trace.training, ctx) not in self._constants:
            self._constants[trace.training, ctx] = trace.make_constants(ctx)
        return self._constants[trace.training, ctx]

    def _trace(self, training, ctx):
        trace = Trace(training, self.pads and on_cpu(ctx), self.fuses, self.isolates)
        with ctx, _within("trace", trace):
            out = self.piece(mx.sym.var("data"))
        if trace.statistics:
            values = mx.sym.concat(*[value for _, value in trace.statistics], dim=0)
            out = mx.sym.Group([out, mx.sym.BlockGrad(values)])
        names = out.list_inputs()
        data = names.index("data")
        others = [number for number in range(len(names)) if number != data]
        flags = [("data_indices", [data]), ("param_indices", others), *self.flags]
        return mx.nd.CachedOp(out, flags), names, trace

    @staticmethod
    def _store(trace, values):
        start = 0
        with autograd.pause():
            for parameter, _ in trace.statistics:
                end = start + parameter.shape[0]
                values[start:end].copyto(parameter.data(values.ctx))
                start = end
