"""A compiled net behaves as Gluon's own, and what cannot be compiled runs as Gluon has it."""

from __future__ import annotations

import re
import warnings
from concurrent.futures import ThreadPoolExecutor

from runtime import mx

import numpy as np
import pytest
from mxnet import autograd
from mxnet.gluon import nn

import compiler


class Net(nn.HybridBlock):
    """Images (N, 3, H, W) through convolution, BatchNorm, ReLU, and what a test adds."""

    def __init__(self, width=12, after=lambda F, x: x, before=lambda F, x: x):
        super().__init__()
        self.after, self.before = after, before
        with self.name_scope():
            self.conv = nn.Conv2D(width, 3, padding=1, in_channels=3)
            self.norm = nn.BatchNorm(in_channels=width)

    def hybrid_forward(self, F, x):
        return self.after(F, F.relu(self.norm(self.conv(self.before(F, x)))))


class Heads(nn.HybridBlock):
    """Two outputs, the second of which has a BatchNorm to itself."""

    def __init__(self):
        super().__init__()
        self.first, self.second = Net(), nn.Conv2D(12, 3, in_channels=12)
        self.norm = nn.BatchNorm(in_channels=12)

    def hybrid_forward(self, F, x):
        x = self.first(x)
        return x.mean(), self.norm(self.second(x)).mean()


class Twice(Net):
    """A BatchNorm that is called with other images first, and then with a convolution's."""

    def hybrid_forward(self, F, x):
        x = self.norm(F.tile(x, (1, 4, 1, 1)))
        return self.norm(self.conv(F.slice_axis(x, axis=1, begin=0, end=3)))


def make(net=None, form=compiler.hybridize):
    mx.random.seed(1)
    net = net or Net()
    net.initialize()
    form(net)
    return net


plainly = nn.HybridBlock.hybridize


def images(size=8, seed=0):
    return mx.nd.array(np.random.RandomState(seed).randn(4, 3, size, size))


def assert_close(found, expected):
    np.testing.assert_allclose(found.asnumpy(), expected.asnumpy(), rtol=1e-3, atol=1e-5)


def learn(net, seed=0):
    with autograd.record():
        loss = net(images(seed=seed)).sum()
    loss.backward()


def frozen_scale_and_shift(net):
    learn(net)
    net.norm.collect_params(".*gamma|.*beta").setattr("grad_req", "null")
    learn(net, seed=1)


def one_view_of_two(net):
    with autograd.record():
        loss = (net(images(seed=1)) - net(images(seed=2)).detach()).abs().sum()
    loss.backward()


def one_output_of_two(net):
    with autograd.record():
        loss, _ = net(images())
    loss.backward()


@pytest.mark.parametrize(
    ("build", "use"),
    [
        (Net, frozen_scale_and_shift),
        (Net, one_view_of_two),
        (Heads, one_output_of_two),
        (Twice, learn),
    ],
)
@pytest.mark.filterwarnings("ignore:twice.* runs as Gluon has it")
def test_statistics_move_with_what_is_learnt_from_as_gluons_do(build, use):
    found = []
    for form in (plainly, compiler.hybridize):
        net = make(build(), form)
        use(net)
        mx.nd.waitall()
        parameters = net._collect_params_with_prefix().items()
        found.append([p.data() for name, p in parameters if "running" in name])
    for plain, compiled in zip(*found):
        assert_close(compiled, plain)


@pytest.mark.parametrize("dtype", ["float16", "float64", "int32"])
def test_a_net_may_return_another_type(dtype):
    def cast(F, x):
        return F.cast(x, dtype)

    learn(make(Net(after=cast)))
    assert_close(make(Net(after=cast))(images()), make(Net(), plainly)(images()).astype(dtype))


def test_the_gradient_of_an_image_in_inference_is_that_of_gluons_layers_one_by_one():
    def concatenated(F, x):  # parts that fill no whole blocks: plain MXNet's graph dies of them
        return F.concat(x, x * 2, dim=1)

    found = []
    for form in (lambda net: None, compiler.hybridize):
        net, x = make(Net(after=concatenated), form), images()
        x.attach_grad()
        with autograd.record(train_mode=False):
            loss = net(x).square().sum()
        loss.backward(train_mode=False)
        found.append(x.grad)
    assert_close(*found)


def test_the_first_axis_may_be_anything():
    """An image (H, W, 3) of any height, as a net that takes one has it."""

    def first(F, x):
        return F.expand_dims(F.transpose(x, (2, 0, 1)), 0)

    compiled, plain = (make(Net(before=first), form) for form in (compiler.hybridize, plainly))
    for height in (4, 8, 6, 4):
        x = mx.nd.random.normal(shape=(height, 8, 3))
        assert_close(compiled(x), plain(x))


def test_gluons_own_hybridize_takes_the_compiler_away():
    net = make()
    expected = net(images())
    assert isinstance(net._cached_op, compiler.compiled.Compiled)
    for active in (True, False):
        net.hybridize(active, static_alloc=True)
        assert_close(net(images()), expected)
        assert not isinstance(net._cached_op, compiler.compiled.Compiled)


@pytest.mark.filterwarnings("ignore:register_op_hook is experimental")
def test_an_operator_hook_hears_of_every_call():
    net, heard = make(), []
    net.register_op_hook(lambda name, *_: heard.append(str(name)))
    for _ in range(3):
        net(images()).wait_to_read()
    assert len([name for name in heard if "conv" in name]) >= 3


def test_of_many_shapes_the_last_few_graphs_are_kept():
    net, kept = make(), compiler.compiled.KEPT
    for size in (*range(4, 4 + 2 * kept), 4):
        found = net(images(size))
    assert len(net._cached_op._graphs) == kept
    assert_close(found, make(form=plainly)(images(4)))


def test_a_batch_of_one_is_not_taken_for_what_is_broadcast():
    net = nn.HybridLambda("broadcast_mul")
    compiler.hybridize(net)
    scale = mx.nd.arange(4).reshape((1, 4, 1, 1))
    for batch in (1, 3):
        x = mx.nd.random.normal(shape=(batch, 4, 5, 5))
        assert_close(net(x, scale), x * scale)


def test_threads_may_begin_at_once():
    plain = make(form=plainly)
    for _ in range(3):
        net = make()
        net(images(12))  # Gluon's own cache is not to be built by several
        with ThreadPoolExecutor(4) as pool:
            found = pool.map(lambda size, net=net: net(images(size)).copy(), range(6, 10))
        for size, each in zip(range(6, 10), found):
            assert_close(each, plain(images(size)))


def broken(*_):
    raise KeyError("nothing of the kind")


@pytest.mark.parametrize(
    ("after", "rules", "told"),
    [
        (
            lambda F, x: F.contrib.boolean_mask(x, F.mean(x, axis=(1, 2, 3)) > 0),
            {},
            "mask.*numbers",
        ),
        (lambda F, x: x, {"relu": ("relu", broken)}, "relu .*relu0: 'nothing of the kind'"),
    ],
    ids=["a shape that depends on numbers", "a fault of a rule"],
)
def test_what_cannot_be_compiled_is_told_once_and_runs_as_gluon_has_it(
    after, rules, told, monkeypatch
):
    monkeypatch.setattr(compiler.rules, "RULES", {**compiler.rules.RULES, **rules})
    net, plain = make(Net(after=after)), make(Net(after=after), plainly)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        for size in (8, 8, 9):
            assert_close(net(images(size)), plain(images(size)))
    (line,) = [str(one.message) for one in seen if one.category is RuntimeWarning]
    assert re.match(rf"net\d+ runs as Gluon has it, not compiled: .*{told}", line)


def test_what_is_random_stays_so_in_a_frozen_net():
    net = Net(after=lambda F, x: F.broadcast_add(x, F.random.normal(shape=(1, 12, 1, 1))))
    frozen = compiler.freeze(make(net), [mx.cpu()])
    first, second = (frozen(images()).asnumpy() for _ in range(2))
    assert np.abs(first - second).max() > 0.1


def test_explain_says_what_was_done_and_what_was_not():
    grouped = nn.Conv2D(20, 3, groups=2, in_channels=20)  # no whole blocks, of 16 or of 8

    def after(F, x):
        return F.sin(grouped(F.Pooling(x, kernel=(2, 2), pool_type="max")))

    net = Net(20, after)
    net.register_child(grouped)
    report = compiler.explain(net, (4, 3, 8, 8))
    assert (report.taken["pad"], report.left["pad"]) == (1, {"in groups": 1})
    assert (report.taken["elementwise"], report.taken["average"]) == (1, 0)  # pooling, of a part
    assert report.left["(no rule)"] == {"sin": 1}
    assert "pad              1  1× in groups" in str(report)
    wide = -(-20 // compiler.channels.BLOCK) * compiler.channels.BLOCK
    assert f"channels of images: 60, computed as {3 * wide} (blocks of " in str(report)
    assert "changes of layout to be expected: 1" in str(report)
    assert "%net" in str(report.graph)
