"""A net made ready for inference is the same function, and divides its batches."""

from __future__ import annotations

from runtime import mx

import numpy as np
import pytest
from small_nets import backward, build

import compiler
from inference.logits import compute_logits
from utils import Normaliser

NORMALISER = Normaliser((125.3, 123.0, 113.9), (63.0, 62.1, 66.7))


def learn(net):
    """Move weights and running statistics from where they are."""
    backward(net, 8)
    for parameter in net.collect_params().values():
        if parameter.grad_req != "null":
            parameter.set_data(parameter.data() + 0.1 * parameter.grad())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("se_resnet20_sd", {"depth": 8, "width": 2}),
        ("cifar_resnet20_v1", {}),
        # Norms that do not follow convolutions.
        ("densenet_bc40_k16", {"depth": 10, "growth_rate": 5}),
        ("resnet164", {"depth": 11}),
        ("resnet11_pooled", {}),
    ],
)
def test_a_frozen_net_stays_the_function_that_it_was_in_any_batches_on_any_devices(name, options):
    net = build(name, **options)
    learn(net)
    one, two = [mx.cpu()], [mx.cpu(0), mx.cpu(1)]
    images = np.random.RandomState(0).randint(0, 256, (16, 3, 32, 32)).astype(np.uint8)
    expected = compute_logits(net, images, NORMALISER, one)
    frozen = [(compiler.freeze(net, one), one)]
    net.collect_params().reset_ctx(two)
    frozen.append((compiler.freeze(net, two), two))
    net.collect_params().reset_ctx(one)
    learn(net)  # of which those that are frozen know nothing
    assert not np.allclose(compute_logits(net, images, NORMALISER, one), expected)
    for form, devices in frozen:
        for size in (5, 1, 16, 5):
            found = compute_logits(form, images, NORMALISER, devices, size)
            np.testing.assert_allclose(found, expected, atol=1e-5 * abs(expected).max())
