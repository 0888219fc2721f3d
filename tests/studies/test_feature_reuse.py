"""Weights are averaged by the layer that they read from, and a cut takes the right ones away."""

from __future__ import annotations

import json

from runtime import mx

import numpy as np
import pytest
from mxnet import autograd

import models
from models.layers import concat
from studies import feature_reuse
from utils import Normaliser, to_json


def build(**options):
    net = models.get_model("densenet_bc40_k16", depth=16, growth_rate=4, **options)
    models.initialize(net, mx.cpu(), seed=0)
    return net


@pytest.mark.parametrize("bottleneck", [True, False])
def test_weights_are_averaged_over_the_channels_of_each_source(bottleneck):
    net = build(bottleneck=bottleneck)
    found = list(feature_reuse.readers(net))
    assert len(found) == 3
    for number, (parts, weights) in enumerate(found):
        assert len(weights) == len(parts)
        sources = np.repeat(np.arange(len(parts)), parts)
        for weight in weights:
            shape = weight.shape
            signs = np.random.RandomState(0).choice([-1, 1], shape)
            marks = (10 * number + 1 + sources[: shape[1]]).reshape(1, -1, *[1] * (len(shape) - 2))
            weight.set_data(mx.nd.array(signs * marks))
    for number, matrix in enumerate(feature_reuse.source_weights(net)):
        for source, target in np.ndindex(*matrix.shape):
            expected = 10 * number + 1 + source if source <= target else np.nan
            np.testing.assert_allclose(matrix[source, target], expected, rtol=1e-6)


@pytest.mark.parametrize("distance", [1, 2, 99])
def test_a_cut_layer_sees_the_layers_just_before_it_and_no_others(distance):
    net = build(bottleneck=False)
    feature_reuse.cut(net, distance)
    block = net.features[1]
    features = [mx.nd.random.normal(shape=(2, count, 8, 8)) for count in block.parts]
    for target, layer in enumerate(block.layers):
        seen = features[: target + 1]
        before = layer(concat(mx.nd, *seen)).asnumpy()
        for source in range(target + 1):
            changed = [*seen[:source], seen[source] + 1, *seen[source + 1 :]]
            same = (layer(concat(mx.nd, *changed)).asnumpy() == before).all()
            assert same == (target + 1 - source > distance)


def test_statistics_become_those_of_the_images_and_nothing_else_changes():
    net, normaliser = build(), Normaliser((120, 120, 120), (60, 60, 60))
    images = np.random.RandomState(0).randint(0, 256, (20, 3, 32, 32)).astype(np.uint8)
    weights = [p.data().asnumpy() for p in net.collect_params(".*weight|.*gamma|.*beta").values()]
    for _ in range(80):
        feature_reuse.renew_statistics(net, images, normaliser)
    pixels = mx.nd.array(normaliser.arrays(images))
    with autograd.train_mode():
        expected = net(pixels).asnumpy()
    np.testing.assert_allclose(net(pixels).asnumpy(), expected, atol=0.01 * np.abs(expected).max())
    same = net.collect_params(".*weight|.*gamma|.*beta").values()
    assert all((p.data().asnumpy() == old).all() for p, old in zip(same, weights))


def test_table_and_picture_are_of_what_was_measured(tmp_path):
    block = [[1.0, 4.0], [None, 2.0]]
    results = json.loads(to_json({"errors": {"1": 0.5, "all": 0.1}, "sources": [block, block]}))
    assert "50.00 | 10.00" in feature_reuse.tabulate(results)
    figure = feature_reuse.draw(results, tmp_path / "picture.png")
    for axes, out in zip(figure.axes[:2], ("transition", "linear layer")):
        drawn = axes.images[0].get_array().filled(np.nan)
        np.testing.assert_allclose(drawn, [[100, 100], [np.nan, 50]])
        assert sorted(text.get_text() for text in axes.texts) == ["100", "100", "50"]
        assert axes.get_title().endswith(f"out: {out}")
    assert (tmp_path / "picture.png").stat().st_size > 5000
