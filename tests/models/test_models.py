"""The registry: sizes as published, and every net trains, on a CPU, in every form alike."""

from __future__ import annotations

import json

from runtime import mx

import numpy as np
import pytest
from mxnet import gluon
from small_nets import SMALL, backward, build, images

from errors import InputError
from models import (
    REGISTRY,
    count_multiply_accumulates,
    count_parameters,
    get_model,
    initialize,
)
from models.__main__ import main as models_command
from models.resnet import ResNet

# From the papers' architectures; agree with their rounded figures.
PLAIN, B = {"bottleneck": False, "compression": 1.0}, {"bottleneck": True, "compression": 1.0}
C, BC = {"bottleneck": False, "compression": 0.5}, {"bottleneck": True, "compression": 0.5}
PARAMETERS = [
    ("densenet", {"depth": 40, "growth_rate": 12, **PLAIN}, 1_019_722),
    ("densenet", {"depth": 40, "growth_rate": 12, **B}, 249_946),
    ("densenet", {"depth": 40, "growth_rate": 12, **C}, 599_050),
    ("densenet", {"depth": 40, "growth_rate": 12, **BC}, 176_122),
    ("densenet", {"depth": 100, "growth_rate": 12, **PLAIN}, 6_979_642),
    ("densenet", {"depth": 100, "growth_rate": 12, **B}, 1_210_066),
    ("densenet", {"depth": 100, "growth_rate": 12, **C}, 4_068_490),
    ("densenet", {"depth": 100, "growth_rate": 12, **BC}, 769_162),
    ("densenet", {"depth": 100, "growth_rate": 24, **PLAIN}, 27_249_082),
    ("densenet", {"depth": 100, "growth_rate": 24, **B}, 4_754_074),
    ("densenet", {"depth": 100, "growth_rate": 24, **C}, 16_114_138),
    ("densenet", {"depth": 100, "growth_rate": 24, **BC}, 3_020_506),
    ("densenet", {"depth": 190, "growth_rate": 40, **B}, 42_664_810),
    ("densenet", {"depth": 190, "growth_rate": 40, **BC}, 25_624_430),
    ("densenet", {"depth": 250, "growth_rate": 24, **B}, 25_972_474),
    ("densenet", {"depth": 250, "growth_rate": 24, **BC}, 15_324_406),
    ("resnet110", {}, 1_727_962),
    ("resnet110", {"projection": True}, 1_730_714),
    ("resnet110_sd", {}, 1_727_962),
    ("resnet1202", {}, 19_421_274),
]
NAMES = [f"{name}-{'-'.join(f'{k}={v}' for k, v in options.items())}" for name, options in SMALL]


@pytest.mark.parametrize(("name", "options", "parameters"), PARAMETERS)
def test_nets_have_the_papers_parameters(name, options, parameters):
    assert count_parameters(get_model(name, **options)) == parameters


def test_every_name_builds_a_net_whose_graph_maps_images_to_logits():
    for name in REGISTRY:
        if "1202" in name:
            continue  # seconds a net; its size is checked above
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


@pytest.mark.parametrize(("name", "options"), SMALL, ids=NAMES)
def test_the_exported_graph_is_the_plain_one(name, options, tmp_path):
    net = build(name, **options)
    backward(net)
    x, _ = images(3, seed=1)
    expected = net(x).asnumpy()
    net.export(str(tmp_path / "net"))
    files = (str(tmp_path / each) for each in ("net-symbol.json", "net-0000.params"))
    again = gluon.SymbolBlock.imports(next(files), ["data"], next(files))
    np.testing.assert_allclose(again(x).asnumpy(), expected, rtol=1e-4, atol=1e-4)
    plain = build(name, hybrid=False, **options)(mx.sym.var("data")).tojson()
    assert operators((tmp_path / "net-symbol.json").read_text()) == operators(plain)


def operators(graph):
    return [node["op"] for node in json.loads(graph)["nodes"]]


@pytest.mark.parametrize(("name", "options"), [s for s in SMALL if s[0] in REGISTRY])
def test_a_cast_to_float16_leaves_batchnorm_in_float32(name, options):
    # By types alone: MXNet multiplies no float16 matrices on a CPU.
    net = build(name, **options)
    net.cast("float16")
    symbol = net(mx.sym.var("data"))
    arguments, outputs, statistics = symbol.infer_type(data="float16")
    assert (outputs, set(statistics)) == ([np.float16], {np.float32})
    for parameter, dtype in zip(symbol.list_arguments(), arguments):
        assert (dtype == np.float32) == parameter.endswith(("gamma", "beta")), parameter


def test_initial_weights_follow_the_papers_and_the_seed():
    net, again = build("densenet_bc40_k16"), build("densenet_bc40_k16")
    weights = net.features[1].layers[3].expand[1].weight.data().asnumpy()
    assert weights.std() == pytest.approx(np.sqrt(2 / (9 * 16)), rel=0.05)
    np.testing.assert_array_equal(
        weights, again.features[1].layers[3].expand[1].weight.data().asnumpy()
    )
    assert (net.output.bias.data().asnumpy() == 0).all()


def test_width_multiplies_the_channels_of_every_layer():
    net = get_model("resnet20", depth=14, width=2)
    convolutions = 9 * (3 * 32 + 4 * 32**2 + 32 * 64 + 3 * 64**2 + 64 * 128 + 3 * 128**2)
    assert count_parameters(net) == convolutions + 2 * (5 * 32 + 4 * 64 + 4 * 128) + 1290


def test_multiply_accumulates_are_those_of_the_layers():
    # resnet20's 3×3 convolutions and linear layer, by hand.
    first = 32 * 32 * 9 * (3 * 16 + 6 * 16 * 16)
    second = 16 * 16 * 9 * (16 * 32 + 5 * 32 * 32)
    third = 8 * 8 * 9 * (32 * 64 + 5 * 64 * 64)
    assert count_multiply_accumulates(get_model("resnet20")) == first + second + third + 640


def test_a_pooled_net_halves_the_image_in_front_of_every_group():
    first = 32 * 32 * 9 * (3 * 16 + 16 * 32)
    second = 16 * 16 * 9 * (2 * 32 * 32 + 32 * 128)
    third = 8 * 8 * 9 * 3 * 128 * 128
    fourth = 4 * 4 * 9 * 2 * 128 * 128
    net = get_model("resnet", depth=11, pool=True)
    assert count_multiply_accumulates(net) == first + second + third + fourth + 1280


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("densnet", {}, "did you mean"),
        ("densenet", {"depth": 41}, "take 40 or 46"),
        ("densenet40_k12", {"depth": 41}, "take 40 or 43"),
        ("resnet", {"depth": 100}, "take 98 or 104"),
        ("resnet164", {"depth": 165}, "take 164 or 173"),
        ("resnet", {"final_survival_prob": 0}, r"\(0, 1\]"),
        ("resnet", {"final_survival_prob": 1.5}, r"\(0, 1\]"),
        ("resnet", {"width": 0}, "at least 1"),
        ("resnet", {"classes": 0}, "must be at least 1"),
        ("densenet", {"compression": 0.001}, "leaves no channel"),
        ("resnet", {"depth": 12, "pool": True}, "take 11 or 17"),
        ("resnet164", {"pool": True}, "leave bottleneck and projection out"),
        ("resnet", {"depth": 11, "pool": True, "projection": True}, "leave bottleneck and"),
        ("densenet", {"compression": 1.5}, r"\(0, 1\]"),
        ("densenet", {"dropout": 1}, r"\[0, 1\)"),
        ("densenet", {"compresion": 0.5}, "without compresion: did you mean compression"),
        ("densenet", {"block_config": [1]}, "without block_config: its options are"),
        ("densenet", {"quux": 3}, "without quux: its options are bottleneck, "),
        ("resnet20", {"growth_rate": 12}, "is a ResNet, without growth_rate: .* of a DenseNet"),
        ("densenet", {"width": 2}, "is a DenseNet, without width: .* of a ResNet"),
        ("nosuch", {}, "unknown model 'nosuch': `python"),
        ("resnet20", {"pretrained": "my.params"}, r"'my.params': .* net.load_parameters\(path\)"),
        ("cifar_resnet20_v1", {"depth": 3}, "takes no depth"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(name, options, message):
    with pytest.raises(InputError, match=message):
        get_model(name, **options)


def test_an_error_inside_a_net_is_not_taken_for_a_users_mistake(monkeypatch):
    def broken(self, *_, **__):
        raise TypeError("a fault of ours")

    monkeypatch.setattr(ResNet, "__init__", broken)
    with pytest.raises(TypeError, match="a fault of ours"):
        get_model("resnet20")


def test_widths_that_no_shortcut_can_join_are_refused():
    with pytest.raises(InputError, match="16 to 48 channels with stride 2 needs a projection"):
        ResNet([1, 1, 1], [16, 16, 48, 64])
    net = ResNet([1, 1, 1], [16, 16, 16, 48], projection=True)
    initialize(net)
    assert net(images(2)[0]).shape == (2, 10)


def test_one_model_is_printed_by_its_name(capsys):
    assert models_command(["densenet"]) == 0
    _, row = capsys.readouterr().out.splitlines()
    assert row.split() == ["densenet_bc100_k12", "769,162", "287.9", "M", "4.51", "%"]
    assert models_command(["densnet"]) == 2
