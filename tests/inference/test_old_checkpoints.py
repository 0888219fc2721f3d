"""Files of Gluon's first releases load under today's names, and into no other net."""

from __future__ import annotations

import functools
import random

import numpy as np
import pytest

import models
from inference import old_checkpoints
from weights.parameters import get_parameters
from weights.params_file import read_params, write_params

MODEL = "densenet_bc100_k12"


def old_layers(per_block):
    """Return a bottleneck DenseNet's layers in order, as MXNet 0.12 named them."""
    layers = ["conv0"]
    for unit in range(3 * per_block):
        kinds = ("batchnorm0", "conv0", "batchnorm1", "conv1")
        layers += [f"bottleneck{unit}_{kind}" for kind in kinds]
        block, last = divmod(unit + 1, per_block)
        if not last and block < 3:
            layers += [f"transition{block - 1}_{kind}" for kind in ("batchnorm0", "conv0")]
    return [*layers, "batchnorm0", "dense0"]


@functools.lru_cache(maxsize=None)
def initial(per_block):
    net = models.get_model(MODEL, depth=6 * per_block + 4)
    models.initialize(net)
    return get_parameters(net)


def write_old(path, per_block=2, prefix="", shuffle=False):
    """Write a net as `save_params` of that time did; return its arrays by today's names."""
    arrays = dict(initial(per_block))
    for name, value in arrays.items():
        if not name.endswith("weight"):
            arrays[name] = np.random.RandomState(len(name)).rand(*value.shape).astype("f")
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name in arrays))
    old = dict(zip(layers, old_layers(per_block)))
    assert len(old) == len(old_layers(per_block))
    parts = [(name.rpartition("."), value) for name, value in arrays.items()]
    if shuffle:
        random.Random(0).shuffle(parts)
    renamed = {f"{prefix}{old[layer]}_{kind}": value for (layer, _, kind), value in parts}
    path.write_bytes(write_params(renamed))
    return arrays


def names(tmp_path, *flags):
    return [str(tmp_path / "old.params"), str(tmp_path / "new.params"), *flags]


@pytest.mark.parametrize(("prefix", "shuffle"), [("", False), ("densenet0_", True)])
def test_densenet_bc100_k12_is_rewritten_under_todays_names(tmp_path, prefix, shuffle):
    # A dictionary of Python 2 or 3.5 had no order, so the file's says nothing.
    arrays = write_old(tmp_path / "old.params", 16, prefix, shuffle)
    assert old_checkpoints.main(names(tmp_path)) == 0
    models.get_model(MODEL).load_parameters(str(tmp_path / "new.params"))
    found = read_params((tmp_path / "new.params").read_bytes(), "new")
    np.testing.assert_equal(found, arrays)


def test_a_net_that_is_no_densenet_is_taken_in_the_order_of_its_file(tmp_path):
    net = models.get_model("resnet20")
    models.initialize(net)
    arrays = {p.name: p.data().asnumpy() for p in net.collect_params().values()}
    (tmp_path / "old.params").write_bytes(write_params(arrays))
    assert old_checkpoints.main(names(tmp_path, "--model", "resnet20")) == 0
    found = read_params((tmp_path / "new.params").read_bytes(), "new")
    np.testing.assert_equal(found, get_parameters(net))


def drop(*names):
    return lambda arrays: [arrays.pop(name) for name in names]


@pytest.mark.parametrize(
    ("flags", "change", "words"),
    [
        ([], drop("dense0_weight", "dense0_bias"), "is of another"),
        ([], drop("dense0_bias"), "has weight instead of bias, w"),
        (["--model", "densenet_bc40_k16"], drop(), "is of another net: 199 layers, this has 79"),
        (["--classes", "3"], drop(), "does not fit the net: output.weight is (10,"),
        ([], lambda arrays: arrays.update(x=arrays["dense0_bias"]), "no prefix-style names"),
    ],
)
def test_a_file_of_another_net_is_refused(tmp_path, refused, flags, change, words):
    path = tmp_path / "old.params"
    write_old(path, 16)
    arrays = dict(read_params(path.read_bytes(), path))
    change(arrays)
    path.write_bytes(write_params(arrays))
    assert words in refused(old_checkpoints.main, names(tmp_path, *flags))
    assert not (tmp_path / "new.params").exists()
