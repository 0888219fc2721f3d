"""The moving average is what its formula says, counts, and costs the run not one bit."""

from __future__ import annotations

from runtime import mx

import numpy as np
import pytest
from small_nets import build
from stopped_runs import start
from test_steps import NORMALISER, batch
from tiny_train import tiny_shapes

import models
from inference.logits import evaluate_net
from inference.trained import load_trained
from records.checkpoints import find
from records.config import make_config
from training.averaging import Average
from training.distributed import Workers
from training.step import train_step
from training.trainer import make_trainer
from weights.parameters import named_parameters

ONE, TWO = [mx.cpu()], [mx.cpu(0), mx.cpu(1)]

pytestmark = pytest.mark.usefixtures("tiny_images")


def values(net):
    return {
        name: [copy.asnumpy() for copy in p.list_data()]
        for name, p in named_parameters(net).items()
    }


@pytest.mark.parametrize(
    ("name", "options", "ctx"),
    [
        ("resnet20_sd", {"depth": 8}, TWO),
        ("densenet_bc40_k16", {"depth": 16, "growth_rate": 5}, ONE),  # statistics that are computed
        ("cifar_resnet20_v2", {}, ONE),
    ],
)
def test_the_average_is_that_of_weights_and_statistics_after_each_step(name, options, ctx):
    config = make_config(model=name, batch_size=8, lr=0.05)

    def train(after_step):
        net = build(name, ctx=ctx, **options)
        trainer = make_trainer(net, config, ctx, Workers("device"))
        average = Average(build(name, ctx=ctx, **options), net, 0.3)
        expected = values(net)
        for step in range(8):
            models.draw_gates(net, 0, step)
            train_step(net, trainer, *batch(step, 8), NORMALISER, ctx, config, step == 0)
            average.update(step)
            after_step(net, step, expected)
        mx.nd.waitall()
        return values(average.net), expected

    def follow(net, step, expected):
        mx.nd.waitall()
        decay = min(0.3, (1 + step) / (10 + step))
        for key, copies in values(net).items():
            expected[key] = [decay * e + (1 - decay) * c for e, c in zip(expected[key], copies)]

    waited, expected = train(follow)
    queued, _ = train(lambda *_: None)  # as in a run, where nothing waits between the steps
    for key, copies in waited.items():
        np.testing.assert_allclose(copies, expected[key], rtol=1e-5, atol=1e-6, err_msg=key)
        np.testing.assert_array_equal(copies, queued[key], err_msg=key)


def test_it_is_what_counts_and_the_net_in_training_is_as_without_it(tmp_path):
    flags = ["--gpus", "0,1", "--epochs", "2", "--depth", "10"]
    results = start(tmp_path, *flags, "--ema", "0.8", name="averaged")
    start(tmp_path, *flags, name="plain")
    averaged, plain = (find(tmp_path / name).files for name in ("averaged", "plain"))
    assert averaged["net.params"] == plain["net.params"] != averaged["best.params"]
    trained, test = load_trained(tmp_path / "averaged"), tiny_shapes("shapes").test
    measured = evaluate_net(trained.net, test, trained.normaliser, ONE)
    assert measured["loss"] == pytest.approx(results["test_loss_best"], rel=1e-5)
