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
from models.layers import IMAGE, BNReLU, Conv, dense, global_average, three_groups, to_float32
from models.net import Net
from models.residual import PooledConv, ResidualBlock, basic_block, bottleneck_block

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


# ----------------------------------------------------------------------------- net


class ResNet(Net):
    """Residual network for 32×32 images: 3×3 conv, BN, ReLU, groups of blocks, average, linear.

    Images (N, 3, 32, 32) in, logits (N, classes) out. Each group but the first halves the image;
    with `pool` the first does too.

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
    pool : bool, default False
        A `PooledConv` in front of every group instead of a first block that changes the shape: the
        image is halved in the first group too, which leaves most of the arithmetic to wide layers.
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
        pool=False,
        squeeze_excitation=False,
        bfloat16=False,
        classes=10,
        **kwargs,
    ):
        super().__init__(bfloat16, **kwargs)
        if not layers or min(*layers, *channels, classes) < 1 or len(channels) != len(layers) + 1:
            raise InputError("layers, channels and classes must be positive, channels one longer")
        if pool and (bottleneck or projection):
            raise InputError("pool is for plain basic blocks: leave bottleneck and projection out")
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
                if pool:
                    self.features.add(PooledConv(channels[group + 1], width))
                    width = channels[group + 1]
                for i in range(count):
                    stride = 2 if group > 0 and i == 0 and not pool else 1
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

    def _forward(self, x):
        """Return the logits of x; in training, through the surviving blocks only."""
        skips = self.survival_probs[-1] < 1 and autograd.is_training()
        if not skips or isinstance(x, mx.sym.Symbol):
            return super()._forward(x)
        gates = self.gates
        if gates is None:
            draws = mx.nd.random.uniform(shape=self.survival_probs.shape, ctx=mx.cpu())
            gates = draws.asnumpy() < self.survival_probs
        gates = iter(gates)
        # Plain Python over blocks that are hybridized one by one: a graph could not leave them out.
        with x.ctx:  # as Gluon does around a graph: layers have forms for a device
            for layer in self.features:
                x = layer.train(x, next(gates)) if isinstance(layer, ResidualBlock) else layer(x)
            return self._classify(mx.nd, x)

    def hybrid_forward(self, F, x):
        return self._classify(F, self.features(x))

    def _classify(self, F, features):
        return self.output(global_average(F, to_float32(F, features)))


# ----------------------------------------------------------------------------- variants


def group_layers(depth, bottleneck=False, pool=False):
    """Residual blocks in each of the three groups.

    depth = 6n + 2, 9n + 2 with bottlenecks, or 6n + 5 with a pooled convolution in each group.

    Raises
    ------
    InputError
        If no n fits, naming the depths nearest to it that do.
    """
    if bottleneck:
        return three_groups("a bottleneck ResNet", depth, 9, 2)
    if pool:
        return three_groups("a pooled ResNet", depth, 6, 5)
    return three_groups("a ResNet", depth, 6, 2)


def resnet(depth, bottleneck=False, width=1, pool=False, **options):
    """Build the CIFAR ResNet of a depth and of `width` times the channels; options of `ResNet`.

    Zagoruyko, Komodakis: Wide Residual Networks, https://arxiv.org/abs/1605.07146, with the first
    convolution widened too, so that shortcuts stay free of parameters.

    With `pool` it is in the manner of the fastest trainings of CIFAR-10: a pooled convolution in
    front of each group, after Page: How to Train Your ResNet,
    https://myrtle.ai/learn/how-to-train-your-resnet, and channels in the ratio of Jordan: 94% on
    CIFAR-10 in 3.29 Seconds on a Single GPU, https://arxiv.org/abs/2404.00498. The blocks stay He
    et al.'s.

    Raises
    ------
    InputError
        If the depth fits no such net or the width is below 1.
    """
    if width < 1:
        raise InputError(f"width must be at least 1, not {width}")
    if pool:
        channels = (16, 32, 128, 128)
    else:
        channels = (16, 64, 128, 256) if bottleneck else (16, 16, 32, 64)
    channels = tuple(width * c for c in channels)
    layers = group_layers(depth, bottleneck, pool)
    return ResNet(layers, channels, bottleneck, pool=pool, **options)


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
