"""DenseNet: every layer of a block reads the features of all layers before it.

Huang, Liu, van der Maaten, Weinberger: Densely Connected Convolutional Networks, CVPR 2017,
https://arxiv.org/abs/1608.06993.
Memory-efficient form: Pleiss et al., https://arxiv.org/abs/1707.06990.
"""

from __future__ import annotations

from typing import Any

from runtime import mx

from mxnet import autograd
from mxnet.gluon import nn

from errors import InputError
from models.layers import (
    IMAGE,
    BNReLU,
    Conv,
    Dropout,
    SqueezeExcitation,
    concat,
    dense,
    global_average,
    three_groups,
    to_float32,
)
from models.net import Net
from models.padding import aligned
from models.recompute import RecomputedDenseNet
from models.tracing import Graph, in_bfloat16, on_cpu

# ----------------------------------------------------------------------------- blocks


class DenseLayer(nn.HybridBlock):
    """BN, ReLU, [1×1 conv to bn_size · k, BN, ReLU,] 3×3 conv to k: the layer's new features.

    Split where the memory-efficient form splits it: `reduce` is all up to and with the first
    convolution, `expand` the rest.

    Parameters
    ----------
    parts : tuple of int
        Widths of the features that the input (N, C, H, W) is a concatenation of.
    growth_rate : int
        k, the channels of the output (N, k, H, W).
    bottleneck : bool
    dropout : float
        Probability of dropping an output of each convolution.
    squeeze_excitation : bool
        Whether the new features are scaled by a squeeze-and-excitation block.
    blocked : bool
        Whether the input is a concatenation of parts that fill whole oneDNN blocks.
    bn_size : int, default 4
        Channels of the bottleneck, in units of the growth rate.
    """

    def __init__(
        self,
        parts,
        growth_rate,
        bottleneck,
        dropout,
        squeeze_excitation,
        blocked,
        bn_size=4,
        **kwargs,
    ):
        super().__init__(**kwargs)
        with self.name_scope():
            self.reduce = nn.HybridSequential()
            self.expand = nn.HybridSequential()
            self.reduce.add(BNReLU(*parts, blocked=blocked))
            if bottleneck:
                width = bn_size * growth_rate
                self.reduce.add(Conv(width, *parts, kernel=1))
                if dropout:
                    self.expand.add(Dropout(dropout))
                self.expand.add(BNReLU(width, blocked=blocked), Conv(growth_rate, width, kernel=3))
            else:
                self.reduce.add(Conv(growth_rate, *parts, kernel=3))
            if dropout:
                self.expand.add(Dropout(dropout))
            if squeeze_excitation:
                self.expand.add(SqueezeExcitation(growth_rate))

    def hybrid_forward(self, F, x):
        return self.expand(self.reduce(x))


class DenseBlock(nn.HybridBlock):
    """Layers that each append k channels: (N, C, H, W) → (N, C + layers · k, H, W).

    Parameters
    ----------
    layers : int
    channels : int
        C of the input.
    growth_rate : int
        k.
    **options
        Of `DenseLayer`.

    Attributes
    ----------
    parts : tuple of int
        Widths of what the output is a concatenation of: the input, then each layer's features.
    fills_blocks : bool
        Whether each of these widths fills whole oneDNN blocks.
    """

    def __init__(self, layers, channels, growth_rate, **options):
        super().__init__()
        self.fills_blocks = aligned(channels, growth_rate)
        # Squeeze-and-excitation's products come in the plain layout.
        self.blocked = self.fills_blocks and not options["squeeze_excitation"]
        self.parts = (channels, *[growth_rate] * layers)
        with self.name_scope():
            self.layers = nn.HybridSequential()
            for i in range(layers):
                parts = self.parts[: i + 1]
                self.layers.add(DenseLayer(parts, growth_rate, blocked=self.blocked, **options))

    def hybrid_forward(self, F, x):
        features = [x]
        for layer in self.layers:
            features.append(layer(x))
            x = concat(F, features, self.fills_blocks)
            if self.fills_blocks and not in_bfloat16():
                # In a chain each gradient is freed once the next is added to it. With padded parts
                # that saves nothing, and there and in bfloat16 it takes time to split a long
                # gradient at every layer.
                features = [x]
        return x


class Transition(nn.HybridBlock):
    """BN, ReLU, 1×1 conv, 2×2 average pool: (N, C, H, W) → (N, channels, H/2, W/2)."""

    def __init__(self, parts, channels, dropout, blocked, **kwargs):
        super().__init__(**kwargs)
        with self.name_scope():
            self.norm = BNReLU(*parts, blocked=blocked and aligned(channels))
            self.conv = Conv(channels, *parts, kernel=1)
            self.dropout = Dropout(dropout)

    def hybrid_forward(self, F, x):
        x = self.dropout(self.conv(self.norm(x)))
        return F.Pooling(x, kernel=(2, 2), stride=(2, 2), pool_type="avg")


# ----------------------------------------------------------------------------- net


class DenseNet(Net):
    """DenseNet for 32×32 images: 3×3 conv, dense blocks with transitions between, BN, ReLU, linear.

    Images (N, 3, 32, 32) in, logits (N, classes) out.

    Parameters
    ----------
    block_config : sequence of int
        Layers in each dense block.
    growth_rate : int
        k: the channels that a layer appends.
    bottleneck : bool, default True
        The paper's B: a 1×1 convolution to 4k channels in each layer.
    compression : float, default 0.5
        θ in (0, 1]: the share of channels that a transition keeps; the paper's C if below 1.
    init_channels : int, optional
        Channels of the first convolution. By default the paper's: 16 for the plain net, else 2k.
    dropout : float, default 0
        Probability of dropping an output of each convolution but the first; 0.2 in the paper
        where images are not augmented.
    squeeze_excitation : bool, default False
        Scale each layer's new features by a squeeze-and-excitation block.
    memory_efficient : bool, default False
        Trade time for memory in training: see `RecomputedDenseBlock`.
    bfloat16 : bool, default False
        On a CPU, compute in bfloat16 from the first convolution to the average over space, but for
        squeeze-and-excitation. Parameters, their gradients and running statistics stay float32, and
        so does what is exported. For processors with instructions for it: `runtime.has_bfloat16`.
        Not with dropout.
    classes : int, default 10

    Raises
    ------
    InputError
        If an option is out of its range.
    """

    def __init__(
        self,
        block_config,
        growth_rate,
        bottleneck=True,
        compression=0.5,
        init_channels=None,
        dropout=0.0,
        squeeze_excitation=False,
        memory_efficient=False,
        bfloat16=False,
        classes=10,
        **kwargs,
    ):
        super().__init__(bfloat16, **kwargs)
        if not block_config or min(block_config) < 1 or growth_rate < 1 or classes < 1:
            raise InputError("block_config, growth_rate and classes must be at least 1")
        if not 0 < compression <= 1:
            raise InputError(f"compression must be in (0, 1], not {compression}")
        if not 0 <= dropout < 1:
            raise InputError(f"dropout must be in [0, 1), not {dropout}")
        if dropout and bfloat16:
            # MXNet has no such dropout, and between casts the fused BatchNorm after it returns a
            # wrong gradient.
            raise InputError("dropout cannot be in bfloat16: set it to 0, or compute in float32")
        plain = not bottleneck and compression == 1
        channels = init_channels or (16 if plain else 2 * growth_rate)
        options = {
            "bottleneck": bottleneck,
            "dropout": dropout,
            "squeeze_excitation": squeeze_excitation,
        }
        with self.name_scope():
            self.features = nn.HybridSequential()
            self.features.add(Conv(channels, *IMAGE, kernel=3))
            for layers in block_config[:-1]:
                block = DenseBlock(layers, channels, growth_rate, **options)
                channels = int(sum(block.parts) * compression)
                if channels < 1:
                    raise InputError(f"compression {compression} leaves no channel: take more")
                self.features.add(block, Transition(block.parts, channels, dropout, block.blocked))
            last = DenseBlock(block_config[-1], channels, growth_rate, **options)
            self.features.add(last, BNReLU(*last.parts, blocked=last.blocked))
            self.output = dense(classes, sum(last.parts))
        self._parts = last.parts
        # Squeeze-and-excitation's products would leave oneDNN's blocks anyway.
        self._pads = not (squeeze_excitation or last.blocked)
        self._graph = Graph(self, self.collect_params(), self._pads)
        self._recomputed = None
        if memory_efficient:
            # Dropout leaves oneDNN's blocks, and a piece's gradient comes in other ones then.
            self._recomputed = RecomputedDenseNet(self, pads=self._pads, fuses=not dropout)

    def hybridize(self, active=True, **options):
        """Hybridize, by a `Graph` too."""
        super().hybridize(active, **options)
        self._graph = Graph(self, self.collect_params(), self._pads, **options)

    def _forward(self, x):
        """Return the logits of x."""
        if isinstance(x, mx.sym.Symbol):
            return super()._forward(x)
        if self._recomputed and autograd.is_recording() and autograd.is_training():
            return self._recomputed(x)
        if self._active and self._pads and on_cpu(x.ctx):
            return self._graph(x)
        return super()._forward(x)

    def hybrid_forward(self, F, x):
        return self.classify(F, self.features(x))

    def classify(self, F, features):
        """Map features, (N, C, H, W), to logits."""
        return self.output(global_average(F, to_float32(F, features), *self._parts))


# ----------------------------------------------------------------------------- variants


def block_config(depth, bottleneck):
    """Layers in each of the three dense blocks of a CIFAR DenseNet.

    Paper, section 4.2: depth = 3n + 4 with n convolutions a block; a bottleneck layer has two.

    Raises
    ------
    InputError
        If no n fits, naming the depths nearest to it that do.
    """
    if bottleneck:
        return three_groups("a DenseNet with bottlenecks", depth, 6, 4)
    return three_groups("a plain DenseNet", depth, 3, 4)


def densenet(depth, growth_rate, bottleneck, compression, **options):
    """Build the CIFAR DenseNet of a depth: the paper's table 2; options of `DenseNet`."""
    return DenseNet(
        block_config(depth, bottleneck), growth_rate, bottleneck, compression, **options
    )


def _row(depth, growth_rate, compressed):
    compression = 0.5 if compressed else 1.0
    return {
        "depth": depth,
        "growth_rate": growth_rate,
        "bottleneck": compressed,
        "compression": compression,
    }


# name: (options of `densenet`, the paper's C10+ error in percent or None)
VARIANTS: dict[str, tuple[dict[str, Any], float | None]] = {
    "densenet40_k12": (_row(40, 12, False), 5.24),
    "densenet100_k12": (_row(100, 12, False), 4.10),
    "densenet100_k24": (_row(100, 24, False), 3.74),
    "densenet_bc40_k16": (_row(40, 16, True), None),
    "densenet_bc40_k36": (_row(40, 36, True), 4.58),
    "densenet_bc40_k48": (_row(40, 48, True), 3.99),
    "densenet_bc40_k60": (_row(40, 60, True), 4.01),
    "densenet_bc100_k12": (_row(100, 12, True), 4.51),
    "densenet_bc190_k40": (_row(190, 40, True), 3.46),
    "densenet_bc250_k24": (_row(250, 24, True), 3.62),
}
