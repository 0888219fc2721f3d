"""The registry: sizes as published, and every net trains, on a CPU, in every form alike."""

from __future__ import annotations

from runtime import mx

import numpy as np
import pytest
from mxnet import gluon
from small_nets import SMALL, backward, build

from errors import InputError
from models import REGISTRY, count_multiply_accumulates, count_parameters, get_model
from models.__main__ import main as models_command
from models.resnet import ResNet

# From the papers' architectures; agree with their rounded figures. By depth and growth rate: the
# parameters of the plain DenseNet, of B, C and BC.
DENSENETS = {
    (40, 12): (1_019_722, 249_946, 599_050, 176_122),
    (100, 12): (6_979_642, 1_210_066, 4_068_490, 769_162),
    (100, 24): (27_249_082, 4_754_074, 16_114_138, 3_020_506),
    (190, 40): (None, 42_664_810, None, 25_624_430),
    (250, 24): (None, 25_972_474, None, 15_324_406),
}
KINDS = [(bottleneck, compression) for compression in (1.0, 0.5) for bottleneck in (False, True)]
NAMES = [f"{name}-{'-'.join(f'{k}={v}' for k, v in options.items())}" for name, options in SMALL]


@pytest.mark.parametrize(("size", "parameters"), DENSENETS.items())
def test_densenets_have_the_papers_parameters(size, parameters):
    depth, growth_rate = size
    for (bottleneck, compression), expected in zip(KINDS, parameters):
        if expected:
            options = {"bottleneck": bottleneck, "compression": compression}
            net = get_model("densenet", depth=depth, growth_rate=growth_rate, **options)
            assert count_parameters(net) == expected, options


def test_a_wide_resnet_has_the_parameters_counted_by_hand():
    assert count_parameters(get_model("resnet20", depth=14, width=2)) == 685_994


def test_every_name_builds_a_net_whose_graph_maps_images_to_logits():
    for name in REGISTRY:
        if REGISTRY[name][1]["depth"] > 164:
            continue  # seconds a net; their sizes are checked elsewhere
        graph = get_model(name, classes=7)(mx.sym.var("data"))
        assert graph.infer_shape(data=(2, 3, 32, 32))[1] == [(2, 7)], name


@pytest.mark.parametrize(("name", "options"), SMALL, ids=NAMES)
def test_a_training_step_reaches_every_parameter(name, options):
    net = build(name, **options)
    trainer = gluon.Trainer(net.collect_params(), "nag", {"learning_rate": 0.1, "momentum": 0.9})
    before = {k: p.data().asnumpy() for k, p in net.collect_params().items()}
    for step in range(6):  # enough for stochastic depth to use every block
        logits, gradients = backward(net, step=step)
        assert logits.shape == (4, 10)
        assert all(np.isfinite(gradient).all() for gradient in gradients.values())
        trainer.step(1)
    mx.nd.waitall()
    for name, parameter in net.collect_params().items():
        if parameter.grad_req != "null" and "squeezeexcitation" not in name:  # its ReLU may be off
            assert np.abs(parameter.data().asnumpy() - before[name]).max() > 0, name


def test_initial_weights_follow_the_papers_and_the_seed():
    net, again = build("densenet_bc40_k16"), build("densenet_bc40_k16")
    weights, others = (
        each.features[1].layers[3].expand[1].weight.data().asnumpy() for each in (net, again)
    )
    assert weights.std() == pytest.approx(np.sqrt(2 / (9 * 16)), rel=0.05)
    np.testing.assert_array_equal(weights, others)
    assert not net.output.bias.data().asnumpy().any()


@pytest.mark.parametrize(
    ("options", "groups", "linear"),
    [
        ({}, {32: 3 * 16 + 6 * 16**2, 16: 16 * 32 + 5 * 32**2, 8: 32 * 64 + 5 * 64**2}, 640),
        # The image is halved in front of every group.
        (
            {"depth": 11, "pool": True},
            {32: 3 * 16 + 16 * 32, 16: 2 * 32**2 + 32 * 128, 8: 3 * 128**2, 4: 2 * 128**2},
            1280,
        ),
    ],
)
def test_multiply_accumulates_are_those_of_the_layers(options, groups, linear):
    expected = sum(9 * size**2 * weights for size, weights in groups.items()) + linear
    assert count_multiply_accumulates(get_model("resnet20", **options)) == expected


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("densnet", {}, "did you mean"),
        ("densenet", {"depth": 41}, "take 40 or 46"),
        ("densenet40_k12", {"depth": 41}, "take 40 or 43"),
        ("resnet", {"depth": 100}, "take 98 or 104"),
        ("resnet164", {"depth": 165}, "take 164 or 173"),
        ("resnet", {"final_survival_prob": 1.5}, r"\(0, 1\]"),
        ("resnet", {"width": 0}, "at least 1"),
        ("resnet", {"classes": 0}, "must be at least 1"),
        ("densenet", {"compression": 0.001}, "leaves no channel"),
        ("resnet", {"depth": 12, "pool": True}, "take 11 or 17"),
        ("resnet164", {"pool": True}, "leave bottleneck out"),
        ("densenet", {"compression": 1.5}, r"\(0, 1\]"),
        ("densenet", {"dropout": 1}, r"\[0, 1\)"),
        ("densenet", {"block_config": [1]}, "without block_config: its options are bottleneck, "),
        ("resnet20", {"growth_rate": 12}, "is a ResNet, without growth_rate: its .*, width"),
        ("nosuch", {}, "unknown model 'nosuch': `python"),
        ("resnet20", {"pretrained": "my.params"}, r"'my.params': .* net.load_parameters\(path\)"),
        ("cifar_resnet20_v1", {"depth": 3}, "takes no depth"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(name, options, message):
    with pytest.raises(InputError, match=message):
        get_model(name, **options)


def test_widths_that_no_shortcut_can_join_are_refused():
    with pytest.raises(InputError, match="16 to 48 channels with stride 2 has no shortcut"):
        ResNet([1, 1, 1], [16, 16, 48, 64])


def test_one_model_is_printed_by_its_name(capsys):
    assert models_command(["densenet"]) == 0
    _, row = capsys.readouterr().out.splitlines()
    assert row.split() == ["densenet_bc100_k12", "769,162", "287.9", "M", "4.51", "%"]
    assert models_command(["densnet"]) == 2
