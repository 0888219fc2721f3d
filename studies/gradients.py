"""Does the gradient reach the first layers? Measured at the start, where a net has learnt nothing.

Every net is measured in the same way: over the same batches of training images, from its second
convolution (the first reads colours) to its last.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping

from runtime import mx

import matplotlib.figure as figures
import numpy as np
from mxnet import autograd, gluon
from mxnet.gluon import nn

import models
from datasets import Dataset, get_dataset
from figures.style import curve_style, draw_band, new_figure, save
from models.layers import BNReLU, conv, dense, three_groups
from studies.study import Measurement
from utils import table, to_device

DEPTHS = (20, 56, 110)
SEEDS = (0, 1, 2)
BATCHES, BATCH_SIZE = 20, 16  # so many that each block of stochastic depth lives in one of them
KINDS = ("plain", "plain, BatchNorm", "ResNet", "ResNet, stochastic depth", "DenseNet-BC")


def plain_net(depth: int, batch_norm: bool) -> nn.HybridSequential:
    """Return the layers of a CIFAR ResNet one after another, without its shortcuts.

    Parameters
    ----------
    depth : int
        6n + 2, of which all but the last are 3×3 convolutions (He et al. 2015).
    batch_norm : bool
        Whether BatchNorm stands between each convolution and its ReLU.
    """
    net, before = nn.HybridSequential(), 3
    blocks, *_ = three_groups("a plain net", depth, 6, 2)
    widths = [16, *np.repeat((16, 32, 64), 2 * blocks).tolist()]
    for width in widths:
        net.add(conv(width, before, kernel=3, stride=2 if width == 2 * before else 1))
        net.add(BNReLU(width) if batch_norm else nn.Activation("relu"))
        before = width
    net.add(nn.GlobalAvgPool2D(), dense(10, before))
    return net


def build(kind: str, depth: int) -> Any:
    """Return a net of a kind and of about this depth, without weights."""
    if kind.startswith("plain"):
        return plain_net(depth, batch_norm=kind == "plain, BatchNorm")
    if kind == "DenseNet-BC":
        return models.get_model("densenet_bc40_k16", depth=depth // 6 * 6 + 4, growth_rate=12)
    return models.get_model("resnet20_sd" if "stochastic" in kind else "resnet20", depth=depth)


def convolutions(net: Any) -> list[Any]:
    """Return the weights of a net's convolutions, gluon.Parameter, from first to last."""
    return [p for p in net.collect_params().values() if len(p.shape) == 4]


def relative_gradients(net: Any, data: Dataset, seed: int, batches: int) -> np.ndarray:
    """Measure the gradient that reaches each convolution, in units of its weights.

    Parameters
    ----------
    net : gluon.Block
        With weights.
    data : Dataset
        Its training images are drawn from.
    seed : int
        Of images, and of the blocks that live.
    batches : int
        Of `BATCH_SIZE` images, seen as in training.

    Returns
    -------
    numpy.ndarray
        (convolutions,), from first to last: ‖∂L/∂W‖ / ‖W‖, where L is the mean cross-entropy; the
        root of the mean square over batches. Times the learning rate, it is the share of itself by
        which a plain step of SGD moves a layer.
    """
    criterion = gluon.loss.SoftmaxCrossEntropyLoss()
    order, squares = np.random.RandomState(seed).permutation(len(data.train)), []
    for step in range(batches):
        batch = data.train.take(order[step * BATCH_SIZE : (step + 1) * BATCH_SIZE])
        models.draw_gates(net, seed, step)
        net.collect_params().zero_grad()  # a block that is left out gets none
        with autograd.record():
            logits = net(to_device(data.normaliser.arrays(batch.images), mx.cpu()))
            loss = criterion(logits, mx.nd.array(batch.labels)).mean()
        loss.backward()
        shares = [p.grad().norm() / p.data().norm() for p in convolutions(net)]
        squares.append([float(share.asscalar()) ** 2 for share in shares])
    return np.sqrt(np.mean(squares, axis=0))


def measure(data_dir: str | None) -> dict[str, Any]:
    """Measure every net with every seed, on CIFAR-10."""
    data, found = get_dataset("cifar10", data_dir), {}
    for depth in DEPTHS:
        for kind in KINDS:
            curves = []
            for seed in SEEDS:
                net = build(kind, depth)
                models.initialize(net, mx.cpu(), seed)
                curves.append(relative_gradients(net, data, seed, BATCHES).tolist())
            found[f"{kind}, {depth}"] = curves
    return {
        "data": {"fingerprint": data.fingerprint},
        "seeds": list(SEEDS),
        "images": BATCHES * BATCH_SIZE,
        "gradients": found,
    }


def tabulate(results: Mapping[str, Any]) -> str:
    """Return how many times as large as the least the largest gradient is, by net and depth."""
    rows = []
    for kind in KINDS:
        cells = [kind]
        for depth in DEPTHS:
            curves = np.array(results["gradients"][f"{kind}, {depth}"])[:, 1:]
            ratios = curves.max(axis=1) / curves.min(axis=1)
            cells.append(f"{_rounded(ratios.min())} to {_rounded(ratios.max())}")
        rows.append(cells)
    return table(("largest / least gradient", *(f"{depth} layers" for depth in DEPTHS)), rows)


def _rounded(value: float) -> str:
    """Return a number with two digits that count."""
    return f"{float(f'{value:.2g}'):,.10g}"


def draw(results: Mapping[str, Any], path: Path | None = None) -> figures.Figure:
    """Draw gradients over depth: the geometric mean over seeds, in a band from least to largest."""
    figure = new_figure(13, 4.4)
    for axes, depth in zip(figure.subplots(1, len(DEPTHS), sharey=True), DEPTHS):
        for number, kind in enumerate(KINDS):
            curves = np.array(results["gradients"][f"{kind}, {depth}"])[:, 1:]
            places = np.linspace(0, 100, curves.shape[1])
            look = {"label": kind, "linewidth": 2, **curve_style(number)}
            draw_band(axes, places, np.exp(np.log(curves).mean(axis=0)), curves, **look)
        axes.set_title(f"{depth} layers")
        axes.set_yscale("log")
        axes.set_xlabel("convolution, % of the way to the last")
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("gradient / weight, norms")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(KINDS))
    return save(figure, path)


STUDY = Measurement("Does the gradient reach the first layers?", measure, tabulate, draw)
