"""Does a layer of a DenseNet use features of layers long before it? Weights, and cutting them off.

The paper's figure 5 shows that a layer gives weight to early features. Whether it needs them shows
when they are taken away: in each dense layer the weights of features from more than so many layers
before become zero. BatchNorm's statistics are then taken anew over training images, so that what is
left is not merely out of scale; nothing is trained again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping

from runtime import mx

import matplotlib.figure as figures
import numpy as np
from mxnet import autograd

import compiler
import models
from datasets import Split, get_dataset
from figures.analysis import readers, source_weights
from figures.pictures import draw_sources
from figures.style import save
from inference.logits import compute_logits, evaluate_net
from inference.trained import load_trained
from studies.study import Measurement
from utils import Normaliser, table
from weights import pretrained

MODEL = "densenet_bc40_k16"  # with the weights that are kept in ``pretrained/``
DISTANCES = (1, 2, 4, 8)
_BATCH, _BATCHES = 100, 25  # to take statistics anew: 0.9 ** 25 of the old ones is left


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


def error(net: Any, images: np.ndarray, labels: np.ndarray, normaliser: Normaliser) -> float:
    """Return the share of images, uint8 (N, 3, 32, 32), that a net judges wrongly."""
    split = Split(images, labels)
    return float(1 - evaluate_net(net, split, normaliser, [mx.cpu()], _BATCH)["top1"])


def measure(data_dir: str | None) -> dict[str, Any]:
    """Measure the kept net on the test images of the data that it has learnt."""
    trained = load_trained(MODEL)
    name, classes = trained.facts["data"]["name"], len(trained.classes)
    data = get_dataset(name, data_dir if name == "cifar10" else None)
    chosen = np.random.RandomState(0).permutation(len(data.train))[: _BATCH * _BATCHES]
    errors = {}
    for distance in (None, *DISTANCES):
        net = models.get_model(MODEL, classes, pretrained=True)
        if distance is not None:
            cut(net, distance)
            images = data.train.take(chosen).images
            with autograd.train_mode():
                compute_logits(net, images, trained.normaliser, [mx.cpu()], _BATCH)
        compiler.hybridize(net)  # not before: compiled, statistics move in the backward pass
        errors[str(distance or "all")] = error(
            net, data.test.images, data.test.labels, trained.normaliser
        )
    return {
        "data": {"name": name, "fingerprint": data.fingerprint, "test": len(data.test)},
        "model": MODEL,
        "weights": pretrained.find(MODEL)["sha256"],
        "errors": errors,
        "sources": [
            np.where(np.isnan(matrix), None, matrix).tolist()
            for matrix in source_weights(trained.net)
        ],
    }


def tabulate(results: Mapping[str, Any]) -> str:
    """Return the test error by how many layers back a layer sees."""
    header = ("layers that a layer sees", *(each for each in results["errors"]))
    return table(
        header, [["test error, %", *(f"{100 * e:.2f}" for e in results["errors"].values())]]
    )


def draw(results: Mapping[str, Any], path: Path | None = None) -> figures.Figure:
    """Draw which layers a DenseNet's layers use: see `figures.pictures.draw_sources`.

    Parameters
    ----------
    results : mapping
        What `measure` returns.
    path : Path, optional
        Where the picture goes.
    """
    blocks = [np.array(matrix, float) for matrix in results["sources"]]
    return save(draw_sources(blocks), path)


STUDY = Measurement(
    "Does a layer use what layers long before it have made?", measure, tabulate, draw
)
