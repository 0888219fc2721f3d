"""The layers that the families are made of."""

from __future__ import annotations

from runtime import mx

from mxnet.gluon import nn

from errors import InputError

BN_OPTIONS = {"epsilon": 1e-5, "momentum": 0.9}  # Torch's, which both papers used


def conv(channels, in_channels, kernel, stride=1):
    """Convolution without bias that keeps the size at stride 1.

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


class BNReLU(nn.BatchNorm):
    """BN, ReLU."""

    def __init__(self, channels):
        super().__init__(in_channels=channels, **BN_OPTIONS)

    def hybrid_forward(self, F, x, *args, **kwargs):
        return F.Activation(super().hybrid_forward(F, x, *args, **kwargs), act_type="relu")


class Dropout(nn.Dropout):
    """Dropout whose masks follow `mx.random.seed` on a GPU too, where cuDNN's do not."""

    def hybrid_forward(self, F, x):
        return F.Dropout(x, p=self._rate, cudnn_off=True) if self._rate else x


class Shortcut(nn.HybridBlock):
    """2×2 average pool, append zero channels: (N, C, H, W) → (N, 2C, H/2, W/2).

    He et al.'s option A, without parameters, in the form of the stochastic-depth authors.
    """

    def hybrid_forward(self, F, x):
        x = F.Pooling(x, kernel=(2, 2), stride=(2, 2), pool_type="avg")
        return F.concat(x, F.zeros_like(x), dim=1)


class PooledConv(nn.HybridBlock):
    """3×3 conv, 2×2 max pool, BN, ReLU: (N, C, H, W) → (N, channels, H/2, W/2)."""

    def __init__(self, channels, in_channels):
        super().__init__()
        self.conv = conv(channels, in_channels, kernel=3)
        self.norm = BNReLU(channels)

    def hybrid_forward(self, F, x):
        x = F.Pooling(self.conv(x), kernel=(2, 2), stride=(2, 2), pool_type="max")
        return self.norm(x)


class SqueezeExcitation(nn.HybridBlock):
    """Scale each channel by what all hold: average, linear, ReLU, linear, sigmoid, multiply.

    (N, C, H, W) → the same. The hidden layer has C / 16 units, at least one.
    Hu, Shen, Sun: Squeeze-and-Excitation Networks, https://arxiv.org/abs/1709.01507, section 3.
    """

    def __init__(self, channels):
        super().__init__()
        hidden = max(1, channels // 16)
        with self.name_scope():
            self.squeeze = dense(hidden, channels)
            self.excite = dense(channels, hidden)

    def hybrid_forward(self, F, x):
        average = F.Pooling(x, pool_type="avg", global_pool=True)
        scale = self.excite(F.Activation(self.squeeze(average), act_type="relu"))
        return F.broadcast_mul(x, F.reshape(F.sigmoid(scale), (0, 0, 1, 1)))


def concat(F, *features):
    """Concatenate features (N, C_i, H, W) along their channels: (N, sum of C_i, H, W).

    Imperatively as (N, C_i, H · W): the backward pass of the 4-D form dies on a CPU where some C_i
    is no multiple of 16 ("could not construct a sub-memory", or SIGFPE).
    """
    if F is mx.sym:
        return F.concat(*features, dim=1)
    flat = F.concat(*[F.reshape(x, (0, 0, -1)) for x in features], dim=1)
    return F.reshape_like(flat, features[0], lhs_begin=2, lhs_end=3, rhs_begin=2, rhs_end=4)


def three_groups(net, depth, step, rest):
    """Return the n of depth = step · n + rest, once for each of a CIFAR net's three groups.

    Where no n fits, an `InputError` names the depths nearest to it that do, of a net so called.
    """
    count, left = divmod(depth - rest, step)
    if count < 1 or left:
        below = max(1, count) * step + rest
        raise InputError(
            f"depth {depth} does not fit {net}, which has {step}n + {rest} layers: "
            f"take {below} or {below + step}"
        )
    return [count] * 3
