"""A net of one convolution, whose width is padded for most, and what a test adds to it."""

from __future__ import annotations

from oracle import compiler, mx  # isort: skip

import numpy as np
from mxnet import autograd
from mxnet.gluon import nn


class Net(nn.HybridBlock):
    """Images (N, 3, H, W) through convolution, BatchNorm, ReLU, and what a test adds."""

    def __init__(self, width=12, after=lambda F, x: x):
        super().__init__()
        self.after = after
        with self.name_scope():
            self.conv = nn.Conv2D(width, 3, padding=1, in_channels=3)
            self.norm = nn.BatchNorm(in_channels=width)

    def hybrid_forward(self, F, x):
        return self.after(F, F.relu(self.norm(self.conv(x))))


gluons = nn.HybridBlock.hybridize


def make(after=lambda F, x: x, form=compiler.hybridize, net=None):
    mx.random.seed(1)
    net = net or Net(after=after)
    net.initialize()
    form(net)
    return net


def images(batch=4, size=8, seed=0):
    return mx.nd.array(np.random.RandomState(seed).randn(batch, 3, size, size))


def learn(net, *batches):
    with autograd.record():
        losses = [net(x).sum() for x in batches]
    autograd.backward(losses)
    mx.nd.waitall()
