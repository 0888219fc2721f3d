"""DenseNet: every layer of a block reads the features of all layers before it.

Huang, Liu, van der Maaten, Weinberger: Densely Connected Convolutional Networks, CVPR 2017,
https://arxiv.org/abs/1608.06993.
"""

from __future__ import annotations

from typing import Any

from runtime import mx  # noqa: F401

from mxnet.gluon import nn

from errors import InputError
from models.layers import BNReLU, Dropout, SqueezeExcitation, concat, conv, dense, three_groups


class DenseLayer(nn.HybridBlock):
    """BN, ReLU, [1×1 conv to 4k, BN, ReLU,] 3×3 conv to k: the layer's new features.

    (N, in_channels, H, W) → (N, growth_rate, H, W), in two halves: `reduce` is all up to and with
    the first convolution, `expand` the rest.
    """

    def __init__(self, in_channels, growth_rate, bottleneck, dropout, squeeze_excitation):
        super().__init__()
        with self.name_scope():
            self.reduce = nn.HybridSequential()
            self.expand = nn.HybridSequential()
            self.reduce.add(BNReLU(in_channels))
            if bottleneck:
                width = 4 * growth_rate
                self.reduce.add(conv(width, in_channels, kernel=1))
                if dropout:
                    self.expand.add(Dropout(dropout))
                self.expand.add(BNReLU(width), conv(growth_rate, width, kernel=3))
            else:
                self.reduce.add(conv(growth_rate, in_channels, kernel=3))
            if dropout:
                self.expand.add(Dropout(dropout))
            if squeeze_excitation:
                self.expand.add(SqueezeExcitation(growth_rate))

    def hybrid_forward(self, F, x):
        return self.expand(self.reduce(x))


class DenseBlock(nn.HybridBlock):
    """Layers that each append k channels: (N, C, H, W) → (N, C + layers · k, H, W).

    `parts` are the channels of what the output concatenates: the input, then each layer's features.
    """

    def __init__(self, layers, channels, growth_rate, **options):
        super().__init__()
        self.parts = (channels, *[growth_rate] * layers)
        with self.name_scope():
            self.layers = nn.HybridSequential()
            for i in range(layers):
                self.layers.add(DenseLayer(sum(self.parts[: i + 1]), growth_rate, **options))

    def hybrid_forward(self, F, x):
        for layer in self.layers:
            x = concat(F, x, layer(x))
        return x


class Transition(nn.HybridBlock):
    """BN, ReLU, 1×1 conv, 2×2 average pool: (N, C, H, W) → (N, channels, H/2, W/2)."""

    def __init__(self, in_channels, channels, dropout):
        super().__init__()
        with self.name_scope():
            self.norm = BNReLU(in_channels)
            self.conv = conv(channels, in_channels, kernel=1)
            self.dropout = Dropout(dropout)

    def hybrid_forward(self, F, x):
        x = self.dropout(self.conv(self.norm(x)))
        return F.Pooling(x, kernel=(2, 2), stride=(2, 2), pool_type="avg")


class DenseNet(nn.HybridBlock):
    """3×3 conv, dense blocks with transitions between them, BN, ReLU, average, linear.

    Images (N, 3, 32, 32) in, logits (N, classes) out; `InputError` if an option is out of range.

    Parameters
    ----------
    block_config : sequence of int
        Layers in each dense block.
    growth_rate : int
        k: the channels that a layer appends.
    bottleneck : bool
        The paper's B: a 1×1 convolution to 4k channels in each layer.
    compression : float
        θ in (0, 1]: the share of channels that a transition keeps; the paper's C if below 1.
    init_channels : int, optional
        Channels of the first convolution. By default the paper's: 16 for the plain net, else 2k.
    dropout : float
        Of each convolution's output but the first's; 0.2 in the paper for unaugmented images.
    squeeze_excitation : bool
        Scale each layer's new features by a squeeze-and-excitation block.
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
        classes=10,
    ):
        super().__init__()
        first = 2 * growth_rate if bottleneck or compression < 1 else 16
        channels = first if init_channels is None else init_channels
        if not block_config or min(*block_config, growth_rate, channels, classes) < 1:
            raise InputError("block_config, growth_rate, init_channels, classes must be at least 1")
        if not 0 < compression <= 1:
            raise InputError(f"compression must be in (0, 1], not {compression}")
        if not 0 <= dropout < 1:
            raise InputError(f"dropout must be in [0, 1), not {dropout}")
        options = {
            "bottleneck": bottleneck,
            "dropout": dropout,
            "squeeze_excitation": squeeze_excitation,
        }
        with self.name_scope():
            self.features = nn.HybridSequential()
            self.features.add(conv(channels, 3, kernel=3))
            self.group_ends = []
            for number, layers in enumerate(block_config):
                if number:
                    kept = int(channels * compression)
                    if kept < 1:
                        raise InputError(f"compression {compression} leaves no channel: take more")
                    self.features.add(Transition(channels, kept, dropout))
                    self.group_ends.append(len(self.features))
                    channels = kept
                self.features.add(DenseBlock(layers, channels, growth_rate, **options))
                channels += layers * growth_rate
            self.group_ends.append(len(self.features))
            self.features.add(BNReLU(channels), nn.GlobalAvgPool2D())
            self.output = dense(classes, channels)

    def hybrid_forward(self, F, x):
        return self.output(self.features(x))


def densenet(depth, growth_rate, bottleneck, compression, **options):
    """Build the CIFAR DenseNet of a depth: the paper's table 2; options of `DenseNet`.

    Section 4.2: depth = 3n + 4 with n layers a block; a bottleneck layer has two convolutions.
    """
    kind = "a DenseNet with bottlenecks" if bottleneck else "a plain DenseNet"
    layers = three_groups(kind, depth, 6 if bottleneck else 3, 4)
    return DenseNet(layers, growth_rate, bottleneck, compression, **options)


def _row(depth, growth_rate, bc):
    options = {"depth": depth, "growth_rate": growth_rate}
    return {**options, "bottleneck": bc, "compression": 0.5 if bc else 1.0}


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
