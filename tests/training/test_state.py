"""A run's state: a checkpoint brings back all that the next step depends on."""

from __future__ import annotations

from runtime import mx

import numpy as np
import pytest
from mxnet import autograd
from mxnet.gluon import nn

from errors import InputError
from records.checkpoints import Checkpoints, newest
from records.config import make_config
from training.distributed import Workers
from training.state import State
from training.trainer import make_trainer
from weights.parameters import named_parameters

ONE, TWO = [mx.cpu()], [mx.cpu(0), mx.cpu(1)]
CONFIG = make_config(model="resnet20", lr=0.1)


def make(ctx=ONE):
    net = nn.HybridSequential()
    net.add(nn.Conv2D(4, 3, in_channels=3), nn.BatchNorm(in_channels=4), nn.GlobalAvgPool2D())
    net.add(nn.Dense(3, in_units=4))
    net.initialize(ctx=ctx)
    return net, make_trainer(net, CONFIG, ctx, Workers("device"))


def take_step(net, trainer, batch):
    with autograd.record():
        loss = net(batch).square().sum()
    loss.backward()
    trainer.step(8)


def test_weights_momentum_and_progress_come_back(tmp_path):
    first, second = make(), make()
    batch = mx.nd.random.normal(shape=(8, 3, 9, 9))
    take_step(*first, batch)
    state = State(*first)
    state.progress.history = [{"loss": 0.1 + 0.2}]
    state.save(Checkpoints(tmp_path), best=False)
    found = State(*second)
    found.load(newest(tmp_path, pytest.fail))
    assert found.progress == state.progress
    for net, trainer in (first, second):
        take_step(net, trainer, batch)
    for mine, other in zip(*(named_parameters(net).values() for net, _ in (first, second))):
        np.testing.assert_array_equal(mine.data().asnumpy(), other.data().asnumpy())


def test_statistics_of_every_device_come_back(tmp_path):
    net, trainer = make(TWO)
    mean, state = net[1].running_mean, State(net, trainer)
    for number, copy in enumerate(mean.list_data()):
        copy[:] = number + 1
    state.save(Checkpoints(tmp_path), best=False)
    for copy in mean.list_data():
        copy[:] = 0
    state.load(newest(tmp_path, pytest.fail))
    assert [copy.asnumpy().tolist() for copy in mean.list_data()] == [[1] * 4, [2] * 4]


@pytest.mark.parametrize(
    ("name", "shape"), [("momentum/9.weight", (1,)), ("momentum/0.weight", (2, 2)), ("x/0.bias", 4)]
)
def test_the_state_of_another_net_is_refused(name, shape):
    with pytest.raises(InputError, match="does not fit"):
        State(*make()).set_arrays({name: np.zeros(shape, "f")}, "a file")
