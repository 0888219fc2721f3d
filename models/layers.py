"""The pieces both families use, each in the form that MXNet runs fastest on the device at hand.

On a CPU MXNet's textbook layers are slow, or crash: oneDNN keeps images in blocks of 16 channels,
and a layer that does not fit its blocks forces a conversion or a fallback. The forms here avoid
that; parameters have the same names and shapes in every form, so checkpoints do not depend on it.
"""

from __future__ import annotations

import contextlib
import os
import threading

from runtime import mx

from mxnet.gluon import nn

BLOCK = 16  # channels in a oneDNN block with AVX-512; a multiple of the 8 of AVX2
BN_EPSILON = 1e-5  # Torch's, which both papers used
BN_MOMENTUM = 0.9

# Users turn oneDNN off to look for its bugs; MXNet's fused operators then do not exist.
_ONEDNN = os.environ.get("MXNET_MKLDNN_ENABLED", "1") != "0"
_graph = threading.local()


@contextlib.contextmanager
def portable():
    """Within this context nets are traced with operators that every device and ONNX have."""
    previous = getattr(_graph, "portable", False)
    _graph.portable = True
    try:
        yield
    finally:
        _graph.portable = previous


def on_cpu():
    """Whether the layer now running or being traced may use the forms made for a CPU.

    Gluon enters the context of a block's input before it runs or traces the block, so the current
    context is that of the data.
    """
    device = mx.context.current_context().device_type
    return _ONEDNN and device == "cpu" and not getattr(_graph, "portable", False)


def aligned(*channels):
    """Whether all these channel counts fill whole oneDNN blocks."""
    return all(count % BLOCK == 0 for count in channels)


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
    if blocked or not on_cpu():
        return F.concat(*features, dim=1)
    # Where a part does not fill whole blocks, the 4-D form dies in the backward pass on a CPU
    # ("could not construct a sub-memory", or SIGFPE); the 3-D form is safe.
    flat = F.concat(*[F.reshape(x, (0, 0, -1)) for x in features], dim=1)
    return F.reshape_like(flat, features[0], lhs_begin=2, lhs_end=3, rhs_begin=2, rhs_end=4)


def relu(F, x):
    """ReLU; `F.relu` would convert blocked tensors to the plain layout and back on a CPU."""
    return F.Activation(x, act_type="relu")


def global_average(F, x):
    """Average over space, (N, C, H, W) → (N, C).

    Not by global pooling: on a CPU its gradient comes in a layout that sends the BatchNorm before
    it to oneDNN's reference implementation.
    """
    return F.mean(x, axis=(2, 3))


class BNReLU(nn.HybridBlock):
    """BN, ReLU: one operator on a CPU.

    Parameters
    ----------
    channels : int
        C of the input (N, C, H, W).
    blocked : bool, default True
        Whether input and gradient come in oneDNN's blocked layout. Where they do not, the fused
        operator cannot be created, or returns a wrong gradient: its mask of the ReLU is laid out
        as the input was. So it is not used where parts that do not fill whole blocks have been
        concatenated, after squeeze-and-excitation, or outside a graph.
    """

    def __init__(self, channels, blocked=True, **kwargs):
        super().__init__(**kwargs)
        self._fuse = blocked and aligned(channels)
        with self.name_scope():
            shape = (channels,)
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
        options = {"eps": BN_EPSILON, "momentum": BN_MOMENTUM, "fix_gamma": False}
        if self._fuse and F is mx.sym and on_cpu():
            return F.contrib.BatchNormWithReLU(x, gamma, beta, running_mean, running_var, **options)
        return relu(F, F.BatchNorm(x, gamma, beta, running_mean, running_var, **options))


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
        scale = self.excite(relu(F, self.squeeze(global_average(F, x))))
        return F.broadcast_mul(x, F.reshape(F.sigmoid(scale), (0, 0, 1, 1)))


def conv(channels, in_channels, kernel, stride=1):
    """Convolution without bias, padded to keep the size at stride 1.

    Weights start from N(0, √(2 / (kernel² · channels))), the rule of both papers' code.
    """
    return nn.Conv2D(
        channels,
        kernel_size=kernel,
        strides=stride,
        padding=kernel // 2,
        use_bias=False,
        in_channels=in_channels,
        weight_initializer=mx.init.Xavier(rnd_type="gaussian", factor_type="out", magnitude=2),
    )


def dense(units, in_units):
    """Linear layer as Torch starts it: weights uniform within ±1/√in_units; bias 0."""
    return nn.Dense(
        units,
        in_units=in_units,
        weight_initializer=mx.init.Xavier(rnd_type="uniform", factor_type="in", magnitude=1),
        bias_initializer="zeros",
    )
