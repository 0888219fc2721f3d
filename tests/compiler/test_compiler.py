"""Whatever net is compiled, all that can be seen of it is what the plain one gives in float64."""

from __future__ import annotations

import functools
import os
import shutil
from pathlib import Path

from runtime import mx

import numpy as np
import pytest
import zoo
from mxnet import autograd
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


FEW = ["mobilenetv3_small", "yolo3_mobilenet0.25_voc", "simple_pose_resnet18_v1b"]


# ZOO=1 in the environment asks for all.
@pytest.mark.parametrize("name", zoo.NETS if "ZOO" in os.environ else FEW)
def test_nets_of_gluoncv_compute_what_they_did(name):
    assert zoo.difference(name) < 1e-5


def test_what_is_not_float32_runs_as_it_is():
    plain, compiled = (
        observe(lambda: RandomNet(0), 0, "float64", form) for form in (None, compiler.hybridize)
    )
    assert faults(compiled, plain, 1e-9) == {}


@pytest.mark.parametrize(
    ("setting", "block"),
    [({"MXNET_MKLDNN_ENABLED": "0"}, compiler.channels.BLOCK), ({"DNNL_MAX_CPU_ISA": "AVX2"}, 8)],
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
        ("fma avx2 avx512f", "avx512_core", False, 16),
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
