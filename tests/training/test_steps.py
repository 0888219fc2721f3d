"""One training step, whichever way it is divided; learning rates of whole runs."""

from __future__ import annotations

from runtime import mx

import numpy as np
import pytest
from mxnet.gluon import nn
from small_nets import build
from test_runtime import ROOT, run_python

import compiler
from errors import InputError
from records.checkpoints import Checkpoints, newest
from records.config import make_config
from training.distributed import Workers
from training.schedule import make_schedule
from training.state import State
from training.step import train_step
from training.trainer import make_trainer, prepare_amp
from utils import Normaliser
from weights.parameters import get_parameters

NORMALISER = Normaliser((120, 120, 120), (60, 60, 60))
ONE = [mx.cpu(0)]


def net_without_batch_norm(ctx):
    net = nn.HybridSequential(prefix="")
    with net.name_scope():
        net.add(nn.Conv2D(8, 3, strides=2, in_channels=3, activation="relu"))
        net.add(nn.GlobalAvgPool2D(), nn.Dense(10, in_units=8))
    mx.random.seed(1)
    net.initialize(mx.init.Xavier(), ctx=ctx)
    compiler.hybridize(net)
    return net


def batch(step, size=16):
    rng = np.random.RandomState(step)
    images = rng.randint(0, 256, (size, 3, 32, 32)).astype(np.uint8)
    return images, np.eye(10, dtype="f")[rng.randint(0, 10, size)]


def run_steps(ctx=ONE, steps=3, net=None, trainer=None, **flags):
    config = make_config(model="resnet20", batch_size=16, lr=0.5, wd=0.01, **flags)
    net = net or net_without_batch_norm(ctx)
    trainer = trainer or make_trainer(net, config, ctx, Workers("device"))
    metrics = [
        train_step(net, trainer, *batch(step), NORMALISER, ctx, config, step == 0)
        for step in range(steps)
    ]
    weights = [p.data(ctx[0]).asnumpy() for p in net.collect_params().values()]
    return weights, np.array([each.asnumpy() for each in metrics])


def assert_close(found, expected):
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("flags", [{}, {"clip_grad": 0.05}], ids=["plain", "clipped"])
@pytest.mark.parametrize(("devices", "accumulate"), [(2, 1), (4, 1), (1, 4), (2, 2)], ids=str)
def test_parts_of_a_batch_make_the_step_of_the_whole(devices, accumulate, flags):
    ctx = [mx.cpu(number) for number in range(devices)]
    net = net_without_batch_norm(ctx)
    weights, metrics = run_steps(ctx, net=net, accumulate=accumulate, **flags)
    expected_weights, expected_metrics = run_steps(**flags)
    assert_close(weights, expected_weights)
    assert_close(metrics, expected_metrics)
    for first, parameter in zip(weights, net.collect_params().values()):
        for copy in parameter.list_data():  # devices stay equal to the bit
            np.testing.assert_array_equal(copy.asnumpy(), first)


def test_the_step_is_nesterovs():
    before, _ = run_steps(steps=0)
    net = net_without_batch_norm(ONE)
    after, _ = run_steps(net=net, steps=1)
    for parameter, old, new in zip(net.collect_params().values(), before, after):
        gradient = parameter.grad().asnumpy() / 16 + 0.01 * old
        np.testing.assert_allclose(new, old - 0.5 * 1.9 * gradient, rtol=1e-4, atol=1e-6)


def test_clipping_bounds_the_step():
    before, _ = run_steps(steps=0)
    after, _ = run_steps(steps=1, clip_grad=1e-3, momentum=0.0)
    decay = 1 - 0.5 * 0.01
    length = np.sqrt(sum(np.sum((new - decay * old) ** 2) for new, old in zip(after, before)))
    assert length == pytest.approx(0.5 * 1e-3, rel=1e-2)


def test_no_decay_norm_spares_what_is_not_a_weight():
    net = nn.HybridSequential()
    net.add(nn.Conv2D(4, 3, in_channels=3), nn.BatchNorm(in_channels=4))
    net.initialize()
    make_trainer(net, make_config(no_decay_norm=True), ONE, Workers("device"))
    multipliers = {p.name.split("_")[-1]: p.wd_mult for p in net.collect_params().values()}
    assert [multipliers[name] for name in ("weight", "bias", "gamma", "beta")] == [1, 0, 0, 0]


@pytest.mark.parametrize(
    ("settings", "steps_per_epoch", "expected"),
    [
        ({"epochs": 300}, 10, {0: 0.1, 1499: 0.1, 1500: 0.01, 2249: 0.01, 2250: 1e-3, 2999: 1e-3}),
        ({"model": "resnet1202"}, 10, {0: 0.01, 99: 0.01, 100: 0.1, 2499: 0.1, 2500: 0.01}),
        # Milestones in epochs, in any order; then a share that is not rounded up a step.
        ({"epochs": 9, "lr_milestones": (2.0, 0.5)}, 4, {7: 0.1, 8: 0.01, 17: 0.01, 18: 1e-3}),
        ({"epochs": 100, "lr_milestones": (0.55,)}, 2, {109: 0.1, 110: 0.01}),
    ],
    ids=["the papers'", "ResNet-1202", "epochs", "a share"],
)
def test_the_learning_rate_falls_where_it_should(settings, steps_per_epoch, expected):
    schedule = make_schedule(make_config(**settings), steps_per_epoch)
    assert {step: pytest.approx(schedule(step)) for step in expected} == expected


def test_cosine_after_a_linear_warm_up():
    config = make_config(epochs=10, lr=0.4, lr_schedule="cosine", warmup_epochs=2)
    rates = np.array([make_schedule(config, 5)(step) for step in range(50)])
    np.testing.assert_allclose(rates[[0, 9, 10, 49]], [0, 0.4, 0.4, 0], atol=1e-12)
    assert (np.diff(rates[:10]) > 0).all()
    assert (np.diff(rates[10:]) < 0).all()


@pytest.mark.parametrize("flags", [{}, {"lr_schedule": "cosine"}, {"lr_milestones": (1.0, 2.0)}])
def test_the_shortest_runs_have_a_schedule(flags):
    assert make_schedule(make_config(epochs=1, lr=0.1, **flags), 1)(0) == pytest.approx(0.1)
    schedule = make_schedule(make_config(epochs=2, warmup_epochs=1, lr=0.1, **flags), 1)
    assert np.isfinite([schedule(0), schedule(1)]).all()


def test_a_checkpoint_of_two_devices_has_the_statistics_of_its_last_step(tmp_path):
    devices, config = [mx.cpu(0), mx.cpu(1)], make_config(batch_size=16)
    net = build("resnet11_pooled", ctx=devices)
    trainer = make_trainer(net, config, devices, Workers("device"))
    for step in range(2):  # nothing is waited for
        train_step(net, trainer, *batch(step), NORMALISER, devices, config)
    State(net, trainer).save(Checkpoints(tmp_path, None), best=False)
    saved = newest(tmp_path).arrays("net.params")
    for name, value in get_parameters(net).items():
        np.testing.assert_array_equal(saved[name], value, name)


@pytest.mark.parametrize(
    ("name", "shape"), [("momentum/9.weight", (1,)), ("momentum/0.weight", (2, 2)), ("x/0.bias", 4)]
)
def test_the_state_of_another_net_is_refused(name, shape):
    net = net_without_batch_norm(ONE)
    state = State(net, make_trainer(net, make_config(), ONE, Workers("device")))
    with pytest.raises(InputError, match="does not fit"):
        state.set_arrays({name: np.zeros(shape, "f")}, "a file")


@pytest.mark.parametrize(
    ("has", "flags", "told"),
    [
        (True, {"model": "resnet20"}, ""),
        (False, {"model": "resnet20"}, "no AVX512-BF16"),
        (True, {"model": "cifar_resnet20_v1"}, ""),
        (True, {"model": "resnet20", "no_hybridize": True}, "runs the plain net"),
        (True, {"model": "densenet", "no_augment": True}, "no dropout in bfloat16"),
    ],
    ids=["bfloat16", "float32", "gluoncv", "plain", "dropout"],
)
def test_mixed_precision_on_a_cpu_is_bfloat16_where_that_can_be(
    monkeypatch, caplog, has, flags, told
):
    monkeypatch.setattr("compiler.has_bfloat16", lambda: has)
    precision = prepare_amp(make_config(amp=True, **flags), ONE)
    assert precision == ("float32" if told else "bfloat16")
    assert len(caplog.messages) == bool(told)
    assert told in caplog.text


# AMP changes MXNet's operators for the rest of the process, so this one has a process of its own.
# On a CPU there is no float16 convolution; with no operator chosen for float16, everything else of
# the path is the one that a GPU takes: scaled losses, unscaled gradients, skipped steps.
AMP = """
from runtime import mx
from mxnet.contrib import amp
amp.init(target_precision_ops=[], conditional_fp32_ops=[], fp32_ops=[])
import numpy as np
import test_steps as t
from training.trainer import make_trainer
from training.state import State
from training.distributed import Workers
from records.config import make_config
expected, _ = t.run_steps(clip_grad=0.05)
for accumulate in (1, 2):
    found, _ = t.run_steps(amp=True, clip_grad=0.05, accumulate=accumulate)
    t.assert_close(found, expected)
config = make_config(model="resnet20", batch_size=16, amp=True)
net = t.net_without_batch_norm(t.ONE)
trainer = make_trainer(net, config, t.ONE, Workers("device"))
net[0].weight.set_data(net[0].weight.data() * 1e38)
before = net[2].weight.data().asnumpy()
t.run_steps(net=net, trainer=trainer, steps=1, amp=True)
assert (net[2].weight.data().asnumpy() == before).all(), "a step with an overflow was taken"
assert trainer._amp_loss_scaler._next_loss_scale == 2.0**15
again = make_trainer(t.net_without_batch_norm(t.ONE), config, t.ONE, Workers("device"))
State(net, again).loss_scale = State(net, trainer).loss_scale
assert vars(again._amp_loss_scaler) == vars(trainer._amp_loss_scaler)
"""


def test_mixed_precision_scales_losses_and_skips_steps_that_overflow():
    run_python(AMP, f"{ROOT}:{ROOT}/tests:{ROOT}/tests/training", OMP_NUM_THREADS="1")
