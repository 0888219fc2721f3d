"""DenseNet and ResNet as a Gluon tutorial writes them, for comparison.

`F.relu`, global pooling, concatenation along the channels, nothing made for a CPU.
"""

from __future__ import annotations

from mxnet.gluon import nn


class DenseLayer(nn.HybridBlock):
    """BN, ReLU, [1×1 conv, BN, ReLU,] 3×3 conv, concat."""

    def __init__(self, growth_rate, bottleneck):
        super().__init__()
        self.body = nn.HybridSequential()
        if bottleneck:
            self.body.add(nn.BatchNorm(), nn.Activation("relu"))
            self.body.add(nn.Conv2D(4 * growth_rate, 1, use_bias=False))
        self.body.add(nn.BatchNorm(), nn.Activation("relu"))
        self.body.add(nn.Conv2D(growth_rate, 3, padding=1, use_bias=False))

    def hybrid_forward(self, F, x):
        return F.concat(x, self.body(x), dim=1)


def densenet(depth, growth_rate, bottleneck, compression, classes=10):
    """Build a DenseNet for 32×32 images; arguments as `models.densenet.densenet`."""
    plain = not bottleneck and compression == 1
    channels = 16 if plain else 2 * growth_rate
    net = nn.HybridSequential()
    net.add(nn.Conv2D(channels, 3, padding=1, use_bias=False))
    for block in range(3):
        if block:
            channels = int(channels * compression)
            net.add(nn.BatchNorm(), nn.Activation("relu"))
            net.add(nn.Conv2D(channels, 1, use_bias=False), nn.AvgPool2D(2))
        for _ in range((depth - 4) // (6 if bottleneck else 3)):
            net.add(DenseLayer(growth_rate, bottleneck))
            channels += growth_rate
    net.add(nn.BatchNorm(), nn.Activation("relu"), nn.GlobalAvgPool2D(), nn.Dense(classes))
    return net


class BasicBlock(nn.HybridBlock):
    """conv, BN, ReLU, conv, BN; add the shortcut, ReLU."""

    def __init__(self, channels, stride):
        super().__init__()
        self.stride = stride
        self.body = nn.HybridSequential()
        self.body.add(nn.Conv2D(channels, 3, stride, 1, use_bias=False), nn.BatchNorm())
        self.body.add(nn.Activation("relu"))
        self.body.add(nn.Conv2D(channels, 3, 1, 1, use_bias=False), nn.BatchNorm())

    def hybrid_forward(self, F, x):
        branch = self.body(x)
        if self.stride > 1:
            x = F.Pooling(x, kernel=(2, 2), stride=(2, 2), pool_type="avg")
            x = F.concat(x, F.zeros_like(x), dim=1)
        return F.relu(x + branch)


def resnet(depth):
    """Build the post-activation ResNet of depth 6n + 2 for 32×32 images."""
    net = nn.HybridSequential()
    net.add(nn.Conv2D(16, 3, padding=1, use_bias=False), nn.BatchNorm(), nn.Activation("relu"))
    for channels in (16, 32, 64):
        for i in range((depth - 2) // 6):
            net.add(BasicBlock(channels, 2 if i == 0 and channels > 16 else 1))
    net.add(nn.GlobalAvgPool2D(), nn.Dense(10))
    return net
