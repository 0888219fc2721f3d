"""Residual blocks, which a mini-batch may skip, and what stands between groups of them.

He, Zhang, Ren, Sun: Deep Residual Learning, https://arxiv.org/abs/1512.03385, section 4.2.
The same: Identity Mappings in Deep Residual Networks, https://arxiv.org/abs/1603.05027.
"""

from __future__ import annotations

from runtime import mx

from mxnet import autograd
from mxnet.gluon import nn

from errors import InputError
from models.layers import BNReLU, Conv, SqueezeExcitation, norm, relu
from models.tracing import Graph


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


class PooledConv(nn.HybridBlock):
    """3×3 convolution, 2×2 max pooling, BN, ReLU: (N, C, H, W) → (N, channels, H/2, W/2)."""

    def __init__(self, channels, in_channels):
        super().__init__()
        self.conv = Conv(channels, in_channels, kernel=3)
        self.norm = BNReLU(channels)

    def hybrid_forward(self, F, x):
        x = F.Pooling(self.conv(x), kernel=(2, 2), stride=(2, 2), pool_type="max")
        return self.norm(x)


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
    if stride > 1 or in_channels != channels:
        if projection:
            shortcut = nn.HybridSequential()
            shortcut.add(Conv(channels, in_channels, kernel=1, stride=stride), norm(channels))
        elif (stride, channels) == (2, 2 * in_channels):
            shortcut = Shortcut()
        else:
            raise InputError(
                f"a block from {in_channels} to {channels} channels with stride {stride} needs a "
                "projection: without it a group doubles the channels, the first one keeps them"
            )
    return ResidualBlock(branch, shortcut, survival_prob=survival_prob)


def bottleneck_block(in_channels, channels, stride, squeeze_excitation, survival_prob):
    """Build BN, ReLU, 1×1 conv, BN, ReLU, 3×3 conv, BN, ReLU, 1×1 conv; add (He et al. 2016).

    Where the shape changes, the shortcut is a 1×1 convolution of what follows the first ReLU.
    """
    width = channels // 4
    # Squeeze-and-excitation's products, and what blocks that run one by one hand on, are plain.
    blocked = survival_prob == 1 and not squeeze_excitation
    branch, before, shortcut = nn.HybridSequential(), None, None
    if stride > 1 or in_channels != channels:
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
