"""Files of Gluon's first releases, written by a net of that time's form."""

from __future__ import annotations

import random

from runtime import mx

import numpy as np
import pytest
from mxnet.gluon import nn

import models
from errors import InputError
from inference import old_checkpoints
from inference.old_checkpoints import load_old_parameters
from weights.params_file import read_params


class Bottleneck(nn.HybridBlock):
    """As DenseNets in Gluon were written in 2017: layers in the scope of the block."""

    def __init__(self, growth_rate):
        super().__init__()
        with self.name_scope():
            self.norm1 = nn.BatchNorm()
            self.conv1 = nn.Conv2D(4 * growth_rate, kernel_size=1, use_bias=False)
            self.norm2 = nn.BatchNorm()
            self.conv2 = nn.Conv2D(growth_rate, kernel_size=3, padding=1, use_bias=False)

    def hybrid_forward(self, F, x):
        new = self.conv1(F.relu(self.norm1(x)))
        return F.concat(x, self.conv2(F.relu(self.norm2(new))), dim=1)


class Transition(nn.HybridBlock):
    """BN, ReLU, 1×1 conv, average pool."""

    def __init__(self, channels):
        super().__init__()
        with self.name_scope():
            self.norm = nn.BatchNorm()
            self.conv = nn.Conv2D(channels, kernel_size=1, use_bias=False)

    def hybrid_forward(self, F, x):
        x = self.conv(F.relu(self.norm(x)))
        return F.Pooling(x, kernel=(2, 2), stride=(2, 2), pool_type="avg")


class DenseNet(nn.HybridBlock):
    """The net around them; all units are made in its own scope, so they are counted through."""

    def __init__(self, growth_rate, layers):
        super().__init__()
        channels = 2 * growth_rate
        with self.name_scope():
            self.stem = nn.Conv2D(channels, kernel_size=3, padding=1, use_bias=False)
            self.units = nn.HybridSequential()
            for block in range(3):
                for _ in range(layers):
                    self.units.add(Bottleneck(growth_rate))
                channels += layers * growth_rate
                if block < 2:
                    channels //= 2
                    self.units.add(Transition(channels))
            self.norm = nn.BatchNorm()
            self.output = nn.Dense(10)

    def hybrid_forward(self, F, x):
        x = F.relu(self.norm(self.units(self.stem(x))))
        return self.output(F.Pooling(x, kernel=(8, 8), global_pool=True, pool_type="avg"))


def write_old(path, layers=16, strip=True, shuffle=False):
    """Write what `save_params` of MXNet 0.12 wrote; return the net."""
    net = DenseNet(12, layers)
    net.initialize(mx.init.Xavier())
    net(mx.nd.zeros((1, 3, 32, 32)))
    parameters = net.collect_params()
    for parameter in parameters.values():
        if not parameter.name.endswith("weight"):
            value = mx.nd.random.uniform(0.5, 1.5, shape=parameter.shape)
            parameter.set_data(value)
    start = len(net.prefix) if strip else 0
    arrays = {name[start:]: parameter.data() for name, parameter in parameters.items()}
    names = list(arrays)
    if shuffle:
        random.Random(0).shuffle(names)
    mx.nd.waitall()
    mx.nd.save(str(path), {name: arrays[name] for name in names})
    return net


def test_file_has_the_names_of_that_time(tmp_path):
    write_old(tmp_path / "old.params")
    names = read_params((tmp_path / "old.params").read_bytes(), "old")
    for name in ("conv0_weight", "bottleneck0_batchnorm0_gamma", "bottleneck47_conv1_weight"):
        assert name in names


def test_densenet_bc100_k12_loads_whole(tmp_path):
    write_old(tmp_path / "old.params")
    net = models.get_model("densenet_bc100_k12")
    load_old_parameters(net, tmp_path / "old.params")
    old = read_params((tmp_path / "old.params").read_bytes(), "old")
    values = [parameter.data().asnumpy() for parameter in net.collect_params().values()]
    assert len(values) == len(old)
    np.testing.assert_array_equal(values[0], old["conv0_weight"])
    np.testing.assert_array_equal(values[-1], old["dense0_bias"])


@pytest.mark.parametrize("strip", [True, False])
@pytest.mark.parametrize("shuffle", [True, False])
def test_loaded_net_is_the_old_one(tmp_path, strip, shuffle):
    # A dictionary of Python 2 or 3.5 had no order, so the file's says nothing.
    old = write_old(tmp_path / "old.params", 2, strip, shuffle)
    net = models.get_model("densenet_bc100_k12", depth=16)
    load_old_parameters(net, tmp_path / "old.params")
    images = mx.nd.random.normal(shape=(4, 3, 32, 32))
    expected = old(images).asnumpy()
    assert np.abs(net(images).asnumpy() - expected).max() <= 1e-5 * np.abs(expected).max()


def test_file_of_another_net_is_refused_and_the_net_stays(tmp_path):
    path = tmp_path / "old.params"
    write_old(path, 2)
    for name, options, words in (
        ("densenet_bc100_k12", {"depth": 22}, "is of another net: its layer"),
        ("densenet_bc40_k16", {"depth": 16}, "is of another net: its layer 1, conv0"),
        ("resnet20", {"depth": 8}, "is of another net"),
    ):
        net = models.get_model(name, **options)
        models.initialize(net, mx.cpu())
        before = [parameter.data().asnumpy() for parameter in net.collect_params().values()]
        with pytest.raises(InputError, match=words):
            load_old_parameters(net, path)
        for parameter, value in zip(net.collect_params().values(), before):
            np.testing.assert_array_equal(parameter.data().asnumpy(), value)


@pytest.mark.parametrize("count", [3, 19])
def test_file_with_too_few_or_too_many_layers_is_refused(tmp_path, count):
    write_old(tmp_path / "old.params", 2)
    arrays = mx.nd.load(str(tmp_path / "old.params"))
    names = list(arrays)[:count] if count == 3 else [*arrays, "dense1_weight"]
    arrays["dense1_weight"] = mx.nd.zeros((10, 10))
    mx.nd.save(str(tmp_path / "old.params"), {name: arrays[name] for name in names})
    net = models.get_model("densenet_bc100_k12", depth=16)
    with pytest.raises(InputError, match=r"of another net|layers"):
        load_old_parameters(net, tmp_path / "old.params")


def test_file_of_other_names_is_refused(tmp_path):
    net = models.get_model("densenet_bc100_k12", depth=10)
    mx.nd.save(str(tmp_path / "new.params"), {"features.0": mx.nd.zeros((1,))})
    with pytest.raises(InputError, match="no prefix-style names"):
        load_old_parameters(net, tmp_path / "new.params")
    (tmp_path / "new.params").write_bytes(b"no such file")
    with pytest.raises(InputError, match="not a whole parameter file"):
        load_old_parameters(net, tmp_path / "new.params")
    with pytest.raises(InputError, match=r"absent\.params cannot be read"):
        load_old_parameters(net, tmp_path / "absent.params")
    with pytest.raises(InputError, match="is not a regular file"):
        load_old_parameters(net, "/dev/zero")


def test_rewritten_file_loads_under_todays_names(tmp_path, capsys):
    write_old(tmp_path / "old.params")
    new = tmp_path / "new.params"
    assert old_checkpoints.main([str(tmp_path / "old.params"), str(new)]) == 0
    net = models.get_model("densenet_bc100_k12")
    net.load_parameters(str(new))
    old = read_params((tmp_path / "old.params").read_bytes(), "old")
    np.testing.assert_array_equal(net.output.weight.data().asnumpy(), old["dense0_weight"])
