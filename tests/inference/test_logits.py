"""A net made ready for inference is the same function, or the net itself."""

from __future__ import annotations

from runtime import mx

import numpy as np
import pytest
from mxnet import autograd

import compiler
import models
from inference.logits import compute_logits
from utils import Normaliser


def make_net(name, **options):
    net = models.get_model(name, **options)
    models.initialize(net, seed=1)
    compiler.hybridize(net)
    learn(net)
    return net


def learn(net):
    """Move weights and running statistics from where they are."""
    with autograd.record():
        logits = net(mx.nd.random.normal(shape=(8, 3, 32, 32)))
    logits.backward()
    for parameter in net.collect_params().values():
        if parameter.grad_req != "null":
            parameter.set_data(parameter.data() + 0.1 * parameter.grad())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet20", {"depth": 8}),
        ("resnet20_sd", {"depth": 8, "width": 2}),
        ("se_resnet20", {"depth": 8}),
        ("cifar_resnet20_v1", {}),
        # Norms that do not follow convolutions.
        ("densenet_bc40_k16", {"depth": 10, "growth_rate": 5}),
        ("resnet164", {"depth": 11}),
        ("resnet20", {"depth": 11, "pool": True}),
        ("cifar_resnet20_v2", {}),
    ],
)
def test_a_frozen_net_is_the_same_function_whatever_the_batches(name, options):
    net = make_net(name, **options)
    frozen = compiler.freeze(net, [mx.cpu()])
    assert frozen is not net
    for count in (5, 1, 16, 5):
        images = mx.nd.random.normal(shape=(count, 3, 32, 32))
        expected = net(images).asnumpy()
        for _ in range(2):
            np.testing.assert_allclose(
                frozen(images).asnumpy(), expected, atol=1e-5 * abs(expected).max()
            )


@pytest.mark.parametrize(
    ("name", "options"), [("resnet20", {"depth": 8}), ("densenet40_k12", {"depth": 10})]
)
def test_a_frozen_net_keeps_to_what_the_net_was(name, options):
    net = make_net(name, **options)
    frozen = compiler.freeze(net, [mx.cpu()])
    images = mx.nd.random.normal(shape=(4, 3, 32, 32))
    before = frozen(images).asnumpy()
    learn(net)
    assert not np.allclose(net(images).asnumpy(), before)
    np.testing.assert_array_equal(frozen(images).asnumpy(), before)


@pytest.mark.parametrize(
    ("name", "options"), [("resnet20", {"depth": 8}), ("densenet40_k12", {"depth": 10})]
)
def test_a_frozen_net_divides_a_batch_between_devices(name, options):
    net = make_net(name, **options)
    images = np.random.RandomState(0).randint(0, 256, (7, 3, 32, 32)).astype(np.uint8)
    normaliser = Normaliser((125.3, 123.0, 113.9), (63.0, 62.1, 66.7))
    expected = compute_logits(net, images, normaliser, [mx.cpu()])
    devices = [mx.cpu(0), mx.cpu(1)]
    net.collect_params().reset_ctx(devices)
    found = compute_logits(compiler.freeze(net, devices), images, normaliser, devices, batch_size=4)
    np.testing.assert_allclose(found, expected, atol=1e-5 * abs(expected).max())
