"""Whatever net is compiled, all that can be seen of it is what the plain one gives in float64."""

from __future__ import annotations

import functools
import os
import shutil
from pathlib import Path

from runtime import gluoncv, mx

import numpy as np
import pytest
from mxnet import autograd
from mxnet.gluon import nn
from mxnet.gluon.block import _flatten
from oracle import check, faults, observe
from random_nets import KINDS, RandomNet
from test_runtime import run_python

import compiler

HERE = Path(__file__).parent
COMPILER = Path(str(compiler.__file__)).parent


# SEEDS=300 in the environment asks for as many.
@pytest.mark.parametrize("seed", range(int(os.environ.get("SEEDS", "24"))))
def test_random_nets_are_compiled_right(seed):
    assert check(lambda: RandomNet(seed), compiler.hybridize) == {}


def test_the_random_nets_of_this_suite_have_every_kind_of_layer():
    assert {kind for seed in range(24) for kind in RandomNet(seed).kinds} == set(KINDS)


class Odd(nn.HybridBlock):
    """Convolutions and other operators that oneDNN does not compute, before BatchNorm and ReLU."""

    def __init__(self):
        super().__init__()
        pool = {"kernel": (3, 3), "stride": (2, 2), "pooling_convention": "full"}
        self.odd = [
            lambda F, x: F.Pooling(x, pool_type="avg", **pool),
            lambda F, x: F.Pooling(x, pool_type="sum", **pool),
            lambda F, x: F.Activation(x, act_type="softsign"),
            nn.Conv2D(16, 3, padding=4, dilation=4),
            nn.Conv2D(16, 9, padding=4),
            nn.Conv2D(16, 11, strides=4, padding=2),
            nn.Conv2D(16, 1, padding=1),
            nn.Conv2D(16, (16, 5), padding=(0, 4)),
        ]
        self.ways = []
        for odd in self.odd:
            way = [nn.Conv2D(16, 3, padding=1), nn.BatchNorm(), nn.Conv2D(16, 1)]
            for block in way + [odd] * isinstance(odd, nn.Conv2D):
                self.register_child(block)
            self.ways.append(way)
        self.output = nn.Dense(7)

    def hybrid_forward(self, F, x):
        found = []
        for odd, (conv, norm, last) in zip(self.odd, self.ways):
            y = conv(x)
            y = odd(y) if isinstance(odd, nn.Conv2D) else odd(F, y)
            found.append(F.mean(last(F.relu(norm(y))) ** 2, axis=(2, 3)))
        return self.output(F.concat(*found, dim=1))


def test_what_onednn_leaves_to_mxnet_is_computed_right():
    assert check(Odd, compiler.hybridize) == {}


def test_dropout_has_one_mask_for_all_channels_where_that_is_asked_for():
    class Chain(nn.HybridBlock):
        def __init__(self):
            super().__init__()
            self.old, self.new = nn.Conv2D(64, 1), nn.Conv2D(12, 1)
            self.drop = nn.Dropout(0.5, axes=(1, 2, 3))

        def hybrid_forward(self, F, x):
            return self.drop(F.concat(self.old(x), self.new(x), dim=1))

    net = Chain()
    net.initialize()
    compiler.hybridize(net)
    with autograd.train_mode():
        kept = net(mx.nd.ones((32, 3, 4, 4))).asnumpy().reshape(32, -1) != 0
    assert set(kept.mean(axis=1)) == {0, 1}


def test_many_sums_of_a_thing_and_itself_are_compiled_at_once():
    class Sums(nn.HybridBlock):
        def hybrid_forward(self, F, x):
            for _ in range(300):
                x = x + F.relu(x)
            return x

    net = nn.HybridSequential()
    net.add(nn.Conv2D(16, 3), nn.BatchNorm(), nn.Activation("relu"), Sums(), nn.Conv2D(8, 1))
    assert compiler.explain(net, (2, 3, 8, 8)).taken["relu"] == 301


@pytest.mark.parametrize("what", ["output 0", "gradient of 0.weight", "1.running_var"])
def test_a_fault_of_one_percent_shows(what):
    expected = observe(lambda: RandomNet(0), 0, "float64")
    found = {**expected, what: expected[what] * 1.01}
    assert list(faults(found, expected)) == [what]


def test_random_nets_are_frozen_right():
    for net in map(RandomNet, range(24)):
        # MXNet's own foreach infers other numbers from one pass to the next.
        if net.inputs == 1 and "foreach" not in net.kinds:
            net.initialize(mx.init.Xavier())
            net.hybridize()
            x = mx.nd.random.normal(shape=(3, 3, 16, 16))
            with autograd.record():  # statistics that are not those of the start
                loss = net(x).sum()
            loss.backward()
            expected, frozen = net(x).asnumpy(), compiler.freeze(net, [mx.cpu()])
            atol = 1e-4 * np.abs(expected).max()
            for _ in range(2):
                np.testing.assert_allclose(frozen(x).asnumpy(), expected, rtol=1e-3, atol=atol)


@pytest.mark.parametrize("rule", sorted(compiler.rules.NAMES))
def test_every_rule_can_be_switched_off(rule, monkeypatch):
    made, rewrite = [], compiler.compiled.rewrite
    monkeypatch.setattr(
        compiler.compiled, "rewrite", lambda *given: made.append(rewrite(*given)) or made[-1]
    )
    form = functools.partial(compiler.hybridize, without=(rule,))
    seed = next(seed for seed in range(99) if RandomNet(seed).kinds.count("dense") == 1)
    # Without padding, MXNet's own concatenation ends the process for some widths.
    seed = 1 if rule in ("pad", "concat") else seed
    assert check(lambda: RandomNet(seed), form) == {}
    assert made
    assert not any(each.taken[rule] for each in made)


def test_an_unknown_rule_is_told():
    with pytest.raises(ValueError, match="unknown rule 'nonsense': there are average, "):
        compiler.hybridize(RandomNet(0), without=("nonsense",))


# By the shape of an input without its batch: one net of each kind.
ZOO = {
    (3, 32, 32): "cifar_resnet20_v1 cifar_resnet20_v2 cifar_wideresnet16_10 "
    "cifar_resnext29_16x64d cifar_residualattentionnet56",
    (3, 64, 64): "resnet18_v1 resnet18_v2 resnet18_v1b resnet50_v1c resnet50_v1d "
    "resnet50_v1s resnest14 resnext50_32x4d se_resnet18_v1 se_resnet18_v2 se_resnext50_32x4d "
    "mobilenet0.25 mobilenetv2_0.25 mobilenetv3_small shufflenet_v1 shufflenet_v2 "
    "dla34 darknet53 hrnet_w18_small_v1_c",
    (3, 224, 224): "alexnet squeezenet1.1 vgg11_bn densenet121 googlenet residualattentionnet56",
    (3, 331, 331): "inceptionv3 xception nasnet_4_1056",
    (3, 128, 128): "ssd_300_mobilenet0.25_voc yolo3_mobilenet0.25_voc center_net_resnet18_v1b_voc "
    "center_net_dla34_voc center_net_resnet18_v1b_dcnv2_voc faster_rcnn_resnet50_v1b_voc "
    "faster_rcnn_fpn_resnet50_v1b_coco doublehead_rcnn_resnet50_v1b_voc",
    (3, 480, 480): "fcn_resnet50_voc psp_resnet50_ade deeplab_resnet50_ade deeplab_resnest50_ade "
    "danet_resnet50_citys icnet_resnet50_citys hrnet_w18_small_v1_s",
    (3, 256, 192): "simple_pose_resnet18_v1b mobile_pose_mobilenet1.0 mobile_pose_resnet18_v1b "
    "alpha_pose_resnet101_v1b_coco",
    (3, 16, 112, 112): "c3d_kinetics400 r2plus1d_resnet18_kinetics400",
    (3, 32, 224, 224): "i3d_inceptionv1_kinetics400 p3d_resnet50_kinetics400",
}
NETS = {name: shape for shape, names in ZOO.items() for name in names.split()}
FEW = ["mobilenetv3_small", "yolo3_mobilenet0.25_voc", "simple_pose_resnet18_v1b"]


def outputs(form, name):
    """Return what a net with weights from a seed gives."""
    mx.random.seed(0)
    np.random.seed(0)  # noqa: NPY002  which some initializers draw from
    try:
        net = gluoncv.model_zoo.get_model(name, pretrained_base=False)  # which others fetch
    except Exception:
        net = gluoncv.model_zoo.get_model(name)
    net.initialize()
    form(net)
    x = mx.nd.random.normal(shape=(1, *NETS[name]))
    return [array.asnumpy() for array in _flatten(net(x), "output")[0]]


# ZOO=1 in the environment asks for all.
@pytest.mark.parametrize("name", NETS if "ZOO" in os.environ else FEW)
def test_nets_of_gluoncv_compute_what_they_did(name):
    for a, b in zip(outputs(lambda net: net.hybridize(), name), outputs(compiler.hybridize, name)):
        assert np.abs(a - b).max() < 1e-5 * (np.abs(a).max() or 1)


def test_what_is_not_float32_runs_as_it_is():
    plain, compiled = (
        observe(lambda: RandomNet(0), 0, "float64", form) for form in (None, compiler.hybridize)
    )
    assert faults(compiled, plain, 1e-9) == {}


@pytest.mark.parametrize(
    ("setting", "block"),
    [
        ({"MXNET_MKLDNN_ENABLED": "false"}, compiler.channels.BLOCK),
        ({"DNNL_MAX_CPU_ISA": "AVX2"}, 8),
    ],
)
def test_without_onednn_and_with_the_instructions_of_a_laptop_nets_are_right(setting, block):
    code = f"""
import oracle, compiler, random_nets
assert compiler.channels.BLOCK == {block}
for seed in (0, 4, 5):
    assert oracle.check(lambda: random_nets.RandomNet(seed), compiler.hybridize) == {{}}
"""
    run_python(code, f"{HERE}:{COMPILER.parent}", OMP_NUM_THREADS="1", **setting)


@pytest.mark.parametrize(
    ("flags", "limit", "bfloat16", "block"),
    [
        ("fma avx2 avx512f avx512_bf16", "", True, 16),
        ("fma avx2 avx512f avx512_vnni", "", False, 16),
        ("fma avx2 avx512f avx512_bf16", "AVX2", False, 8),
        ("fma avx2 avx512f avx512_bf16", "avx512_core", False, 16),
        ("fma avx2", "", False, 8),
    ],
)
def test_a_processor_says_what_it_has(tmp_path, monkeypatch, flags, limit, bfloat16, block):
    processor = compiler.processor
    monkeypatch.setattr(processor, "ROOT", str(tmp_path))
    monkeypatch.setenv("DNNL_MAX_CPU_ISA", limit or "default")
    assert (processor.has_bfloat16(), processor.block()) == (False, 8)  # another system than Linux
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(f"model name\t: A CPU\nflags\t\t: {flags}\n")
    assert (processor.has_bfloat16(), processor.block()) == (bfloat16, block)


@pytest.mark.skipif(
    np.lib.NumpyVersion(np.__version__) >= "1.24.0", reason="plain MXNet needs an older NumPy"
)
def test_another_project_takes_the_folder_below_a_package(tmp_path):
    shutil.copytree(COMPILER, tmp_path / "vendor" / "compiler")
    code = """
import importlib, sys, mxnet as mx
from vendor import compiler
assert not {"compiler", "runtime", "models", "errors"} & set(sys.modules), "of the project"
net = mx.gluon.nn.Conv2D(12, 3, in_channels=3)
net.initialize()
x = mx.nd.ones((2, 3, 8, 8))
expected = net(x)
compiler.hybridize(net)
assert abs(net(x) - expected).max().asscalar() < 1e-5
assert type(net._cached_op).__name__ == "Compiled"
mx.__version__ = "2.0.0"
try:
    importlib.reload(compiler)
except ImportError as error:
    print(error)
"""
    said = run_python(code, tmp_path).stdout
    assert said == "the compiler is made for MXNet 1.9.1, and this is 2.0.0\n"
