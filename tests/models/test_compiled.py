"""The papers' nets, and others', compiled: outputs, gradients and statistics, float64 the truth."""

from __future__ import annotations

import functools
import sys

import numpy as np
import pytest
from oracle import check, faults, observe
from small_nets import SMALL

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


def relative(found, expected, kind):
    """Return how far all of a kind, taken together, are from what they should be: a share."""
    names = [name for name in expected if kind in name]
    distance = sum(np.sum((found[name] - expected[name]) ** 2) for name in names)
    return float(np.sqrt(distance / sum(np.sum(expected[name] ** 2) for name in names)))


@pytest.mark.skipif(not compiler.has_bfloat16(), reason="needs a processor with AVX512-BF16")
@pytest.mark.parametrize(("name", "options"), [s for s in SMALL if "dropout" not in s[1]])
def test_in_bfloat16_a_net_computes_nearly_the_same(name, options):
    expected, *found = (
        observe(lambda: make(name, options), 0, form=form, batch=16)
        for form in (
            compiler.hybridize,
            functools.partial(compiler.hybridize, bfloat16=True),
            functools.partial(compiler.hybridize, bfloat16=True, without=("fuse",)),
        )
    )
    for each in found:
        assert relative(each, expected, "output") < 0.03
        assert relative(each, expected, "running") < 1e-3
    # Eight bits of mantissa, at every layer: gradients of fused operators may be off as far as
    # those of plain ones, not further.
    errors = [relative(each, expected, "gradient of") for each in found]
    assert 0 < errors[1] < 0.4
    assert errors[0] < 1.2 * errors[1]
