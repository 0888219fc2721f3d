"""What is frozen stays as it is to the bit, statistics included, and the rest learns."""

from __future__ import annotations

import numpy as np
import pytest
from small_nets import SMALL, build
from test_averaging import TWO, values
from test_steps import NORMALISER, batch

import compiler
import models
from records.config import make_config
from training.distributed import Workers
from training.freezing import freeze
from training.step import train_step
from training.trainer import make_trainer

# Dropout, widths that are padded, recomputing, squeeze-and-excitation, pooling, stochastic depth.
NETS = [SMALL[number] for number in (1, 3, 6, 7, 9, 10, 16, 17)]


@pytest.mark.parametrize(("name", "options"), NETS)
@pytest.mark.parametrize("what", ["2", "features"])
def test_only_the_rest_learns(name, options, what):
    config = make_config(model=name, batch_size=8, lr=0.05, wd=0.1, accumulate=2, clip_grad=1.0)
    net = build(name, hybrid=False, ctx=TWO, **options)
    freeze(net, what)
    if what == "2":
        compiler.hybridize(net)
    trainer = make_trainer(net, config, TWO, Workers("device"))
    before = values(net)
    for step in range(2):
        models.draw_gates(net, 0, step)
        train_step(net, trainer, *batch(step, 8), NORMALISER, TWO, config, step == 0)
    Workers("device").average_statistics(net)
    changed = {key for key, new in values(net).items() if not np.array_equal(new, before[key])}
    end = len(net.features) if what == "features" else models.group_ends(net)[1]
    frozen = tuple(f"features.{number}." for number in range(end))
    rest = {key for key in before if not key.startswith(frozen)}
    assert changed <= rest
    assert all("squeeze" in key for key in rest - changed)  # units that are off
    assert "output.weight" in changed


def test_a_group_is_a_dense_block_with_its_transition_or_the_blocks_of_one_size():
    net = models.get_model("densenet40_k12")
    kinds = [type(piece).__name__ for piece in net.features[: models.group_ends(net)[0]]]
    assert kinds == ["Conv2D", "DenseBlock", "Transition"]
    assert models.group_ends(models.get_model("resnet20")) == [5, 8, 11]
    assert models.group_ends(models.get_model("cifar_resnet20_v1")) == [3, 4, 5]
