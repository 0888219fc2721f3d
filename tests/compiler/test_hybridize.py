"""A compiled net behaves as Gluon's own: statistics, devices, hooks, copies, threads, shapes."""

from __future__ import annotations

import copy
import threading

from oracle import compiler, mx  # isort: skip

import numpy as np
import pytest
from mxnet import autograd, gluon
from mxnet.gluon import nn
from one_layer import Net, gluons, images, learn, make


class Heads(nn.HybridBlock):
    """Two outputs, the second of which has a BatchNorm to itself."""

    def __init__(self):
        super().__init__()
        self.first, self.second = Net(), nn.Conv2D(12, 3, in_channels=12)
        self.norm = nn.BatchNorm(in_channels=12)

    def hybrid_forward(self, F, x):
        x = self.first(x)
        return x.mean(), self.norm(self.second(x)).mean()


def one_pass_of_two(net):
    learn(net, images())
    with autograd.record():
        net(images(seed=1))  # nothing is learnt from it


def frozen_scale_and_shift(net):
    learn(net, images())
    net.norm.collect_params(".*gamma|.*beta").setattr("grad_req", "null")
    learn(net, images(seed=1))


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
        (Net, one_pass_of_two),
        (lambda: Net(16), one_pass_of_two),
        (Net, frozen_scale_and_shift),
        (Net, one_view_of_two),
        (Heads, one_output_of_two),
    ],
)
def test_statistics_move_with_what_is_learnt_from_as_gluons_do(build, use):
    found = []
    for form in (gluons, compiler.hybridize):
        net = make(form=form, net=build())
        use(net)
        mx.nd.waitall()
        parameters = net._collect_params_with_prefix().items()
        found.append([p.data().asnumpy() for name, p in parameters if "running" in name])
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
    net, plain = make(), make(form=gluons)
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
    expected = make(form=gluons)(images(size=4)).asnumpy()
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
    plain = make(form=gluons)
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
