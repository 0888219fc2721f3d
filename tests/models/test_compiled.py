"""The papers' nets, and others', compiled: outputs, gradients and statistics, float64 the truth."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from oracle import check, faults, observe
from small_nets import SMALL, backward, build

import compiler
from models import draw_gates, get_model
from models.layers import concat
from models.resnet import ResNet

sys.path.insert(0, "benchmarks")
import textbook_nets


def make(name, options):
    """Return a net without chance: no dropout, and some blocks of stochastic depth left out."""
    net = get_model(name, classes=7, **{k: v for k, v in options.items() if k != "dropout"})
    draw_gates(net, seed=0, step=0)
    return net


@pytest.mark.parametrize(("name", "options"), [*SMALL, ("cifar_resnet20_v2", {})])
def test_nets_of_every_family_are_compiled_right(name, options):
    assert check(lambda: make(name, options), compiler.hybridize) == {}


@pytest.mark.parametrize("widths", [(20, 20, 48), (24, 24, 32)])
def test_widths_that_fused_wrongly_are_compiled_right(widths):
    # So they did, or crashed, before there was a compiler.
    def make():
        return ResNet((2, 2), widths, projection=True, classes=7)

    assert check(make, compiler.hybridize) == {}


def test_a_tutorials_densenet_trains_that_plain_mxnet_cannot(monkeypatch):
    def make():
        return textbook_nets.densenet(10, 12, bottleneck=True, compression=0.5, classes=7)

    compiled = observe(make, 0, form=compiler.hybridize)
    monkeypatch.setattr(
        *(textbook_nets.DenseLayer, "hybrid_forward"),
        lambda layer, F, x: concat(F, x, layer.body(x)),
    )
    assert faults(compiled, observe(make, 0, "float64")) == {}


def statistics(net):
    """Return the running statistics by name."""
    parameters = net._collect_params_with_prefix().items()
    return {name: p.data().asnumpy() for name, p in parameters if "running" in name}


def relative(a, b):
    """Distance of the arrays of a from those of b, all taken together, relative to b's size."""
    distance = sum(np.sum((a[name] - b[name]) ** 2) for name in b)
    return float(np.sqrt(distance / sum(np.sum(array**2) for array in b.values())))


@pytest.mark.skipif(not compiler.has_bfloat16(), reason="needs a processor with AVX512-BF16")
@pytest.mark.parametrize(("name", "options"), [s for s in SMALL if "dropout" not in s[1]])
def test_in_bfloat16_a_net_computes_nearly_the_same(name, options):
    exact, fused, plain = (build(name, hybrid=False, **options) for _ in range(3))
    compiler.hybridize(exact)
    expected = backward(exact, 16)
    found = []
    for net, without in ((fused, ()), (plain, ("fuse",))):
        compiler.hybridize(net, bfloat16=True, without=without)
        found.append(backward(net, 16))
        size = np.abs(expected[0]).max()
        np.testing.assert_allclose(found[-1][0], expected[0], rtol=0, atol=0.03 * max(1, size))
        assert relative(statistics(net), statistics(exact)) < 1e-3
    # Eight bits of mantissa, at every layer: gradients of fused operators may be off as far as
    # those of plain ones, not further.
    errors = [relative(gradients, expected[1]) for _, gradients in found]
    assert errors[1] < 0.4
    assert errors[0] < 1.2 * errors[1]
