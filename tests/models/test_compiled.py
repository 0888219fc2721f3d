"""The papers' nets, and others', compiled: outputs, gradients and statistics, float64 the truth."""

from __future__ import annotations

import json
import sys

from runtime import mx

import numpy as np
import pytest
from oracle import check, faults, observe
from small_nets import SMALL, backward, build, images, relative, statistics

import compiler
from models import get_model
from models.densenet import DenseNet
from models.layers import concat
from models.resnet import ResNet

sys.path.insert(0, "benchmarks")
import textbook_nets

# Of each family the smallest, and widths that fused wrongly or crashed before there was a compiler.
NETS = {
    "densenet-k12": lambda: DenseNet((2, 2), 12, classes=7),
    "densenet-k16": lambda: DenseNet((2, 2), 16, classes=7),
    "densenet-plain": lambda: DenseNet((3, 2), 12, bottleneck=False, compression=1, classes=7),
    "se-densenet": lambda: DenseNet((2, 2), 12, squeeze_excitation=True, classes=7),
    "resnet": lambda: ResNet((1, 1), (16, 16, 32), classes=7),
    "resnet-20-48": lambda: ResNet((2, 2), (20, 20, 48), projection=True, classes=7),
    "resnet-24-32": lambda: ResNet((2, 2), (24, 24, 32), projection=True, classes=7),
    "bottleneck": lambda: ResNet((1, 1), (16, 64, 128), bottleneck=True, classes=7),
    "se-resnet": lambda: ResNet((1, 1), (16, 16, 32), squeeze_excitation=True, classes=7),
    "pooled": lambda: ResNet((1, 1), (16, 32, 64), pool=True, classes=7),
    "gluoncv-v1": lambda: get_model("cifar_resnet20_v1", classes=7),
    "gluoncv-v2": lambda: get_model("cifar_resnet20_v2", classes=7),
}


@pytest.mark.parametrize("name", NETS)
def test_nets_of_every_family_are_compiled_right(name):
    assert check(NETS[name], compiler.hybridize) == {}


def test_a_tutorials_densenet_trains_that_plain_mxnet_cannot(monkeypatch):
    def make():
        return textbook_nets.densenet(10, 12, bottleneck=True, compression=0.5, classes=7)

    compiled = observe(make, 0, form=compiler.hybridize)
    monkeypatch.setattr(
        *(textbook_nets.DenseLayer, "hybrid_forward"),
        lambda layer, F, x: concat(F, x, layer.body(x)),
    )
    assert faults(compiled, observe(make, 0, "float64")) == {}


def test_the_exported_graph_is_the_plain_one(tmp_path):
    net = build("densenet_bc40_k16", depth=16, growth_rate=12)
    x, _ = images(3)
    expected = net(x).asnumpy()
    net.export(str(tmp_path / "net"))
    text = (tmp_path / "net-symbol.json").read_text()
    operators = {node["op"] for node in json.loads(text)["nodes"]}
    assert operators == {
        *("null", "Convolution", "BatchNorm", "Activation", "Concat", "Pooling", "FullyConnected")
    }
    again = mx.gluon.SymbolBlock.imports(
        str(tmp_path / "net-symbol.json"), ["data"], str(tmp_path / "net-0000.params")
    )
    np.testing.assert_allclose(again(x).asnumpy(), expected, rtol=1e-3, atol=1e-5)


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
