"""A compiled net is the plain one: outputs, each gradient and each statistic, float64 the truth."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from runtime import has_bfloat16, mx

import numpy as np
import pytest
from mxnet import autograd, gluon
from random_nets import RandomNet, check, faults, observe
from small_nets import SMALL, backward, build, images, relative, statistics

import compiler
import compiler.compiled
from models import get_model
from models.densenet import DenseNet
from models.layers import concat
from models.resnet import ResNet

sys.path.insert(0, "benchmarks")
import textbook_nets


@pytest.mark.parametrize("seed", range(20))
def test_random_nets_are_compiled_right(seed):
    inputs = RandomNet(seed).inputs
    assert check(lambda: RandomNet(seed), compiler.hybridize, inputs=inputs) == {}


@pytest.mark.parametrize("what", ["output 0", "gradient of 0.weight", "1.running_var"])
def test_a_fault_of_one_percent_shows(what):
    expected = observe(lambda: RandomNet(0), 0, "float64")
    found = {**expected, what: expected[what] * 1.01}
    assert list(faults(found, expected)) == [what]


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


def test_what_is_not_float32_runs_as_it_is():
    make = NETS["densenet-k12"]
    plain, compiled = (observe(make, 0, "float64", form) for form in (None, compiler.hybridize))
    assert faults(compiled, plain, 1e-9) == {}


def test_every_device_has_its_own_statistics():
    net = NETS["densenet-k12"]()
    ctx = [mx.cpu(0), mx.cpu(1)]
    net.initialize(ctx=ctx)
    compiler.hybridize(net)
    with autograd.record():
        outputs = [
            net(mx.nd.random.normal(i, shape=(4, 3, 8, 8), ctx=c)) for i, c in enumerate(ctx)
        ]
    autograd.backward(outputs)
    first, second = (a.asnumpy() for a in net.features[2].norm.running_mean.list_data())
    assert np.abs(first - second).max() > 1e-3


def test_a_batch_of_one_is_not_taken_for_what_is_broadcast():
    class Scaled(gluon.HybridBlock):
        def hybrid_forward(self, F, x, scale):
            return F.broadcast_mul(x, scale)

    net = Scaled()
    compiler.hybridize(net)
    for batch in (1, 3):
        x = mx.nd.random.normal(shape=(batch, 4, 5, 5))
        scale = mx.nd.arange(4).reshape((1, 4, 1, 1))
        np.testing.assert_array_equal(net(x, scale).asnumpy(), (x * scale).asnumpy())


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
    again = gluon.SymbolBlock.imports(
        str(tmp_path / "net-symbol.json"), ["data"], str(tmp_path / "net-0000.params")
    )
    np.testing.assert_allclose(again(x).asnumpy(), expected, rtol=1e-3, atol=1e-5)


def test_hybridizing_by_gluon_or_not_at_all_takes_the_compiler_away():
    net, x = build("resnet20", depth=8), images(2)[0]
    expected = net(x).asnumpy()
    assert isinstance(net._cached_op, compiler.Compiled)
    net.hybridize(False)
    np.testing.assert_allclose(net(x).asnumpy(), expected, rtol=1e-3, atol=1e-5)
    assert net._cached_op is None


def test_without_onednn_the_plain_graph_runs():
    code = """
import sys; sys.path[:0] = [".", "tests"]
import random_nets as r, compiler
from models.densenet import DenseNet
make = lambda: DenseNet((2, 2), 12, classes=7)
assert r.faults(r.observe(make, 0, form=compiler.hybridize), r.observe(make, 0, "float64")) == {}
"""
    environment = {**os.environ, "MXNET_MKLDNN_ENABLED": "0"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


@pytest.mark.skipif(not has_bfloat16(), reason="needs a processor with AVX512-BF16")
@pytest.mark.parametrize(("name", "options"), [s for s in SMALL if "dropout" not in s[1]])
def test_in_bfloat16_a_net_computes_nearly_the_same(name, options, monkeypatch):
    exact, fused, plain = (build(name, hybrid=False, **options) for _ in range(3))
    compiler.hybridize(exact)
    expected = backward(exact, 16)
    found = []
    for net in (fused, plain):
        compiler.hybridize(net, bfloat16=True)
        found.append(backward(net, 16))
        np.testing.assert_allclose(found[-1][0], expected[0], atol=0.03)
        assert relative(statistics(net), statistics(exact)) < 1e-3
        monkeypatch.setattr(compiler.compiled, "fuse", lambda symbol: symbol)
    # Eight bits of mantissa, at every layer: gradients of fused operators may be off as far as
    # those of plain ones, not further.
    errors = [relative(gradients, expected[1]) for _, gradients in found]
    assert errors[1] < 0.4
    assert errors[0] < 1.2 * errors[1]
