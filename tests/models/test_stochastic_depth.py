"""Stochastic depth: the rule, the draws, and that a dropped branch does no work."""

from __future__ import annotations

from runtime import mx

import numpy as np
import pytest
from mxnet import autograd, gluon
from small_nets import backward, build, images

from models import draw_gates, get_model
from models.resnet import survival_probs


def test_survival_decays_linearly_from_near_one_to_its_end():
    np.testing.assert_allclose(survival_probs(4, 0.5), [0.875, 0.75, 0.625, 0.5])
    assert (survival_probs(54, 1.0) == 1).all()  # constant depth
    # The paper's 40 of 54.
    assert get_model("resnet110_sd").survival_probs.sum() == pytest.approx(40.25)


def test_each_block_survives_as_often_as_its_probability_says():
    net, steps = get_model("resnet110_sd"), 4000
    alive = sum(draw_gates(net, seed=7, step=step).astype(int) for step in range(steps))
    expected = steps * net.survival_probs
    # Five standard deviations of a binomial: one false alarm in 30,000 seeds over the 54 blocks.
    assert (abs(alive - expected) < 5 * np.sqrt(expected * (1 - net.survival_probs))).all()


def test_draws_are_a_function_of_seed_and_step():
    net = get_model("resnet110_sd")
    draws = [draw_gates(net, seed, step) for seed, step in ((1, 5), (1, 5), (1, 6), (2, 5))]
    assert (draws[0] == draws[1]).all()
    assert (draws[0] != draws[2]).any()
    assert (draws[0] != draws[3]).any()
    assert draw_gates(get_model("resnet20"), 1, 5) is None


@pytest.mark.parametrize(("gates", "convolutions"), [([1] * 6, 13), ([1, 0, 1, 0, 0, 1], 7)])
def test_a_dropped_branch_runs_no_operator_forward_or_backward(gates, convolutions, tmp_path):
    net = build("resnet20_sd", hybrid=False, depth=14)
    backward(net, 2, gates=gates)
    file = str(tmp_path / "profile.json")
    mx.profiler.set_config(profile_imperative=True, aggregate_stats=True, filename=file)
    mx.profiler.dumps(reset=True)
    mx.profiler.set_state("run")
    backward(net, 2, gates=gates)
    mx.profiler.set_state("stop")
    lines = [line.split() for line in mx.profiler.dumps(reset=True).splitlines()]
    counts = {line[0]: int(line[1]) for line in lines if line and "Convolution" in line[0]}
    # Two in each branch, and the first.
    assert counts == {"Convolution": convolutions, "_backward_Convolution": convolutions}


def test_gradients_are_those_of_a_net_without_the_dropped_blocks():
    net = build("resnet20_sd", depth=20)
    gates = [True, False, True, True, False, True, True, True, False]
    logits, gradients = backward(net, gates=gates)
    stem, end, blocks = net.features[:2], net.features[-1], net.features[2:-1]
    small = gluon.nn.HybridSequential()
    small.add(*stem, *(block for block, alive in zip(blocks, gates) if alive), end, net.output)
    np.testing.assert_allclose(logits, backward(small)[0], rtol=1e-5, atol=1e-5)
    dropped = tuple(f"features.{2 + i}.branch." for i, alive in enumerate(gates) if not alive)
    for name, gradient in gradients.items():
        expected = net._collect_params_with_prefix()[name].grad().asnumpy()
        np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-5)
        assert name.startswith(dropped) == (not gradient.any()), name


def test_dropped_weights_take_their_momentum_and_decay_step():
    net = build("resnet20_sd", depth=8)
    settings = {"learning_rate": 0.1, "momentum": 0.9, "wd": 0.01}
    trainer = gluon.Trainer(net.collect_params(), "sgd", settings)
    weight = net.features[3].branch[0].weight
    history = [weight.data().asnumpy()]
    for gates in ([1, 1, 1], [1, 0, 1]):
        backward(net, gates=gates)
        trainer.step(1)  # raises where a gradient is stale
        history.append(weight.data().asnumpy())
    start, first, second = history
    momentum = first - start
    np.testing.assert_allclose(second - first, 0.9 * momentum - 0.1 * 0.01 * first, atol=1e-6)


def test_gradients_of_several_passes_add_up_whichever_blocks_each_drops():
    net = build("resnet20_sd", depth=8)
    weight = net.features[3].branch[0].weight
    found = []
    for request, passes in (("write", [[1, 1, 1]]), ("add", [[1, 1, 1], [1, 0, 1]])):
        net.collect_params().setattr("grad_req", request)
        net.collect_params().zero_grad()
        for gates in passes:
            backward(net, gates=gates)
        found.append(weight.grad().asnumpy())
    assert np.abs(found[0]).max() > 0
    np.testing.assert_allclose(found[1], found[0], rtol=1e-3, atol=1e-5)


def test_at_test_each_branch_counts_by_its_survival_probability():
    net, constant = build("resnet20_sd", depth=14), build("resnet20", depth=14)
    blocks = [layer for layer in constant.features if hasattr(layer, "branch")]
    for block, p in zip(blocks, survival_probs(6, 0.5)):
        for parameter in (block.branch[3].gamma, block.branch[3].beta):
            parameter.set_data(parameter.data() * p)
    x, _ = images(2)
    np.testing.assert_allclose(net(x).asnumpy(), constant(x).asnumpy(), rtol=1e-4, atol=1e-5)


def test_without_drawn_gates_each_pass_draws_its_own():
    net = build("resnet20_sd", depth=20, final_survival_prob=0.1)
    x, _ = images(2)
    mx.random.seed(0)
    with autograd.train_mode():
        outputs = [net(x).asnumpy() for _ in range(4)]
    assert any((outputs[0] != other).any() for other in outputs[1:])
