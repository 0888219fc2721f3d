"""Does a layer of a DenseNet use features of layers long before it? Weights, and cutting them off.

The paper's figure 5 shows that a layer gives weight to early features. Whether it needs them shows
when they are taken away: in each dense layer the weights of features from more than so many layers
before become zero. BatchNorm's statistics are then taken anew over training images, so that what is
left is not merely out of scale, also where nothing is cut; nothing is trained again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterator, Mapping

from runtime import mx

import matplotlib.figure as figures
import numpy as np
from mxnet import autograd

import compiler
import models
from datasets import Dataset, get_dataset
from figures.style import new_figure, save
from inference.logits import evaluate_net
from inference.trained import load_trained
from studies.gradients import convolutions
from studies.study import Measurement
from utils import Normaliser, table, to_device
from weights import pretrained

MODEL = "densenet_bc40_k16"  # with the weights that are kept in ``pretrained/``
DISTANCES = (1, 2, 4)
_BATCH, _BATCHES = 250, 40  # to take statistics anew: 0.9 ** 40 of the old ones is left


def readers(net: Any) -> Iterator[tuple[tuple[int, ...], list[Any]]]:
    """Yield each dense block's parts and the weights that read them.

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
    input channels that come from one source.

    Parameters
    ----------
    net : models.densenet.DenseNet
        With weights.

    Returns
    -------
    list of numpy.ndarray
        For each dense block (layers + 1 sources, layers + 1 targets): source 0 is the block's
        input, the last target what follows the block. NaN where a source comes after its target.
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


def cut(net: Any, distance: int) -> None:
    """Let each dense layer see the features of so many layers before it, and none that are older.

    What follows a block still sees all.
    """
    for parts, weights in readers(net):
        borders = np.cumsum((0, *parts))
        for target, weight in enumerate(weights[:-1]):
            values = weight.data().asnumpy().copy()
            values[:, : borders[max(0, target + 1 - distance)]] = 0
            weight.set_data(mx.nd.array(values))


def renew_statistics(net: Any, images: np.ndarray, normaliser: Normaliser) -> None:
    """Let BatchNorms take their running statistics from images; the net learns nothing."""
    for start in range(0, len(images), _BATCH):
        pixels = normaliser.arrays(images[start : start + _BATCH])
        with autograd.record():
            logits = net(to_device(pixels, mx.cpu()))
        logits.backward()  # in which MXNet moves them
    mx.nd.waitall()


def kept_net(data: Dataset) -> dict[str, Any]:
    """Return what a measurement of the kept net depends on."""
    return {
        "data": {"name": data.name, "fingerprint": data.fingerprint, "test": len(data.test)},
        "model": MODEL,
        "weights": pretrained.find(MODEL)["sha256"],
    }


def measure(data_dir: str | None) -> dict[str, Any]:
    """Measure the kept net on the test images of CIFAR-10, which it has learnt."""
    trained, data = load_trained(MODEL), get_dataset("cifar10", data_dir)
    chosen = np.random.RandomState(0).permutation(len(data.train))[: _BATCH * _BATCHES]
    images, errors = data.train.take(chosen).images, {}
    for distance in (*DISTANCES, None):
        net = models.get_model(MODEL, pretrained=True)
        compiler.hybridize(net)
        if distance:
            cut(net, distance)
        renew_statistics(net, images, trained.normaliser)
        found = evaluate_net(net, data.test, trained.normaliser, [mx.cpu()])
        errors[str(distance or "all")] = float(1 - found["top1"])
    return {
        **kept_net(data),
        "errors": errors,
        "sources": [
            np.where(np.isnan(matrix), None, matrix).tolist()
            for matrix in source_weights(trained.net)
        ],
    }


def tabulate(results: Mapping[str, Any]) -> str:
    """Return the test error by how many layers back a layer sees."""
    header = ("layers that a layer sees", *results["errors"])
    errors = [f"{100 * error:.2f}" for error in results["errors"].values()]
    return table(header, [["test error, %", *errors]])


def draw(results: Mapping[str, Any], path: Path | None = None) -> figures.Figure:
    """Draw which layers a DenseNet's layers use: its paper's figure 5, column by column.

    Each target's weights are divided by the largest of them, since those of linear layers and of
    convolutions differ in scale. ``sources`` is what `source_weights` returns.
    """
    figure = new_figure(12, 4)
    blocks = [np.array(matrix, float) for matrix in results["sources"]]
    row = figure.subplots(1, len(blocks), squeeze=False)[0]
    for number, (axes, matrix) in enumerate(zip(row, blocks), 1):
        shares = matrix / np.nanmax(matrix, axis=0)
        picture = axes.imshow(100 * shares, cmap="cividis", vmin=0, vmax=100)
        layers = matrix.shape[1] - 1
        for (source, target), share in np.ndenumerate(shares):
            if source <= target:
                place = {"ha": "center", "va": "center", "fontsize": 8}
                colour = "white" if share < 0.5 else "black"
                axes.text(target, source, f"{100 * share:.0f}", color=colour, **place)
        follower = "linear layer" if number == len(blocks) else "transition"
        axes.set_xticks(range(layers + 1), [*range(1, layers + 1), "out"])
        axes.set_yticks(range(layers + 1), ["input", *range(1, layers + 1)])
        axes.set_title(f"dense block {number}; out: {follower}")
        axes.set_xlabel("target: layer of the block")
    row[0].set_ylabel("source: layer of the block")
    figure.colorbar(picture, ax=row, shrink=0.8, label="mean |weight|, % of the target's largest")
    return save(figure, path)


STUDY = Measurement(
    "Does a layer use what layers long before it have made?", measure, tabulate, draw
)
