"""Memory-efficient DenseNets are the plain ones, with other memory."""

from __future__ import annotations

from runtime import mx  # noqa: F401 (first: it prepares the process for MXNet)

import numpy as np
import pytest
from mxnet import autograd, gluon
from small_nets import backward, build, images, relative, statistics

import compiler


@pytest.mark.parametrize(
    "options",
    [
        {"depth": 16},
        {"depth": 16, "dropout": 0.2},
        {"depth": 16, "growth_rate": 12},
        {"depth": 16, "growth_rate": 12, "dropout": 0.2},
        {"bottleneck": False},
        {"bottleneck": False, "growth_rate": 12},
        {"depth": 16, "squeeze_excitation": True},
    ],
    ids=["bc-k16", "bc-k16-dropout", "bc-k12", "bc-k12-dropout", "plain-k16", "plain-k12", "se"],
)
def test_memory_efficient_densenets_are_the_same_nets(options):
    options = {"depth": 13, **options}
    plain = build("densenet_bc40_k16", **options)
    lean = build("densenet_bc40_k16", **options, memory_efficient=True)
    for step in range(2):
        a, b = backward(plain, step=step), backward(lean, step=step)
        np.testing.assert_allclose(b[0], a[0], rtol=1e-4, atol=1e-5)
        assert relative(b[1], a[1]) < 0.03
    assert relative(statistics(lean), statistics(plain)) < 1e-5


@pytest.mark.parametrize("growth_rate", [12, 16])
def test_memory_efficient_densenets_train_under_gluons_trainer_without_waiting(growth_rate):
    options = {"depth": 16, "growth_rate": growth_rate}
    nets = [build("densenet_bc40_k16", **options, memory_efficient=lean) for lean in (False, True)]
    outputs = []
    for net in nets:
        trainer = gluon.Trainer(net.collect_params(), "nag", {"learning_rate": 0.01})
        x, y = images(8)
        for _ in range(3):
            with autograd.record():
                loss = gluon.loss.SoftmaxCrossEntropyLoss()(net(x), y)
            loss.backward()
            trainer.step(8)
        outputs.append(net(x).asnumpy())
    np.testing.assert_allclose(outputs[1], outputs[0], rtol=0.02, atol=0.02)


def test_a_memory_efficient_densenet_may_be_frozen_in_part():
    options = {"depth": 16, "growth_rate": 16}
    nets = [build("densenet_bc40_k16", **options, memory_efficient=lean) for lean in (False, True)]
    gradients = []
    for net in nets:
        net.features[0].collect_params().setattr("grad_req", "null")
        net.features[1].layers[0].collect_params(".*gamma").setattr("grad_req", "null")
        compiler.hybridize(net)
        gradients.append(backward(net)[1])
    assert gradients[1].keys() == gradients[0].keys()
    assert relative(gradients[1], gradients[0]) < 0.03
