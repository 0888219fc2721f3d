"""Gradients are measured as the study says, in nets that differ in what it asks about."""

from __future__ import annotations

from runtime import mx

import numpy as np
import pytest
from mxnet import gluon

import datasets
import models
from studies import gradients

CE = gluon.loss.SoftmaxCrossEntropyLoss()


@pytest.fixture(scope="module")
def data():
    return datasets.get_dataset("shapes")


@pytest.mark.parametrize("depth", gradients.DEPTHS)
def test_all_nets_are_about_as_deep(depth):
    for kind in gradients.KINDS:
        net = gradients.build(kind, depth)
        assert abs(len(gradients.convolutions(net)) - depth) <= 2, kind


def test_a_plain_net_has_the_layers_of_the_resnet_of_its_depth():
    nets = gradients.plain_net(20, batch_norm=True), models.get_model("resnet20")
    plain, resnet = ([p.shape for p in gradients.convolutions(net)] for net in nets)
    assert plain == resnet
    # Strides too: at another size the same layer would do other work.
    plain, resnet = map(models.count_multiply_accumulates, nets)
    assert plain == resnet


def test_a_relative_gradient_is_the_slope_of_the_loss_over_the_size_of_the_weights(
    data, monkeypatch
):
    monkeypatch.setattr(gradients, "BATCH_SIZE", 6)
    net = gradients.plain_net(8, batch_norm=False)
    models.initialize(net, mx.cpu(), seed=1)
    found = gradients.relative_gradients(net, data, seed=3, batches=1)
    batch = data.train.take(np.random.RandomState(3).permutation(len(data.train))[:6])

    def compute_loss():
        logits = net(mx.nd.array(data.normaliser.arrays(batch.images)))
        return float(CE(logits, mx.nd.array(batch.labels)).mean().asscalar())

    parameters = gradients.convolutions(net)
    assert len(found) == len(parameters) == 7
    for parameter, measured in zip(parameters, found):
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


def test_a_block_that_is_left_out_has_no_gradient(data, monkeypatch):
    net = gradients.build("ResNet, stochastic depth", 8)
    models.initialize(net, mx.cpu(), seed=0)
    gates = iter([[True, True, True], [True, False, True]])

    def set_gates(net, seed, step):
        net.gates = np.array(next(gates))

    monkeypatch.setattr(models, "draw_gates", set_gates)
    assert (gradients.relative_gradients(net, data, 0, 1) > 0).all()
    found = gradients.relative_gradients(net, data, 0, 1)
    assert (found == 0).tolist() == [False, False, False, True, True, False, False]


def test_table_and_picture_are_of_what_was_measured(tmp_path):
    curves = {
        f"{kind}, {depth}": [[9, 1, 2, 4], [9, 1, 2, 8]]
        for kind in gradients.KINDS
        for depth in gradients.DEPTHS
    }
    assert gradients.tabulate({"gradients": curves}).count("4 to 8") == 15
    figure = gradients.draw({"gradients": curves}, tmp_path / "picture.png")
    line = figure.axes[0].lines[0]
    np.testing.assert_allclose(line.get_ydata(), [1, 2, np.sqrt(32)])
    assert (tmp_path / "picture.png").stat().st_size > 5000
