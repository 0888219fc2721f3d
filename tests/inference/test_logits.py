"""A net made ready for inference is the same function, or the net itself."""

from __future__ import annotations

from runtime import mx

import numpy as np
import pytest
from mxnet import autograd

import compiler
import models
from datasets import Split
from inference.logits import evaluate_net
from inference.metrics import softmax
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
    ("name", "options", "follow"),
    [
        ("resnet20", {"depth": 8}, True),
        ("resnet20_sd", {"depth": 8, "width": 2}, True),
        ("se_resnet20", {"depth": 8}, True),
        ("cifar_resnet20_v1", {}, True),
        ("densenet_bc40_k16", {"depth": 10}, False),
        ("resnet164", {"depth": 11}, False),
        ("resnet20", {"depth": 11, "pool": True}, False),
        ("cifar_resnet20_v2", {}, False),
    ],
)
def test_a_frozen_net_is_the_same_function_and_the_net_where_norms_follow_no_convolutions(
    name, options, follow
):
    net = make_net(name, **options)
    frozen = compiler.freeze(net, [mx.cpu()])
    assert (frozen is not net) == follow
    for count in (5, 1, 16, 5) if follow else ():
        images = mx.nd.random.normal(shape=(count, 3, 32, 32))
        expected = net(images).asnumpy()
        for _ in range(2):
            np.testing.assert_allclose(
                frozen(images).asnumpy(), expected, atol=1e-5 * abs(expected).max()
            )


def test_a_frozen_net_keeps_to_what_the_net_was():
    net = make_net("resnet20", depth=8)
    frozen = compiler.freeze(net, [mx.cpu()])
    images = mx.nd.random.normal(shape=(4, 3, 32, 32))
    before = frozen(images).asnumpy()
    learn(net)
    assert not np.allclose(net(images).asnumpy(), before)
    np.testing.assert_array_equal(frozen(images).asnumpy(), before)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("devices", [1, 2, 3])
def test_every_image_counts_whatever_the_batch_and_the_devices(devices, frozen):
    ctx = [mx.cpu(i) for i in range(devices)]
    net = make_net("resnet20_sd", depth=8)
    net.collect_params().reset_ctx(ctx)
    rng = np.random.RandomState(0)
    images = rng.randint(0, 256, (11, 3, 32, 32)).astype(np.uint8)
    split = Split(images, rng.randint(0, 10, 11).astype(np.int32))
    normaliser = Normaliser((125.3, 123.0, 113.9), (63.0, 62.1, 66.7))
    expected = softmax(net(mx.nd.array(normaliser.arrays(images))).asnumpy())
    for batch_size in (4, 256):
        result = evaluate_net(
            compiler.freeze(net, ctx) if frozen else net, split, normaliser, ctx, batch_size
        )
        np.testing.assert_allclose(result["probabilities"], expected, atol=1e-5)
        right = expected[np.arange(11), split.labels]
        assert result["loss"] == pytest.approx(-np.log(right).mean(), rel=1e-4)
        assert result["top1"] == (expected.argmax(axis=1) == split.labels).mean()
