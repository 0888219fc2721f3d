"""The pieces both families use, each in the form that MXNet runs fastest on the device at hand.

On a CPU MXNet's textbook layers are slow, or crash: oneDNN keeps images in blocks of 16 channels,
and a layer that does not fit its blocks forces a conversion or a fallback. The forms here avoid
that; parameters have the same names and shapes in every form, so checkpoints do not depend on it.
"""

from __future__ import annotations

from runtime import mx

from mxnet.contrib.amp.amp import bfloat16
from mxnet.gluon import nn

from errors import InputError
from models.padding import aligned, pad, padded, strip
from models.tracing import current_trace, in_bfloat16, on_cpu, pads_channels

IMAGE = (3,)  # channels of what a net reads, which no layer before it can pad
BN_EPSILON = 1e-5  # Torch's, which both papers used
BN_MOMENTUM = 0.9
# For reshape_like: spreads the last of three axes over the space of another tensor.
_AS_SPACE = {"lhs_begin": 2, "lhs_end": 3, "rhs_begin": 2, "rhs_end": 4}


def concat(F, features, blocked):
    """Concatenate features along their channels.

    Parameters
    ----------
    F : module
        `mxnet.nd` or `mxnet.sym`.
    features : list of NDArray or Symbol
        Tensors of shape (N, C_i, H, W).
    blocked : bool
        Whether every C_i is a multiple of 16.

    Returns
    -------
    NDArray or Symbol
        Shape (N, sum of C_i, H, W).
    """
    if blocked or pads_channels() or not on_cpu():
        return F.concat(*features, dim=1)
    # Where a part does not fill whole blocks, the 4-D form dies in the backward pass on a CPU
    # ("could not construct a sub-memory", or SIGFPE); the 3-D form is safe.
    flat = F.concat(*[F.reshape(x, (0, 0, -1)) for x in features], dim=1)
    return F.reshape_like(flat, features[0], **_AS_SPACE)


def to_bfloat16(F, x):
    """Cast x for what computes in bfloat16, if the net does."""
    return F.amp_cast(x, dtype=bfloat16) if in_bfloat16() else x


def to_float32(F, x):
    """Cast x back, for what MXNet cannot compute in bfloat16 or should not."""
    return F.amp_cast(x, dtype="float32") if in_bfloat16() else x


def relu(F, x):
    """ReLU; `F.relu` would convert blocked tensors to the plain layout and back on a CPU."""
    return F.Activation(x, act_type="relu")


def global_average(F, x, *parts):
    """Average over space, (N, C, H, W) → (N, C).

    Not by global pooling: on a CPU its gradient comes in a layout that sends the BatchNorm before
    it to oneDNN's reference implementation. There it is a matrix product, which takes a quarter of
    the time of `F.mean`.

    Parameters
    ----------
    F : module
        `mxnet.nd` or `mxnet.sym`.
    x : NDArray or Symbol
    *parts : int
        Widths of the parts that x is a concatenation of, if they may be padded.
    """
    if on_cpu():
        rows = F.reshape(x, (-3, -3))
        means = F.dot(rows, F.softmax(_zero_row(F, rows)), transpose_b=True)  # weights 1 / (H · W)
        x = F.reshape_like(means, x, rhs_begin=0, rhs_end=2)
    else:
        x = F.mean(x, axis=(2, 3))
    if pads_channels():
        x = F.reshape(strip(F, F.expand_dims(x, axis=2), parts), (0, -1))
    return x


def scale_channels(F, x, scale):
    """Multiply each channel of each image, (N, C, H, W), by a number, (N, C).

    On a CPU the numbers are spread over space by a matrix product: the gradient of broadcasting
    sums element by element, in five times the time.
    """
    if not on_cpu():
        return F.broadcast_mul(x, F.reshape(scale, (0, 0, 1, 1)))
    ones = _zero_row(F, F.reshape(x, (-3, -3))) + 1
    return x * F.reshape_like(F.dot(F.reshape(scale, (-1, 1)), ones), x)


def _zero_row(F, rows):
    return F.zeros_like(F.slice_axis(rows, axis=0, begin=0, end=1))


class BNReLU(nn.HybridBlock):
    """BN, ReLU: one operator on a CPU.

    Parameters
    ----------
    *parts : int
        Widths of the parts that the input (N, C, H, W) is a concatenation of.
    blocked : bool, default True
        Whether input and gradient come in oneDNN's blocked layout. Where they do not, the fused
        operator cannot be created, or returns a wrong gradient: its mask of the ReLU is laid out
        as the input was. So it is not used where parts that do not fill whole blocks have been
        concatenated, after squeeze-and-excitation, or outside a graph.
    """

    def __init__(self, *parts, blocked=True, **kwargs):
        super().__init__(**kwargs)
        self._parts = parts
        self._fuse = blocked and aligned(*parts)
        with self.name_scope():
            shape = (sum(parts),)
            self.gamma = self.params.get("gamma", shape=shape, init="ones")
            self.beta = self.params.get("beta", shape=shape, init="zeros")
            self.running_mean = self.params.get(
                "running_mean", grad_req="null", shape=shape, init="zeros", differentiable=False
            )
            self.running_var = self.params.get(
                "running_var", grad_req="null", shape=shape, init="ones", differentiable=False
            )

    def cast(self, dtype):
        """Cast to `dtype`; statistics stay float32 under float16, as in Gluon's BatchNorm."""
        super().cast("float32" if str(dtype) == "float16" else dtype)

    def hybrid_forward(self, F, x, gamma, beta, running_mean, running_var):
        trace = current_trace()
        if trace and trace.isolates:
            return self._trace(F, trace, x, gamma, beta, running_mean, running_var)
        options = {"eps": BN_EPSILON, "momentum": BN_MOMENTUM}
        return self._normalise(F, x, gamma, beta, running_mean, running_var, **options)

    def _normalise(self, F, x, gamma, beta, mean, var, **options):
        trace = current_trace()
        fuse = self._fuse or pads_channels()
        if fuse and (trace is None or trace.fuses) and F is mx.sym and on_cpu():
            return F.contrib.BatchNormWithReLU(
                x, gamma, beta, mean, var, fix_gamma=False, **options
            )
        y = F.BatchNorm(x, gamma, beta, mean, var, fix_gamma=False, **options)
        return [relu(F, y[0]), *y[1:]] if options.get("output_mean_var") else relu(F, y)

    def _trace(self, F, trace, x, scale, shift, running_mean, running_var):
        """Normalise within a `Graph`, which moves the running statistics on itself."""
        if trace.training:
            options = {"eps": BN_EPSILON, "output_mean_var": True}
        else:
            options = {"eps": 0, "use_global_stats": True}
            scale = scale * F.rsqrt(running_var + BN_EPSILON)
            shift = shift - scale * running_mean
        channels = sum(self._parts)
        if trace.pads:
            channels = padded(self._parts)
            scale, shift = self._together(F, pad, scale, shift)
        mean = trace.constant(f"{self.prefix}zeros", channels, 0)
        var = trace.constant(f"{self.prefix}ones", channels, 1)
        y = self._normalise(F, x, scale, shift, mean, var, **options)
        if trace.training:
            y, mean, deviation = y
            var = F.reciprocal(F.square(deviation)) - BN_EPSILON  # MXNet gives 1 / deviation
            if trace.pads:
                mean, var = self._together(F, strip, mean, var)
            for old, new, parameter in (
                (running_mean, mean, self.running_mean),
                (running_var, var, self.running_var),
            ):
                new = BN_MOMENTUM * old + (1 - BN_MOMENTUM) * new
                trace.statistics.append((parameter, new))
        return y

    def _together(self, F, change, *vectors):
        """Pad or strip vectors of one number a channel."""
        rows = change(F, F.expand_dims(F.stack(*vectors), axis=2), self._parts)
        return [F.reshape(row, (-1,)) for row in F.split(rows, len(vectors), axis=0)]


def norm(channels):
    """BatchNorm alone, for the places where no ReLU follows at once."""
    return nn.BatchNorm(in_channels=channels, epsilon=BN_EPSILON, momentum=BN_MOMENTUM)


class SqueezeExcitation(nn.HybridBlock):
    """Scale each channel by what all of them hold: average, linear, ReLU, linear, sigmoid, scale.

    Hu, Shen, Sun: Squeeze-and-Excitation Networks, https://arxiv.org/abs/1709.01507, section 3.

    Parameters
    ----------
    channels : int
        C of the input and the output, (N, C, H, W).
    reduction : int, default 16
        The hidden layer has C / reduction units, at least one.
    """

    def __init__(self, channels, reduction=16, **kwargs):
        super().__init__(**kwargs)
        hidden = max(1, channels // reduction)
        with self.name_scope():
            self.squeeze = dense(hidden, channels)
            self.excite = dense(channels, hidden)

    def hybrid_forward(self, F, x):
        x = to_float32(F, x)
        scale = self.excite(relu(F, self.squeeze(global_average(F, x))))
        return to_bfloat16(F, scale_channels(F, x, F.sigmoid(scale)))


class Conv(nn.Conv2D):
    """Convolution without bias, padded to keep the size at stride 1.

    Weights start from N(0, √(2 / (kernel² · channels))), the rule of both papers' code.

    Parameters
    ----------
    channels : int
        Of the output.
    *parts : int
        Widths of the parts that the input is a concatenation of.
    kernel : int
    stride : int, default 1
    """

    def __init__(self, channels, *parts, kernel, stride=1):
        self._parts = parts
        super().__init__(
            channels,
            kernel_size=kernel,
            strides=stride,
            padding=kernel // 2,
            use_bias=False,
            in_channels=sum(parts),
            weight_initializer=mx.init.Xavier(rnd_type="gaussian", factor_type="out", magnitude=2),
        )

    def hybrid_forward(self, F, x, weight):
        filters = padded([self._channels]) if pads_channels() else self._channels
        pads_input = pads_channels() and self._parts != IMAGE
        if in_bfloat16() and self._parts == IMAGE:
            # oneDNN's kernels for three channels are for float32.
            pads_input = True
            x = F.reshape_like(pad(F, F.reshape(x, (0, 0, -1)), IMAGE), x, **_AS_SPACE)
            x = to_bfloat16(F, x)
        if pads_input or filters != self._channels:
            if pads_input:
                weight = pad(F, F.reshape(weight, (0, 0, -1)), self._parts)
            if filters != self._channels:
                weight = pad(F, F.reshape(weight, (1, self._channels, -1)), (self._channels,))
            weight = F.reshape(weight, (filters, -1, *self._kwargs["kernel"]))
        weight = to_bfloat16(F, weight)
        return F.Convolution(x, weight, name="fwd", **{**self._kwargs, "num_filter": filters})


def dense(units, in_units):
    """Linear layer as Torch starts it: weights uniform within ±1/√in_units; bias 0."""
    return nn.Dense(
        units,
        in_units=in_units,
        weight_initializer=mx.init.Xavier(rnd_type="uniform", factor_type="in", magnitude=1),
        bias_initializer="zeros",
    )


class Dropout(nn.Dropout):
    """Dropout whose masks follow `mx.random.seed` on a GPU too, where cuDNN's do not."""

    def hybrid_forward(self, F, x):
        return F.Dropout(x, p=self._rate, cudnn_off=True) if self._rate else x


def three_groups(net, depth, step, rest):
    """Return the n of depth = step · n + rest, once for each of a CIFAR net's three groups.

    Parameters
    ----------
    net : str
        What has this depth, for the message.
    depth, step, rest : int
        In layers: of the net; that one more in each group adds; outside of the groups.

    Returns
    -------
    list of int

    Raises
    ------
    InputError
        If no n fits, naming the depths nearest to it that do.
    """
    count, left = divmod(depth - rest, step)
    if count < 1 or left:
        below = max(1, count) * step + rest
        raise InputError(
            f"depth {depth} does not fit {net}, which has {step}n + {rest} layers: "
            f"take {below} or {below + step}"
        )
    return [count] * 3
