"""A compiled net is the plain one in all that can be seen; what it cannot compile, it says."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

from oracle import check, compiler, faults, mx, observe  # isort: skip

import numpy as np
import pytest
from mxnet import autograd
from mxnet.gluon import nn
from one_layer import Net, gluons, images, make
from random_nets import KINDS, RandomNet

HERE = Path(__file__).parent
COMPILER = Path(str(compiler.__file__)).parent


def run_python(code, folder, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, **environment},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout


@pytest.mark.parametrize("seed", range(24))
def test_random_nets_are_compiled_right(seed):
    inputs = RandomNet(seed).inputs
    assert check(lambda: RandomNet(seed), compiler.hybridize, inputs=inputs) == {}


def test_random_nets_are_frozen_right():
    for seed in range(24):
        net = RandomNet(seed)
        # MXNet's own foreach infers other numbers from one pass to the next.
        if net.inputs == 1 and "foreach" not in [kind for kind, *_ in net.steps]:
            check_frozen(net)


def check_frozen(net):
    net.initialize(mx.init.Xavier())
    net.hybridize()
    x = mx.nd.random.normal(shape=(3, 3, 16, 16))
    with autograd.record():  # statistics that are not those of the start
        loss = net(x).sum()
    loss.backward()
    expected, frozen = net(x).asnumpy(), compiler.freeze(net, [mx.cpu()])
    for _ in range(2):
        np.testing.assert_allclose(
            frozen(x).asnumpy(), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max()
        )


def test_what_is_random_stays_so_in_a_frozen_net():
    def shifted(F, x):
        return F.broadcast_add(x, F.random.normal(shape=(1, 12, 1, 1)))

    frozen = compiler.freeze(make(after=shifted), [mx.cpu()])
    first, second = (frozen(images()).asnumpy() for _ in range(2))
    assert np.abs(first - second).max() > 0.1


def test_the_random_nets_of_this_suite_have_every_kind_of_layer():
    assert {kind for seed in range(24) for kind, *_ in RandomNet(seed).steps} >= set(KINDS)


@pytest.mark.parametrize("what", ["output 0", "gradient of 0.weight", "1.running_var"])
def test_a_fault_of_one_percent_shows(what):
    expected = observe(lambda: RandomNet(0), 0, "float64")
    found = {**expected, what: expected[what] * 1.01}
    assert list(faults(found, expected)) == [what]


@pytest.mark.parametrize("rule", sorted(compiler.rules.NAMES))
def test_every_rule_can_be_switched_off(rule):
    form = functools.partial(compiler.hybridize, without=(rule,))
    seed = next(s for s in range(99) if [k for k, *_ in RandomNet(s).steps].count("dense") == 1)
    # Without padding, MXNet's own concatenation ends the process for some widths.
    if rule in ("pad", "concat"):
        seed = 1
    assert check(lambda: RandomNet(seed), form, inputs=RandomNet(seed).inputs) == {}
    with pytest.raises(ValueError, match="unknown rule 'nonsense': there are "):
        compiler.hybridize(RandomNet(0), without=("nonsense",))


@pytest.mark.parametrize(
    ("name", "training"),
    [
        ("mobilenetv3_small", False),
        ("yolo3_mobilenet0.25_voc", False),
        ("simple_pose_resnet18_v1b", False),
        ("cifar_resnet20_v2", True),
    ],
)
def test_nets_of_gluoncv_compute_what_they_did(name, training):
    import zoo  # which goes through every kind of them

    assert zoo.difference(name, training) < 1e-5


def test_a_shape_that_depends_on_numbers_is_told_once_and_runs_as_gluon_has_it():
    def chosen(F, x):
        return F.contrib.boolean_mask(x, F.mean(x, axis=(1, 2, 3)) > 0)

    net, plain = make(after=chosen), make(after=chosen, form=gluons)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for size in (8, 8, 9):
            found, expected = (each(images(size=size)).asnumpy() for each in (net, plain))
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    (told,) = [str(one.message) for one in seen if one.category is RuntimeWarning]
    assert re.match(r"net\d+ runs as Gluon has it, not compiled: .*boolean_mask.*numbers", told)


def test_any_fault_of_a_rule_is_told_and_the_net_runs(monkeypatch):
    def broken(*_):
        raise KeyError("nothing of the kind")

    monkeypatch.setitem(compiler.rules.RULES, "relu", ("relu", broken))
    net = make()
    with pytest.warns(RuntimeWarning, match=r"relu .*relu0: 'nothing of the kind'"):
        found = net(images())
    plain = make(form=gluons)
    np.testing.assert_allclose(found.asnumpy(), plain(images()).asnumpy(), rtol=1e-4, atol=1e-5)


def test_what_is_not_float32_runs_as_it_is():
    seed = 0
    plain, compiled = (
        observe(lambda: RandomNet(seed), 0, "float64", form) for form in (None, compiler.hybridize)
    )
    assert faults(compiled, plain, 1e-9) == {}


@pytest.mark.parametrize(
    ("setting", "block"),
    [({"MXNET_MKLDNN_ENABLED": "0"}, compiler.channels.BLOCK), ({"DNNL_MAX_CPU_ISA": "AVX2"}, 8)],
)
def test_without_onednn_and_with_the_instructions_of_a_laptop_nets_are_right(setting, block):
    code = f"""
import random_nets as r
assert r.compiler.channels.BLOCK == {block}
for seed in (0, 4, 5):
    assert r.check(lambda: r.RandomNet(seed), r.compiler.hybridize) == {{}}
"""
    run_python(code, HERE, **setting)


@pytest.mark.parametrize(
    ("flags", "limit", "bfloat16", "block"),
    [
        ("fma avx2 avx512f avx512_bf16", None, True, 16),
        ("fma avx2 avx512f avx512_vnni", None, False, 16),
        ("fma avx2 avx512f avx512_bf16", "AVX2", False, 8),
        ("fma avx2 avx512f", "avx512_core", False, 16),
        ("fma avx2", None, False, 8),
    ],
)
def test_a_processor_says_what_it_has(tmp_path, monkeypatch, flags, limit, bfloat16, block):
    processor = compiler.processor
    monkeypatch.setattr(processor, "ROOT", str(tmp_path))
    monkeypatch.delenv("DNNL_MAX_CPU_ISA", raising=False)
    assert (processor.has_bfloat16(), processor.block()) == (False, 8)  # another system than Linux
    if limit:
        monkeypatch.setenv("DNNL_MAX_CPU_ISA", limit)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(f"model name\t: A CPU\nflags\t\t: {flags}\n")
    assert (processor.has_bfloat16(), processor.block()) == (bfloat16, block)


def test_explain_says_what_was_done_and_what_was_not():
    class Grouped(Net):
        def __init__(self):
            super().__init__(24)
            self.grouped = nn.Conv2D(24, 3, groups=2, in_channels=24)

        def hybrid_forward(self, F, x):
            x = F.Pooling(super().hybrid_forward(F, x), kernel=(2, 2), pool_type="max")
            return F.sigmoid(self.grouped(x))

    report = compiler.explain(Grouped(), (4, 3, 8, 8))
    block = compiler.channels.BLOCK
    wide = -(-24 // block) * block
    assert (report.taken["pad"], report.left["pad"]) == (1, {"in groups": 1})
    assert (report.taken["elementwise"], report.taken["average"]) == (1, 0)  # pooling, of a part
    assert report.channels == (3 * 24, 3 * wide)
    assert "pad              1  1× in groups" in str(report)
    assert "%net" in str(report.graph) or "%grouped" in str(report.graph)


@pytest.mark.skipif(
    np.lib.NumpyVersion(np.__version__) >= "1.24.0", reason="plain MXNet needs an older NumPy"
)
def test_another_project_takes_the_folder_below_a_package(tmp_path):
    shutil.copytree(COMPILER, tmp_path / "vendor" / "compiler")
    (tmp_path / "vendor" / "__init__.py").write_text("")
    for name in ("oracle.py", "random_nets.py"):
        shutil.copy(HERE / name, tmp_path)
    code = """
import importlib, sys, mxnet, random_nets as r
assert not {"runtime", "models", "errors"} & set(sys.modules), "the project's own modules"
assert r.compiler.__name__ == "vendor.compiler"
for seed in (0, 4, 5):
    assert r.check(lambda: r.RandomNet(seed), r.compiler.hybridize) == {}
mxnet.__version__ = "2.0.0"
try:
    importlib.reload(r.compiler)
except ImportError as error:
    print(error)
"""
    said = run_python(code, tmp_path, COMPILER="vendor.compiler", PYTHONPATH="")
    assert said == "the compiler is made for MXNet 1.9.1, and this is 2.0.0\n"
