"""What the walkthrough measures is what it says it measures."""

from __future__ import annotations

from runtime import mx

import numpy as np
import pytest
from mxnet import gluon

import datasets
import models
from figures import analysis
from models import get_model
from utils import Normaliser

CE = gluon.loss.SoftmaxCrossEntropyLoss()
NORMALISER = Normaliser((120, 120, 120), (60, 60, 60))


@pytest.fixture(scope="module")
def data():
    return datasets.get_dataset("shapes")


def test_a_plain_net_has_the_convolutions_of_the_resnet_of_its_depth():
    plain, resnet = analysis.PlainNet(20, batch_norm=True), get_model("resnet20")
    np.testing.assert_array_equal(
        analysis.convolution_sizes(plain), analysis.convolution_sizes(resnet)
    )
    shapes = [[p.shape for p in analysis.convolutions(net)] for net in (plain, resnet)]
    assert shapes[0] == shapes[1]
    # Strides too: at another size the same layer would do other work.
    work = models.count_multiply_accumulates
    assert work(plain) == work(resnet)
    assert models.count_parameters(plain) == models.count_parameters(resnet)


def test_a_relative_gradient_is_the_slope_of_the_loss_over_the_size_of_the_weights():
    net = analysis.PlainNet(8, batch_norm=False)
    models.initialize(net, mx.cpu(), seed=1)
    rng = np.random.RandomState(0)
    images = rng.randint(0, 256, (6, 3, 32, 32)).astype(np.uint8)
    labels = rng.randint(0, 10, 6)
    loss, gradients = analysis.relative_gradients(net, images, labels, NORMALISER)

    def compute_loss():
        logits = net(mx.nd.array(NORMALISER.arrays(images)))
        return float(CE(logits, mx.nd.array(labels)).mean().asscalar())

    assert loss == pytest.approx(compute_loss())
    parameters = analysis.convolutions(net)
    assert len(gradients) == len(parameters) == 7
    for parameter, measured in zip(parameters, gradients):
        weight, gradient = parameter.data().asnumpy(), parameter.grad().asnumpy()
        # Along the gradient the loss rises as steeply as the gradient is long.
        step = 0.003 * np.linalg.norm(weight) * gradient / np.linalg.norm(gradient)
        sides = []
        for sign in (1, -1):
            parameter.set_data(mx.nd.array(weight + sign * step))
            sides.append(compute_loss())
        parameter.set_data(mx.nd.array(weight))
        slope = (sides[0] - sides[1]) / (2 * np.linalg.norm(step))
        assert measured * np.linalg.norm(weight) == pytest.approx(slope, rel=0.05)


def test_steps_change_the_gradients_and_no_steps_do_not(data):
    def watch(steps):
        net = analysis.PlainNet(8, batch_norm=True)
        return analysis.watch_gradients(net, data, steps, batch_size=16, lr=0.1)

    none, some, again = watch(0), watch(4), watch(4)
    assert none["before"][0] == pytest.approx(none["after"][0], rel=1e-5)
    np.testing.assert_allclose(none["before"][1], none["after"][1], rtol=1e-4)
    assert some["before"][0] == pytest.approx(none["before"][0], rel=1e-5)
    assert abs(some["after"][0] - some["before"][0]) > 1e-3
    np.testing.assert_array_equal(some["after"][1], again["after"][1])
    assert some["steps"] == 4


def test_live_blocks_are_the_draws_of_a_run():
    net = get_model("resnet20_sd")
    alive = analysis.live_blocks(net, steps=7, seed=3)
    assert alive.shape == (9, 7)
    np.testing.assert_array_equal(alive[:, 5], models.draw_gates(net, 3, 5))


@pytest.mark.parametrize("count", [0, 1, 9, 40, 54])
def test_live_blocks_are_spread_over_the_depth(count):
    alive = analysis.spread(54, count)
    assert alive.sum() == count
    thirds = alive.reshape(3, 18).sum(axis=1)
    assert thirds.max() - thirds.min() <= 1


def test_steps_are_timed_with_as_many_live_blocks_as_asked(monkeypatch):
    seen = []
    monkeypatch.setattr(analysis, "train_step", lambda net, *_: seen.append(int(net.gates.sum())))
    seconds = analysis.step_seconds("resnet20_sd", [0, 2, 3], repeats=2, batch_size=4, depth=8)
    assert seconds.shape == (3, 2)
    assert seen == [3, 3, 0, 2, 3, 0, 2, 3]


def test_the_median_of_a_calls_times_is_taken(monkeypatch):
    moments = iter([0.0, 5.0, 10.0, 11.0, 20.0, 22.0])
    monkeypatch.setattr(analysis.time, "perf_counter", lambda: next(moments))
    assert analysis.median_seconds(lambda: None, repeats=3) == 2.0


def test_a_dense_layer_costs_its_input_times_the_growth_rate():
    sizes = analysis.convolution_sizes(get_model("densenet40_k12"))
    assert len(sizes) == 39
    np.testing.assert_array_equal(sizes[0], [3, 9 * 3 * 16])
    for layer in range(12):
        channels = 16 + 12 * layer
        np.testing.assert_array_equal(sizes[1 + layer], [channels, 9 * channels * 12])
    np.testing.assert_array_equal(sizes[13], [160, 160 * 160])  # the transition


def test_every_published_error_stands_beside_the_size_of_its_net(monkeypatch):
    names = ("densenet_bc100_k12", "densenet_bc40_k16", "resnet110_sd")
    monkeypatch.setattr(models, "REGISTRY", {name: models.REGISTRY[name] for name in names})
    assert analysis.published_models() == {
        "densenet_bc100_k12": (769_162, 4.51),
        "resnet110_sd": (1_727_962, 5.25),
    }


@pytest.mark.parametrize("bottleneck", [True, False])
def test_weights_are_averaged_over_the_channels_of_each_source(bottleneck):
    net = get_model("densenet_bc40_k16", depth=16, bottleneck=bottleneck, growth_rate=4)
    models.initialize(net)
    blocks = [piece for piece in net.features if hasattr(piece, "parts")]
    transitions = [piece for piece in net.features if hasattr(piece, "conv")]
    for number, block in enumerate(blocks):
        last = transitions[number].conv if number < len(transitions) else net.output
        sources = np.repeat(np.arange(len(block.parts)), block.parts)
        for layer in [*(analysis.convolutions(each)[0] for each in block.layers), last.weight]:
            shape = layer.shape
            signs = np.random.RandomState(0).choice([-1, 1], shape)
            marks = (10 * number + 1 + sources[: shape[1]]).reshape(1, -1, *[1] * (len(shape) - 2))
            layer.set_data(mx.nd.array(signs * marks))
    found = analysis.source_weights(net)
    assert len(found) == 3
    for number, (matrix, block) in enumerate(zip(found, blocks)):
        layers = len(block.layers)
        assert matrix.shape == (layers + 1, layers + 1)
        for source, target in np.ndindex(*matrix.shape):
            expected = 10 * number + 1 + source if source <= target else np.nan
            np.testing.assert_allclose(matrix[source, target], expected, rtol=1e-6)


def test_the_surest_mistake_comes_first_and_the_surest_right_answer_last():
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7], [0.45, 0.55]])
    labels = np.array([0, 1, 0, 1, 1])
    assert analysis.confident_mistakes(probabilities, labels, 9).tolist() == [2, 1, 4, 3, 0]
    assert analysis.confident_mistakes(probabilities, labels, 2).tolist() == [2, 1]
