"""The papers' nets, and others', compiled: outputs, gradients and statistics, float64 the truth."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from oracle import check, observe
from small_nets import SMALL

import compiler
from models import draw_gates, get_model


def make(name, options):
    """Return a net without chance: no dropout, and some blocks of stochastic depth left out."""
    net = get_model(name, classes=7, **{k: v for k, v in options.items() if k != "dropout"})
    draw_gates(net, seed=0, step=0)
    return net


@pytest.mark.parametrize(("name", "options"), [*SMALL, ("cifar_resnet20_v2", {})])
def test_nets_of_every_family_are_compiled_right(name, options):
    assert check(lambda: make(name, options), compiler.hybridize) == {}


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
