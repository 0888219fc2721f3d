"""Residual networks for 32×32 images, with stochastic depth that really skips.

He, Zhang, Ren, Sun: Deep Residual Learning, https://arxiv.org/abs/1512.03385, section 4.2.
The same: Identity Mappings in Deep Residual Networks, https://arxiv.org/abs/1603.05027.
Huang, Sun, Liu, Sedra, Weinberger: Deep Networks with Stochastic Depth, ECCV 2016,
https://arxiv.org/abs/1603.09382.
"""

from __future__ import annotations

from typing import Any

from runtime import mx

import numpy as np
from mxnet import autograd
from mxnet.gluon import nn

from errors import InputError
from models.layers import (
    IMAGE,
    BNReLU,
    Conv,
    SqueezeExcitation,
    dense,
    global_average,
    norm,
    relu,
    three_groups,
    to_float32,
)
from models.tracing import Graph, bfloat16_if

# ----------------------------------------------------------------------------- helpers


def survival_probs(blocks, final_survival_prob):
    """Probability that each residual block survives a mini-batch: linear decay with depth.

    Stochastic depth, equation 4: p_l = 1 − l/L · (1 − p_L) for l = 1 … L.

    Parameters
    ----------
    blocks : int
        L, the number of residual blocks.
    final_survival_prob : float
        p_L in (0, 1].

    Returns
    -------
    numpy.ndarray
        Shape (blocks,): p_1 … p_L.

    Raises
    ------
    InputError
        If p_L is not in (0, 1].
    """
    if not 0 < final_survival_prob <= 1:
        raise InputError(f"final_survival_prob must be in (0, 1], not {final_survival_prob}")
    return 1 - np.arange(1, blocks + 1) / blocks * (1 - final_survival_prob)


# ----------------------------------------------------------------------------- blocks


class Shortcut(nn.HybridBlock):
    """Parameter-free shortcut where a group of blocks halves the image: pool, append zeros.

    2×2 average pool, then zero channels: He et al.'s option A in the form of the
    stochastic-depth authors. (N, C, H, W) → (N, 2C, H/2, W/2).
    """

    def hybrid_forward(self, F, x):
        x = F.Pooling(x, kernel=(2, 2), stride=(2, 2), pool_type="avg")
        return F.concat(x, x * 0, dim=1)


class ResidualBlock(nn.HybridBlock):
    """Shortcut + branch, ReLU: a block whose branch a mini-batch may skip.

    In training the branch runs or it does not (`train`). Otherwise, and in an exported symbol, it
    runs and is scaled by its survival probability (stochastic depth, equation 5).

    Parameters
    ----------
    branch : HybridBlock
    shortcut : HybridBlock, optional
        The identity by default.
    before : HybridBlock, optional
        What shortcut and branch both read; by default the block's input.
    activate : bool, default True
        Whether a ReLU follows the addition; it stays where the branch is dropped.
    survival_prob : float, default 1
        p_l in (0, 1].
    """

    def __init__(self, branch, shortcut=None, before=None, activate=True, survival_prob=1.0):
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut
        self.before = before
        self.activate = activate
        self.survival_prob = float(survival_prob)
        self._survivor = None

    def hybridize(self, active=True, **options):
        """Hybridize, as a survivor too: a block that lives runs as one graph."""
        super().hybridize(active, **options)
        parameters = self.collect_params()
        graph = Graph(self._survive, parameters, isolates=False, **options)
        self._survivor = graph if active else None

    def hybrid_forward(self, F, x):
        branch, out = self._branch_and_shortcut(x)
        if self.survival_prob < 1:
            branch = branch * self.survival_prob
        return self._activated(F, out + branch)

    def train(self, x, alive):
        """Run the block for one mini-batch, without its branch unless `alive`."""
        if alive:
            return self._survivor(x) if self._survivor else self._survive(x)
        if autograd.is_recording():
            self._zero_branch_gradients(x.ctx)
        if self.before is None and self.shortcut is None:
            return x  # a ReLU has given it, or none follows: not even that is work
        x = x if self.before is None else self.before(x)
        return self._activated(mx.nd, self.shortcut(x))

    def _survive(self, x):
        branch, out = self._branch_and_shortcut(x)
        return self._activated(mx.sym if isinstance(x, mx.sym.Symbol) else mx.nd, out + branch)

    def _branch_and_shortcut(self, x):
        if self.before is not None:
            x = self.before(x)
        return self.branch(x), x if self.shortcut is None else self.shortcut(x)

    def _activated(self, F, x):
        return relu(F, x) if self.activate else x

    def _zero_branch_gradients(self, ctx):
        """Give a dropped branch a zero gradient.

        The optimizer then decays its weights and their momentum, as in the authors' code. Backward
        will not reach them, so they are marked fresh here, or Trainer.step would refuse them.
        """
        for parameter in self.branch.collect_params().values():
            if parameter.grad_req != "null":
                with autograd.pause():
                    parameter.grad(ctx)[:] = 0
                parameter.data(ctx)._fresh_grad = True


def basic_block(in_channels, channels, stride, projection, squeeze_excitation, survival_prob):
    """Build conv, BN, ReLU, conv, BN beside a shortcut; add, ReLU (He et al. 2015)."""
    branch = nn.HybridSequential()
    branch.add(
        Conv(channels, in_channels, kernel=3, stride=stride),
        BNReLU(channels),
        Conv(channels, channels, kernel=3),
        norm(channels),
    )
    if squeeze_excitation:
        branch.add(SqueezeExcitation(channels))
    shortcut = None
    if in_channels != channels:
        if projection:
            shortcut = nn.HybridSequential()
            shortcut.add(Conv(channels, in_channels, kernel=1, stride=stride), norm(channels))
        else:
            shortcut = Shortcut()
    return ResidualBlock(branch, shortcut, survival_prob=survival_prob)


def bottleneck_block(in_channels, channels, stride, squeeze_excitation, survival_prob):
    """Build BN, ReLU, 1×1 conv, BN, ReLU, 3×3 conv, BN, ReLU, 1×1 conv; add (He et al. 2016).

    Where the shape changes, the shortcut is a 1×1 convolution of what follows the first ReLU.
    """
    width = channels // 4
    # Squeeze-and-excitation's products, and what blocks that run one by one hand on, are plain.
    blocked = survival_prob == 1 and not squeeze_excitation
    branch, before, shortcut = nn.HybridSequential(), None, None
    if in_channels != channels:
        before = BNReLU(in_channels, blocked=blocked)
        shortcut = Conv(channels, in_channels, kernel=1, stride=stride)
    else:
        branch.add(BNReLU(in_channels, blocked=blocked))
    branch.add(
        Conv(width, in_channels, kernel=1),
        BNReLU(width),
        Conv(width, width, kernel=3, stride=stride),
        BNReLU(width),
        Conv(channels, width, kernel=1),
    )
    if squeeze_excitation:
        branch.add(SqueezeExcitation(channels))
    return ResidualBlock(branch, shortcut, before, activate=False, survival_prob=survival_prob)


# ----------------------------------------------------------------------------- net


class ResNet(nn.HybridBlock):
    """Residual network for 32×32 images: 3×3 conv, BN, ReLU, groups of blocks, average, linear.

    Images (N, 3, 32, 32) in, logits (N, classes) out. Each group but the first halves the image.

    With stochastic depth, set `gates` (bool, one a block) before a training step, or call
    `models.draw_gates`; while it is None every forward pass in training draws from `mx.random`.
    A dropped branch is not run, forward or backward, and its gradients are zero.

    Parameters
    ----------
    layers : sequence of int
        Residual blocks in each group.
    channels : sequence of int
        Channels of the first convolution, then of each group's output.
    bottleneck : bool, default False
        Pre-activation bottleneck blocks (He et al. 2016) instead of basic post-activation ones.
    projection : bool, default False
        1×1 convolutions as shortcuts where the shape changes (option B) instead of the
        parameter-free ones. Bottleneck blocks always have them.
    final_survival_prob : float, default 1
        p_L of stochastic depth; 1 is constant depth.
    squeeze_excitation : bool, default False
        A squeeze-and-excitation block at the end of every branch.
    bfloat16 : bool, default False
        On a CPU, compute in bfloat16 from the first convolution to the average over space, but for
        squeeze-and-excitation. Parameters, their gradients and running statistics stay float32, and
        so does what is exported. For processors with instructions for it: `runtime.has_bfloat16`.
    classes : int, default 10

    Raises
    ------
    InputError
        If an option is out of its range.
    """

    def __init__(
        self,
        layers,
        channels,
        bottleneck=False,
        projection=False,
        final_survival_prob=1.0,
        squeeze_excitation=False,
        bfloat16=False,
        classes=10,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.bfloat16 = bfloat16
        if not layers or min(layers) < 1 or len(channels) != len(layers) + 1:
            raise InputError("layers must be positive, and channels one longer than layers")
        self.survival_probs = survival_probs(sum(layers), final_survival_prob)
        self.gates = None
        survival = iter(self.survival_probs)
        with self.name_scope():
            self.features = nn.HybridSequential()
            self.features.add(Conv(channels[0], *IMAGE, kernel=3))
            if not bottleneck:
                self.features.add(BNReLU(channels[0]))
            width = channels[0]
            for group, count in enumerate(layers):
                for i in range(count):
                    stride = 2 if group > 0 and i == 0 else 1
                    shape = (width, channels[group + 1], stride)
                    if bottleneck:
                        block = bottleneck_block(*shape, squeeze_excitation, next(survival))
                    else:
                        block = basic_block(*shape, projection, squeeze_excitation, next(survival))
                    self.features.add(block)
                    width = channels[group + 1]
            if bottleneck:
                blocked = final_survival_prob == 1 and not squeeze_excitation
                self.features.add(BNReLU(width, blocked=blocked))
            self.output = dense(classes, width)

    def forward(self, x):
        """Return the logits of x; in training, through the surviving blocks only."""
        with bfloat16_if(self.bfloat16):
            return self._forward(x)

    def _forward(self, x):
        skips = self.survival_probs[-1] < 1 and autograd.is_training()
        if not skips or isinstance(x, mx.sym.Symbol):
            return super().forward(x)
        gates = self.gates
        if gates is None:
            draws = mx.nd.random.uniform(shape=self.survival_probs.shape, ctx=mx.cpu())
            gates = draws.asnumpy() < self.survival_probs
        gates = iter(gates)
        # Plain Python over blocks that are hybridized one by one: a graph could not leave them out.
        for layer in self.features:
            x = layer.train(x, next(gates)) if isinstance(layer, ResidualBlock) else layer(x)
        return self._classify(mx.nd, x)

    def hybrid_forward(self, F, x):
        return self._classify(F, self.features(x))

    def _classify(self, F, features):
        return self.output(global_average(F, to_float32(F, features)))


# ----------------------------------------------------------------------------- variants


def group_layers(depth, bottleneck):
    """Residual blocks in each of the three groups: depth = 6n + 2, or 9n + 2 with bottlenecks.

    Raises
    ------
    InputError
        If no n fits, naming the depths nearest to it that do.
    """
    if bottleneck:
        return three_groups("a bottleneck ResNet", depth, 9, 2)
    return three_groups("a ResNet", depth, 6, 2)


def resnet(depth, bottleneck=False, width=1, **options):
    """Build the CIFAR ResNet of a depth and of `width` times the channels; options of `ResNet`.

    Zagoruyko, Komodakis: Wide Residual Networks, https://arxiv.org/abs/1605.07146, with the first
    convolution widened too, so that shortcuts stay free of parameters.

    Raises
    ------
    InputError
        If the depth fits no such net or the width is below 1.
    """
    if width < 1:
        raise InputError(f"width must be at least 1, not {width}")
    channels = (16, 64, 128, 256) if bottleneck else (16, 16, 32, 64)
    channels = tuple(width * c for c in channels)
    return ResNet(group_layers(depth, bottleneck), channels, bottleneck, **options)


# name: (options of `resnet`, C10+ error in percent or None). The errors of depths 20 to 56 and 164
# are He et al.'s, of 110 and 1202 the stochastic-depth paper's.
VARIANTS: dict[str, tuple[dict[str, Any], float | None]] = {
    "resnet20": ({"depth": 20}, 8.75),
    "resnet32": ({"depth": 32}, 7.51),
    "resnet44": ({"depth": 44}, 7.17),
    "resnet56": ({"depth": 56}, 6.97),
    "resnet110": ({"depth": 110}, 6.41),
    "resnet164": ({"depth": 164, "bottleneck": True}, 5.46),
    "resnet1202": ({"depth": 1202}, 6.67),
}
STOCHASTIC_DEPTH_ERRORS = {"resnet110": 5.25, "resnet1202": 4.91}
VARIANTS.update(
    {
        f"{name}_sd": ({**options, "final_survival_prob": 0.5}, STOCHASTIC_DEPTH_ERRORS.get(name))
        for name, (options, _) in list(VARIANTS.items())
    }
)
