"""A compiled net is the plain one in all that can be seen of it, and Gluon's in what it does."""

from __future__ import annotations

import copy
import functools
import os
import re
import shutil
import subprocess
import sys
import threading
import warnings
from pathlib import Path

from runtime import mx

import numpy as np
import pytest
from mxnet import autograd, gluon
from mxnet.gluon import nn
from random_nets import KINDS, RandomNet, check, compiler, faults, observe

HERE = Path(__file__).parent
COMPILER = Path(str(compiler.__file__)).parent


class Net(nn.HybridBlock):
    """Images (N, 3, H, W) through convolution, BatchNorm, ReLU, and what a test adds."""

    def __init__(self, width=12, after=lambda F, x: x):
        super().__init__()
        self.after = after
        with self.name_scope():
            self.conv = nn.Conv2D(width, 3, padding=1, in_channels=3)
            self.norm = nn.BatchNorm(in_channels=width)

    def hybrid_forward(self, F, x):
        return self.after(F, F.relu(self.norm(self.conv(x))))


def make(width=12, after=lambda F, x: x, form=compiler.hybridize):
    mx.random.seed(1)
    net = Net(width, after)
    net.initialize()
    form(net)
    return net


def images(batch=4, size=8, seed=0):
    return mx.nd.array(np.random.RandomState(seed).randn(batch, 3, size, size))


def learn(net, *batches):
    with autograd.record():
        losses = [net(x).sum() for x in batches]
    autograd.backward(losses)
    mx.nd.waitall()


def means(net):
    return net.norm.running_mean.data().asnumpy()


@pytest.mark.parametrize("seed", range(24))
def test_random_nets_are_compiled_right(seed):
    inputs = RandomNet(seed).inputs
    assert check(lambda: RandomNet(seed), compiler.hybridize, inputs=inputs) == {}


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


# ----------------------------------------------------------------------- what it cannot compile


def test_a_shape_that_depends_on_numbers_is_told_once_and_runs_as_gluon_has_it():
    def chosen(F, x):
        return F.contrib.boolean_mask(x, F.mean(x, axis=(1, 2, 3)) > 0)

    net, plain = make(after=chosen), make(after=chosen, form=lambda net: net.hybridize())
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
    plain = make(form=lambda net: net.hybridize())
    np.testing.assert_allclose(found.asnumpy(), plain(images()).asnumpy(), rtol=1e-4, atol=1e-5)


def test_what_is_not_float32_runs_as_it_is():
    seed = 0
    plain, compiled = (
        observe(lambda: RandomNet(seed), 0, "float64", form) for form in (None, compiler.hybridize)
    )
    assert faults(compiled, plain, 1e-9) == {}


def test_without_onednn_the_plain_graph_runs():
    code = """
import random_nets as r
make = lambda: r.RandomNet(0)
assert r.faults(r.observe(make, 0, form=r.compiler.hybridize), r.observe(make, 0, "float64")) == {}
"""
    environment = {**os.environ, "MXNET_MKLDNN_ENABLED": "0", "PYTHONPATH": str(HERE)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def test_with_the_instructions_of_a_laptop_blocks_are_of_eight():
    code = """
import random_nets as r
assert r.compiler.channels.BLOCK == 8
for seed in (0, 4, 5):
    assert r.check(lambda: r.RandomNet(seed), r.compiler.hybridize) == {}
"""
    environment = {**os.environ, "DNNL_MAX_CPU_ISA": "AVX2", "PYTHONPATH": str(HERE)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


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


# ----------------------------------------------------------------------------- running statistics


@pytest.mark.parametrize("width", [12, 16])
def test_statistics_move_in_the_backward_pass(width):
    plain = make(width, form=lambda net: net.hybridize())
    compiled = make(width)
    for net in (plain, compiled):
        learn(net, images())
        with autograd.record():
            net(images(seed=1))  # nothing is learnt from it
        mx.nd.waitall()
    np.testing.assert_allclose(means(compiled), means(plain), rtol=1e-4, atol=1e-6)


def test_they_move_too_once_scale_and_shift_are_frozen():
    found = []
    for form in (lambda net: net.hybridize(), compiler.hybridize):
        net = make(form=form)
        learn(net, images())
        net.norm.collect_params(".*gamma|.*beta").setattr("grad_req", "null")
        learn(net, images(seed=1))
        found.append(means(net))
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-6)


def test_of_two_views_the_one_that_is_learnt_from_moves_them():
    def views(net):
        with autograd.record():
            loss = (net(images(seed=1)) - net(images(seed=2)).detach()).abs().sum()
        loss.backward()
        mx.nd.waitall()
        return means(net)

    expected = views(make(form=lambda net: net.hybridize()))
    np.testing.assert_allclose(views(make()), expected, rtol=1e-4, atol=1e-6)


def test_a_layer_that_one_of_two_outputs_has_by_itself_moves_with_that_output():
    class Heads(nn.HybridBlock):
        def __init__(self):
            super().__init__()
            self.first, self.second = Net(), nn.Conv2D(12, 3, in_channels=12)
            self.norm = nn.BatchNorm(in_channels=12)

        def hybrid_forward(self, F, x):
            x = self.first(x)
            return x.mean(), self.norm(self.second(x)).mean()

    found = []
    for form in (lambda net: net.hybridize(), compiler.hybridize):
        mx.random.seed(1)
        net = Heads()
        net.initialize()
        form(net)
        with autograd.record():
            loss, _ = net(images())
        loss.backward()
        mx.nd.waitall()
        found.append((means(net.first), means(net)))
    for plain, compiled in zip(*found):
        np.testing.assert_allclose(compiled, plain, rtol=1e-4, atol=1e-6)


def test_every_device_has_its_own_statistics():
    net = Net()
    ctx = [mx.cpu(0), mx.cpu(1)]
    net.initialize(ctx=ctx)
    compiler.hybridize(net)
    with autograd.record():
        outputs = [net(images(seed=i).as_in_context(c)) for i, c in enumerate(ctx)]
    autograd.backward(outputs)
    mx.nd.waitall()
    first, second = (array.asnumpy() for array in net.norm.running_mean.list_data())
    assert np.abs(first - second).max() > 1e-3


# ------------------------------------------------------------------------------- as Gluon has it


def test_gluons_own_hybridize_takes_the_compiler_away():
    net = make()
    expected = net(images()).asnumpy()
    assert isinstance(net._cached_op, compiler.Compiled)
    for active in (True, False):
        net.hybridize(active, static_alloc=True)
        np.testing.assert_allclose(net(images()).asnumpy(), expected, rtol=1e-3, atol=1e-5)
        assert not isinstance(net._cached_op, compiler.Compiled)
    assert "_build_cache" not in vars(net)


@pytest.mark.filterwarnings("ignore:register_op_hook is experimental")
def test_an_operator_hook_hears_of_every_call():
    net, heard = make(), []
    net.register_op_hook(lambda name, *_: heard.append(name))
    for _ in range(3):
        net(images()).wait_to_read()
    operators = [str(name) for name in heard]
    assert len([name for name in operators if "conv" in name]) >= 3


def test_blocks_keep_nothing_of_the_compilers_but_a_hook():
    net, plain = make(), make(form=lambda net: net.hybridize())
    assert set(vars(net)) - set(vars(plain)) == {"_build_cache"}


def test_a_copy_is_a_net_of_its_own():
    net = make()
    again = copy.deepcopy(net)  # Gluon's cannot be copied once they have run
    expected = net(images()).asnumpy()
    net.conv.weight.set_data(net.conv.weight.data() * 2)
    np.testing.assert_allclose(again(images()).asnumpy(), expected, rtol=1e-5)


def test_of_many_shapes_the_last_few_graphs_are_kept():
    net = make()
    for size in range(4, 4 + 2 * compiler.compiled.KEPT):
        net(images(size=size))
    assert len(net._cached_op._graphs) == compiler.compiled.KEPT
    expected = make(form=lambda net: net.hybridize())(images(size=4)).asnumpy()
    np.testing.assert_allclose(net(images(size=4)).asnumpy(), expected, rtol=1e-3, atol=1e-5)


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


def test_threads_may_begin_at_once():
    plain = make(form=lambda net: net.hybridize())
    expected = [plain(images(size=size)).asnumpy() for size in range(6, 10)]
    for _ in range(3):
        net, found = make(), [None] * 4

        def call(number, net=net, found=found):
            found[number] = net(images(size=6 + number)).asnumpy()

        net(images(size=12))  # Gluon's own cache is not to be built by several
        threads = [threading.Thread(target=call, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for one, other in zip(found, expected):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


def test_explain_says_what_was_done_and_what_was_not():
    class Grouped(Net):
        def __init__(self):
            super().__init__(24)
            self.grouped = nn.Conv2D(24, 3, groups=2, in_channels=24)

        def hybrid_forward(self, F, x):
            return F.sigmoid(self.grouped(super().hybrid_forward(F, x)))

    report = compiler.explain(Grouped(), (4, 3, 8, 8))
    block = compiler.channels.BLOCK
    wide = -(-24 // block) * block
    assert (report.taken["pad"], report.left["pad"]) == (1, {"in groups": 1})
    assert report.channels == (2 * 24, 2 * wide)
    assert "pad              1  1× in groups" in str(report)
    assert "%net" in str(report.graph) or "%grouped" in str(report.graph)


@pytest.mark.skipif(
    np.lib.NumpyVersion(np.__version__) >= "1.24.0", reason="plain MXNet needs an older NumPy"
)
def test_another_project_takes_the_folder_below_a_package(tmp_path):
    shutil.copytree(COMPILER, tmp_path / "vendor" / "compiler")
    (tmp_path / "vendor" / "__init__.py").write_text("")
    shutil.copy(HERE / "random_nets.py", tmp_path)
    code = """
import sys, mxnet, random_nets as r
assert not {"runtime", "models", "errors"} & set(sys.modules), "the project's own modules"
assert r.compiler.__name__ == "vendor.compiler"
for seed in (0, 4, 5):
    assert r.check(lambda: r.RandomNet(seed), r.compiler.hybridize) == {}
mxnet.__version__ = "2.0.0"
for name in [name for name in sys.modules if name.startswith("vendor")]:
    del sys.modules[name]
try:
    import vendor.compiler
except ImportError as error:
    print(error)
"""
    inherited = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment = {**inherited, "COMPILER": "vendor.compiler"}
    (tmp_path / "try.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "try.py"],
        cwd=tmp_path,
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert done.stdout == "the compiler is made for MXNet 1.9.1, and this is 2.0.0\n"
