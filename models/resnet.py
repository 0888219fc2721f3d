"""Residual networks for 32×32 images, with stochastic depth that really skips.

He, Zhang, Ren, Sun: Deep Residual Learning, https://arxiv.org/abs/1512.03385, section 4.2, and
Identity Mappings in Deep Residual Networks, https://arxiv.org/abs/1603.05027.
Huang, Sun, Liu, Sedra, Weinberger: Stochastic Depth, https://arxiv.org/abs/1603.09382.
"""

from __future__ import annotations

from typing import Any

from runtime import mx

import numpy as np
from mxnet import autograd
from mxnet.gluon import nn

from errors import InputError
from models.layers import (
    BN_OPTIONS,
    BNReLU,
    PooledConv,
    Shortcut,
    SqueezeExcitation,
    conv,
    dense,
    three_groups,
)


class ResidualBlock(nn.HybridBlock):
    """Shortcut + branch, ReLU: what a block does that survives a mini-batch.

    Parameters
    ----------
    branch : HybridBlock
    shortcut : HybridBlock, optional
        The identity by default.
    before : HybridBlock, optional
        What shortcut and branch both read; by default the block's input.
    activate : bool
        Whether a ReLU follows the addition; it stays where the branch is dropped.
    survival_prob : float
        p_l in (0, 1].
    """

    def __init__(self, branch, shortcut=None, before=None, activate=True, survival_prob=1.0):
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut
        self.before = before
        self.activate = activate
        self.survival_prob = float(survival_prob)

    def hybrid_forward(self, F, x, expected=False):
        """Shortcut + branch, ReLU; `expected`: + p · branch, as at test (equation 5)."""
        x = x if self.before is None else self.before(x)
        branch = self.branch(x) * self.survival_prob if expected else self.branch(x)
        x = x if self.shortcut is None else self.shortcut(x)
        return self._activated(F, x + branch)

    def dropped(self, x):
        """Shortcut, ReLU: the block in a mini-batch that drops its branch, which does no work."""
        if autograd.is_recording():
            self._zero_branch_gradients(x.ctx)
        if self.before is None and self.shortcut is None:
            return x  # a ReLU has given it, or none follows
        x = x if self.before is None else self.before(x)
        return self._activated(mx.nd, self.shortcut(x))

    def _activated(self, F, x):
        return F.Activation(x, act_type="relu") if self.activate else x

    def _zero_branch_gradients(self, ctx):
        """Give a dropped branch a zero gradient, or nothing to add to the one it has.

        The optimizer then decays its weights and their momentum, as in the authors' code. Backward
        will not reach them, so they are marked fresh here, or Trainer.step would refuse them.
        """
        for parameter in self.branch.collect_params().values():
            if parameter.grad_req != "null":
                if parameter.grad_req == "write":
                    with autograd.pause():
                        parameter.grad(ctx)[:] = 0
                parameter.data(ctx)._fresh_grad = True


def basic_block(in_channels, channels, stride, squeeze_excitation, survival_prob):
    """Conv, BN, ReLU, conv, BN beside a shortcut; add, ReLU (He et al. 2015)."""
    if (stride, channels) not in ((1, in_channels), (2, 2 * in_channels)):
        raise InputError(
            f"a block from {in_channels} to {channels} channels with stride {stride} has no "
            "shortcut: the first group keeps the channels, every other doubles them"
        )
    branch = nn.HybridSequential()
    branch.add(
        conv(channels, in_channels, kernel=3, stride=stride),
        BNReLU(channels),
        conv(channels, channels, kernel=3),
        nn.BatchNorm(in_channels=channels, **BN_OPTIONS),
    )
    if squeeze_excitation:
        branch.add(SqueezeExcitation(channels))
    return ResidualBlock(branch, Shortcut() if stride > 1 else None, survival_prob=survival_prob)


def bottleneck_block(in_channels, channels, stride, squeeze_excitation, survival_prob):
    """BN, ReLU, 1×1 conv, BN, ReLU, 3×3 conv, BN, ReLU, 1×1 conv; add (He et al. 2016).

    Where the shape changes, the shortcut is a 1×1 convolution of what follows the first ReLU.
    """
    width = channels // 4
    branch, before, shortcut = nn.HybridSequential(), None, None
    if stride > 1 or in_channels != channels:
        before = BNReLU(in_channels)
        shortcut = conv(channels, in_channels, kernel=1, stride=stride)
    else:
        branch.add(BNReLU(in_channels))
    branch.add(
        conv(width, in_channels, kernel=1),
        BNReLU(width),
        conv(width, width, kernel=3, stride=stride),
        BNReLU(width),
        conv(channels, width, kernel=1),
    )
    if squeeze_excitation:
        branch.add(SqueezeExcitation(channels))
    return ResidualBlock(branch, shortcut, before, activate=False, survival_prob=survival_prob)


def survival_probs(blocks, final_survival_prob):
    """Return p_1 … p_L, of L blocks: 1 − l/L · (1 − p_L) (stochastic depth, equation 4)."""
    if not 0 < final_survival_prob <= 1:
        raise InputError(f"final_survival_prob must be in (0, 1], not {final_survival_prob}")
    return 1 - np.arange(1, blocks + 1) / blocks * (1 - final_survival_prob)


class StochasticDepth(nn.HybridSequential):
    """Layers one after another, among them residual blocks that a mini-batch may drop.

    Called, it runs every branch, scaled by its survival probability.
    """

    def hybrid_forward(self, F, x):
        for layer in self:
            residual = isinstance(layer, ResidualBlock)
            x = layer.hybrid_forward(F, x, expected=True) if residual else layer(x)
        return x

    def surviving(self, x, gates):
        """Run one mini-batch, of blocks whose gate is shut the shortcut only.

        In plain Python over layers that are hybridized one by one: a graph leaves nothing out.
        """
        gates = iter(gates)
        for layer in self:
            drop = isinstance(layer, ResidualBlock) and not next(gates)
            x = layer.dropped(x) if drop else layer(x)
        return x


class ResNet(nn.HybridBlock):
    """3×3 conv, BN, ReLU, groups of residual blocks, average, linear.

    Images (N, 3, 32, 32) in, logits (N, classes) out; `InputError` if an option is out of range.
    Each group but the first halves the image.

    With stochastic depth, set `gates` (bool, one a block) before a training step, or call
    `models.draw_gates`; while it is None every forward pass in training draws from `mx.random`.
    A dropped branch is not run, forward or backward, and its gradients are zero. (Not so inside the
    graph of a larger net: there every branch runs.)

    Parameters
    ----------
    layers : sequence of int
        Residual blocks in each group.
    channels : sequence of int
        Channels of the first convolution, then of each group's output.
    bottleneck : bool
        Pre-activation bottleneck blocks (He et al. 2016), with 1×1 convolutions as shortcuts where
        the shape changes, instead of basic post-activation ones without parameters in shortcuts.
    final_survival_prob : float
        p_L of stochastic depth; 1 is constant depth.
    pool : bool
        A `PooledConv` in front of every group, the first too, instead of a block with stride 2.
    squeeze_excitation : bool
        A squeeze-and-excitation block at the end of every branch.
    """

    def __init__(
        self,
        layers,
        channels,
        bottleneck=False,
        final_survival_prob=1.0,
        pool=False,
        squeeze_excitation=False,
        classes=10,
    ):
        super().__init__()
        if not layers or min(*layers, *channels, classes) < 1 or len(channels) != len(layers) + 1:
            raise InputError("layers, channels, classes must be at least 1, channels one longer")
        if pool and bottleneck:
            raise InputError("pool is for basic blocks: leave bottleneck out")
        self.survival_probs = survival_probs(sum(layers), final_survival_prob)
        self.gates = None
        survival, self.drops = iter(self.survival_probs), final_survival_prob < 1
        width, block = channels[0], bottleneck_block if bottleneck else basic_block
        with self.name_scope():
            self.features = (StochasticDepth if self.drops else nn.HybridSequential)()
            self.features.add(conv(width, 3, kernel=3))
            if not bottleneck:
                self.features.add(BNReLU(width))
            self.group_ends = []
            for group, (count, out) in enumerate(zip(layers, channels[1:])):
                if pool:
                    self.features.add(PooledConv(out, width))
                    width = out
                for i in range(count):
                    stride = 2 if group > 0 and i == 0 and not pool else 1
                    self.features.add(block(width, out, stride, squeeze_excitation, next(survival)))
                    width = out
                self.group_ends.append(len(self.features))
            if bottleneck:
                self.features.add(BNReLU(width))
            self.features.add(nn.GlobalAvgPool2D())
            self.output = dense(classes, width)

    def forward(self, x):
        """Return the logits of x; in training, through the surviving blocks only."""
        if not (self.drops and autograd.is_training()) or isinstance(x, mx.sym.Symbol):
            return super().forward(x)
        gates = self.gates
        if gates is None:
            draws = mx.nd.random.uniform(shape=self.survival_probs.shape, ctx=mx.cpu())
            gates = draws.asnumpy() < self.survival_probs
        return self.output(self.features.surviving(x, gates))

    def hybrid_forward(self, F, x):
        return self.output(self.features(x))


def resnet(depth, bottleneck=False, width=1, pool=False, **options):
    """Build the CIFAR ResNet of a depth and of `width` times the channels; options of `ResNet`.

    Zagoruyko, Komodakis: Wide Residual Networks, https://arxiv.org/abs/1605.07146, with the first
    convolution widened too, so that shortcuts stay free of parameters.

    With `pool` (depth 11, 17, …) it is in the manner of the fastest trainings of CIFAR-10: a pooled
    convolution in front of each group, after Page: How to Train Your ResNet,
    https://myrtle.ai/learn/how-to-train-your-resnet, and channels in the ratio of Jordan: 94% on
    CIFAR-10 in 3.29 Seconds on a Single GPU, https://arxiv.org/abs/2404.00498. The blocks stay He
    et al.'s.
    """
    kind, step, rest, channels = "a ResNet", 6, 2, (16, 16, 32, 64)
    if bottleneck:
        kind, step, channels = "a bottleneck ResNet", 9, (16, 64, 128, 256)
    elif pool:
        kind, rest, channels = "a pooled ResNet", 5, (16, 32, 128, 128)
    layers = three_groups(kind, depth, step, rest)
    return ResNet(layers, [width * c for c in channels], bottleneck, pool=pool, **options)


# name: (options of `resnet`, C10+ error in percent or None). The errors of depths 20 to 56 and 164
# are He et al.'s, of 110 and 1202 the stochastic-depth paper's.
VARIANTS: dict[str, tuple[dict[str, Any], float | None]] = {
    "resnet11_pooled": ({"depth": 11, "pool": True}, None),
    "resnet20": ({"depth": 20}, 8.75),
    "resnet32": ({"depth": 32}, 7.51),
    "resnet44": ({"depth": 44}, 7.17),
    "resnet56": ({"depth": 56}, 6.97),
    "resnet110": ({"depth": 110}, 6.41),
    "resnet164": ({"depth": 164, "bottleneck": True}, 5.46),
    "resnet1202": ({"depth": 1202}, 6.67),
}
STOCHASTIC_DEPTH_ERRORS = {"resnet110": 5.25, "resnet1202": 4.91}
for _name, (_options, _) in list(VARIANTS.items()):
    _error = STOCHASTIC_DEPTH_ERRORS.get(_name)
    VARIANTS[f"{_name}_sd"] = ({**_options, "final_survival_prob": 0.5}, _error)
