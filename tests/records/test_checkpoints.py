"""Checkpoints: whole or not there, complete, and never stale."""

from __future__ import annotations

import json
import resource

from runtime import mx

import numpy as np
import pytest
from mxnet import autograd
from mxnet.gluon import nn
from small_nets import build

from errors import InputError
from records.checkpoints import Checkpoints, Progress, newest, read_checkpoint
from utils import sha256, to_json
from weights import parameters as weights
from weights.params_file import read_params


def small_net(classes=3):
    net = nn.HybridSequential()
    net.add(nn.Conv2D(4, 3, in_channels=3), nn.BatchNorm(in_channels=4), nn.GlobalAvgPool2D())
    net.add(nn.Dense(classes, in_units=4))
    net.initialize()
    return net


def arrays(net):
    return {name: p.list_data()[0] for name, p in weights.named_parameters(net).items()}


def test_saved_running_statistics_are_those_after_the_last_step():
    net = build("resnet20")
    for _ in range(2):
        with autograd.record():
            loss = net(mx.nd.random.normal(shape=(16, 3, 32, 32))).square().sum()
        loss.backward()
    saved = weights.get_parameters(net)  # while the backward pass may still write them
    mx.nd.waitall()
    for name, array in arrays(net).items():
        np.testing.assert_array_equal(saved[name], array.asnumpy(), err_msg=name)


def test_what_was_saved_is_loaded_by_gluon_and_by_a_net_without_weights(tmp_path):
    net, path = small_net(), tmp_path / "net.params"
    weights.save_arrays(path, arrays(net))
    loaded, bare = small_net(), nn.HybridSequential()
    loaded.load_parameters(str(path))
    bare.add(nn.Conv2D(4, 3), nn.BatchNorm(), nn.GlobalAvgPool2D(), nn.Dense(3))
    weights.set_parameters(bare, read_params(path.read_bytes(), path), path, mx.cpu(1))
    assert bare[0].weight.list_ctx() == [mx.cpu(1)]
    for other in (loaded, bare):
        np.testing.assert_equal(weights.get_parameters(other), weights.get_parameters(net))


def test_every_entry_that_does_not_fit_is_named():
    found = weights.get_parameters(small_net())
    del found["0.weight"]
    found.update({"9.weight": np.zeros(3, "f"), "3.weight": np.zeros((5, 4), "f")})
    with pytest.raises(InputError) as refusal:
        weights.set_parameters(small_net(), found, "some file")
    for told in ("missing 0.weight", "extra 9.weight", "3.weight is (5, 4) instead of (3, 4)"):
        assert told in str(refusal.value)


def save_three(folder):
    net = arrays(small_net())
    writer = Checkpoints(folder)
    for step in (1, 2, 3):
        writer.save(net, {"momentum": net["0.weight"]}, Progress(0, step), net)
    return sorted(path.name for path in folder.iterdir())


def test_the_one_before_is_kept_and_no_more(tmp_path):
    assert save_three(tmp_path) == ["epoch-00000-step-000002", "epoch-00000-step-000003"]


@pytest.mark.parametrize("file", ["manifest.json", "net.params", "best.params", "state.params"])
@pytest.mark.parametrize("fault", ["missing", "truncated", "flipped"])
def test_a_damaged_one_is_named_and_the_one_before_used(tmp_path, file, fault, caplog):
    path = tmp_path / save_three(tmp_path)[-1] / file
    data = bytearray(path.read_bytes())
    if fault == "missing":
        path.unlink()
    elif fault == "truncated":
        path.write_bytes(data[: len(data) // 2])
    else:
        data[len(data) // 2] ^= 4
        path.write_bytes(data)
    assert newest(tmp_path).progress.step == 2
    (told,) = caplog.messages
    assert "epoch-00000-step-000003" in told
    assert file in told


def test_where_none_is_whole_nothing_is_guessed(tmp_path):
    for name in save_three(tmp_path):
        (tmp_path / name / "net.params").unlink()
    with pytest.raises(InputError, match=r"no checkpoint in .* is whole"):
        newest(tmp_path)
    assert newest(tmp_path / "elsewhere") is None


@pytest.mark.parametrize("text", ["[]", "{}", "1", '{"sha256": "x"}', "[" * 100_000, "\xff", ""])
def test_a_manifest_of_another_form_is_refused(tmp_path, text):
    path = tmp_path / save_three(tmp_path)[-1]
    (path / "manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=r"manifest\.json"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("epoch", "x", "epoch is 'x'"),
        ("epoch", -1, "epoch is -1"),
        ("of_a_later_version", 1, "unexpected keyword"),
        ("history", [3], "has no attribute"),
        ("history", [{"epoch": 1}], "an epoch of its history is {'epoch': 1}"),
        ("history", [{"epoch": 1, "epoch_seconds": None}], "an epoch of its history is"),
        ("history", [{"epoch": 1, "epoch_seconds": 2.5, "lr": "x"}], "an epoch of its history is"),
    ],
    ids=range(7),
)
def test_what_no_run_writes_is_refused_whatever_the_checksum_says(tmp_path, name, value, told):
    path = tmp_path / save_three(tmp_path)[-1]
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["progress"][name] = value
    del manifest["sha256"]
    manifest["sha256"] = sha256(to_json(manifest))
    (path / "manifest.json").write_bytes(to_json(manifest))
    with pytest.raises(InputError, match=rf"manifest\.json is damaged: .*{told}"):
        read_checkpoint(path)


def test_a_full_disk_leaves_the_one_before(tmp_path, caplog):
    net = small_net()
    writer = Checkpoints(tmp_path)
    writer.save(arrays(net), {}, Progress(0, 1), arrays(net))
    size = (writer.newest / "net.params").stat().st_size
    for room in (0, 100, size - 1):
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
        try:
            with pytest.raises(InputError, match=r"cannot write|not written|not a whole"):
                writer.save(arrays(net), {}, Progress(0, 2))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert newest(tmp_path).progress.step == 1
    assert caplog.messages == []


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    net = small_net()
    net[0].weight.set_data(net[0].weight.data() * float("inf"))
    with pytest.raises(FloatingPointError, match=r"0\.weight is not finite"):
        Checkpoints(tmp_path).save(arrays(net), {}, Progress(0, 1))
    assert newest(tmp_path) is None


def test_the_best_net_outlives_later_checkpoints(tmp_path):
    net = small_net()
    writer = Checkpoints(tmp_path)
    writer.save(arrays(net), {}, Progress(1, 0), arrays(net))
    best = weights.get_parameters(net)["3.weight"]
    for epoch in (2, 3, 4):
        net[3].weight.set_data(net[3].weight.data() + 1)
        writer.save(arrays(net), {}, Progress(epoch, 0))
    last = read_checkpoint(writer.newest)
    np.testing.assert_array_equal(last.arrays("best.params")["3.weight"], best)
    assert not np.array_equal(last.arrays("net.params")["3.weight"], best)
