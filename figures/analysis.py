"""Measurements of nets for the walkthrough: gradients, live blocks, parameters, weights, time.

`figures.measurements` draws it.
"""

from __future__ import annotations

import time
from typing import Any, Callable, Iterator, Sequence

from runtime import mx

import numpy as np
from mxnet import autograd, gluon
from mxnet.gluon import nn

import compiler
import models
from datasets import Dataset
from models.layers import BNReLU, conv, dense
from models.resnet import group_layers
from records.config import make_config
from training.distributed import Workers
from training.step import train_step
from training.trainer import make_trainer
from utils import Normaliser, to_device


class PlainNet(nn.HybridBlock):
    """The layers of a CIFAR ResNet one after another, without its shortcuts (He et al. 2015).

    Images (N, 3, 32, 32) in, logits (N, classes) out.

    Parameters
    ----------
    depth : int
        6n + 2, of which all but one are 3×3 convolutions.
    batch_norm : bool
        Whether BatchNorm stands between each convolution and its ReLU.
    classes : int, default 10
    """

    def __init__(self, depth, batch_norm, classes=10):
        super().__init__()
        widths = [16]
        for blocks, width in zip(group_layers(depth, bottleneck=False), (16, 32, 64)):
            widths += [width] * (2 * blocks)
        with self.name_scope():
            self.features = nn.HybridSequential()
            for before, width in zip((3, *widths), widths):
                stride = 2 if before in (16, 32) and width > before else 1
                self.features.add(conv(width, before, kernel=3, stride=stride))
                self.features.add(BNReLU(width) if batch_norm else nn.Activation("relu"))
            self.features.add(nn.GlobalAvgPool2D())
            self.output = dense(classes, widths[-1])

    def hybrid_forward(self, F, x):
        return self.output(self.features(x))


def convolutions(net: Any) -> list[Any]:
    """Return the weights of a net's convolutions, gluon.Parameter, from first to last."""
    return [p for p in net.collect_params().values() if p.shape is not None and len(p.shape) == 4]


def relative_gradients(
    net: Any, images: np.ndarray, labels: np.ndarray, normaliser: Normaliser
) -> tuple[float, np.ndarray]:
    """Measure the gradient that reaches each convolution, in units of its weights.

    Parameters
    ----------
    net : gluon.Block
        With weights; takes normalised images, returns logits.
    images, labels : numpy.ndarray
        uint8 (N, 3, 32, 32) and integers (N,): one batch, seen as in training.
    normaliser : Normaliser

    Returns
    -------
    loss : float
        L, the mean cross-entropy in nats.
    gradients : numpy.ndarray
        (convolutions,), from first to last: ‖∂L/∂W‖ / ‖W‖. Times the learning rate, it is the
        share of itself by which a plain step of SGD moves a layer.
    """
    criterion = gluon.loss.SoftmaxCrossEntropyLoss()
    with autograd.record():
        logits = net(to_device(normaliser.arrays(images), mx.cpu()))
        loss = criterion(logits, mx.nd.array(labels)).mean()
    loss.backward()
    norms = [[float(a.norm().asscalar()) for a in (p.grad(), p.data())] for p in convolutions(net)]
    return float(loss.asscalar()), np.array([gradient / weight for gradient, weight in norms])


def watch_gradients(
    net: Any, data: Dataset, steps: int, batch_size: int = 32, lr: float = 0.02, seed: int = 0
) -> dict[str, Any]:
    """Initialise a net, take a few steps, and measure its gradients before and after.

    Parameters
    ----------
    net : gluon.HybridBlock
    data : Dataset
        Training images are drawn from it, without augmentation.
    steps, batch_size : int
    lr : float
        Constant; momentum and weight decay are the recipes' own.
    seed : int
        Of weights and batches.

    Returns
    -------
    dict
        ``before`` and ``after``: what `relative_gradients` returns for one batch, which the steps
        do not see; ``steps``.
    """
    models.initialize(net, mx.cpu(), seed)
    compiler.hybridize(net)
    config = make_config(model="resnet20", batch_size=batch_size, lr=lr)
    trainer = make_trainer(net, config, [mx.cpu()], Workers(config.kvstore))
    order = np.random.RandomState(seed).permutation(len(data.train))
    first, *rest = (
        data.train.take(order[start : start + batch_size])
        for start in range(0, (steps + 1) * batch_size, batch_size)
    )
    before = relative_gradients(net, first.images, first.labels, data.normaliser)
    for batch in rest:
        targets = np.eye(len(data.classes), dtype=np.float32)[batch.labels]
        train_step(net, trainer, batch.images, targets, data.normaliser, [mx.cpu()], config)
    after = relative_gradients(net, first.images, first.labels, data.normaliser)
    return {"before": before, "after": after, "steps": steps}


def live_blocks(net: Any, steps: int, seed: int = 0) -> np.ndarray:
    """Draw which residual blocks live in each of so many training steps of a run.

    Parameters
    ----------
    net : models.resnet.ResNet
        With stochastic depth; it needs no weights.
    steps : int
    seed : int
        The run's.

    Returns
    -------
    numpy.ndarray
        Bool, (blocks, steps): the very draws of a run with this seed.
    """
    return np.stack([models.draw_gates(net, seed, step) for step in range(steps)], axis=1)


def step_seconds(
    name: str, counts: Sequence[int], repeats: int, batch_size: int = 16, **options: Any
) -> np.ndarray:
    """Time whole training steps with given numbers of live blocks.

    Parameters
    ----------
    name : str
        A ResNet with stochastic depth, as `models.get_model` knows it.
    counts : sequence of int
        How many blocks live, spread evenly over the depth.
    repeats : int
        Steps of each kind; they take turns, so that a slow moment of the machine meets all alike.
    batch_size : int
    **options
        Of `models.get_model`.

    Returns
    -------
    numpy.ndarray
        (len(counts), repeats), seconds.
    """
    net = models.get_model(name, **options)
    models.initialize(net, mx.cpu(), 0)
    compiler.hybridize(net)
    config = make_config(model=name, batch_size=batch_size)
    trainer = make_trainer(net, config, [mx.cpu()], Workers(config.kvstore))
    images = np.random.RandomState(0).randint(0, 256, (batch_size, 3, 32, 32)).astype(np.uint8)
    targets = np.eye(10, dtype=np.float32)[np.arange(batch_size) % 10]
    normaliser = Normaliser((120, 120, 120), (60, 60, 60))
    blocks = len(net.survival_probs)
    gates = [spread(blocks, count) for count in counts]

    def step() -> None:
        train_step(net, trainer, images, targets, normaliser, [mx.cpu()], config)
        mx.nd.waitall()

    for _ in range(2):  # graphs are made, and memory is taken, in a block's first passes
        net.gates = np.ones(blocks, bool)
        step()
    seconds = np.empty((len(counts), repeats))
    for repeat in range(repeats):
        for number, alive in enumerate(gates):
            net.gates = alive
            seconds[number, repeat] = median_seconds(step, repeats=1)
    return seconds


def spread(total: int, count: int) -> np.ndarray:
    """Return bool, (total,), of which `count` are true, as evenly spread as can be."""
    steps = np.arange(total + 1) * count // total
    return np.diff(steps) > 0


def convolution_sizes(net: Any) -> np.ndarray:
    """Return channels read and parameters of each convolution, int (convolutions, 2).

    A layer that maps C channels to C with k×k kernels has k²·C² parameters; a layer of a DenseNet
    reads C and adds only its growth rate.
    """
    return np.array([[p.shape[1], int(np.prod(p.shape))] for p in convolutions(net)])


def published_models() -> dict[str, tuple[int, float]]:
    """Return parameters and published C10+ error, in percent, of every model that has one."""
    return {
        name: (models.count_parameters(models.get_model(name)), error)
        for name, (_, _, error) in models.REGISTRY.items()
        if error is not None
    }


def readers(net: Any) -> Iterator[tuple[tuple[int, ...], list[Any]]]:
    """Yield each dense block's parts and the weights that read them.

    Parameters
    ----------
    net : models.densenet.DenseNet

    Yields
    ------
    parts : tuple of int
        Channels of the block's input, then of each layer's features.
    weights : list of gluon.Parameter
        Of each layer's first convolution, then of what follows the block: the transition's
        convolution, or the linear layer.
    """
    features = list(net.features)
    for number, block in enumerate(features):
        if hasattr(block, "parts"):
            follower = getattr(features[number + 1], "conv", net.output)
            layers = [convolutions(layer)[0] for layer in block.layers]
            yield block.parts, [*layers, follower.weight]


def source_weights(net: Any) -> list[np.ndarray]:
    """Measure how much each layer of a DenseNet uses the features of each layer before it.

    DenseNet paper, figure 5: the mean absolute weight, of a layer's first convolution, over the
    input channels that come from one source. The last target of a block is what follows it: the
    transition's convolution, or the linear layer.

    Parameters
    ----------
    net : models.densenet.DenseNet
        With weights.

    Returns
    -------
    list of numpy.ndarray
        For each dense block (layers + 1 sources, layers + 1 targets). Source 0 is the block's
        input. NaN where a source comes after its target.
    """
    result = []
    for parts, weights in readers(net):
        borders, matrix = np.cumsum((0, *parts)), np.full((len(parts), len(weights)), np.nan)
        for target, weight in enumerate(weights):
            size = np.abs(weight.data().asnumpy())
            for source in range(target + 1):
                matrix[source, target] = size[:, borders[source] : borders[source + 1]].mean()
        result.append(matrix)
    return result


def confident_mistakes(probabilities: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Find the images that a classifier is most wrong about.

    Parameters
    ----------
    probabilities : numpy.ndarray
        (N, classes).
    labels : numpy.ndarray
        Integers, (N,).
    count : int

    Returns
    -------
    numpy.ndarray
        Positions, at most `count`: mistakes, the most probable wrong class first; then, if there
        are not as many, right answers, the least sure first.
    """
    right = probabilities.argmax(axis=1) == labels
    sure = probabilities.max(axis=1)
    return np.argsort(np.where(right, sure, -sure), kind="stable")[:count]


def median_seconds(call: Callable[[], object], repeats: int) -> float:
    """Return the median time of a call, in seconds; the call has to wait for its own results."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))
