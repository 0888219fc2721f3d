"""Normalising, devices and whole files."""

from __future__ import annotations

import os
import re
import stat
from concurrent.futures import ThreadPoolExecutor

from runtime import mx

import numpy as np
import pytest
from matplotlib.figure import Figure

import utils
from errors import InputError
from figures.style import save
from gpus import Gpu

H100 = ("NVIDIA H100 80GB HBM3", 9, 0)
RTX_3090 = ("NVIDIA GeForce RTX 3090", 8, 6)


def test_normalised_pixels_are_what_numpy_says():
    images = np.random.RandomState(0).randint(0, 256, (4, 3, 32, 32)).astype(np.uint8)
    mean, std = np.array([125.3, 123.0, 113.9]), np.array([63.0, 62.1, 66.7])
    normaliser = utils.Normaliser(mean, std)
    found = normaliser.arrays(images)
    expected = (images - mean[:, None, None]) / std[:, None, None]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("mean", "std"), [((1, 2), (1, 2)), ((0,) * 3, (1, 0, 1)), ("abc", "def")])
def test_odd_statistics_are_refused(mean, std):
    with pytest.raises(ValueError, match=r".+"):
        utils.Normaliser.from_dict({"mean": mean, "std": std})


def test_arrays_reach_a_device_unchanged_in_any_memory_order():
    rows = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for array in (rows, rows.T, rows[::2]):
        moved = utils.to_device(array, mx.cpu(1))
        assert (moved.context, moved.dtype) == (mx.cpu(1), np.uint8)
        np.testing.assert_array_equal(moved.asnumpy(), array)


NO_CODE = r"^GPU 0 is NVIDIA H100 80GB HBM3 \(compute capability 9.0\).*: use "
MIXED = {"devices": (H100, RTX_3090, RTX_3090)}
CPU_BUILD = {"wheel": False, "seen": 0}
DEVICES = [
    ({}, "cpu", (0, 2), [mx.cpu(0), mx.cpu(2)]),
    ({}, "auto", (), [mx.cpu()]),
    ({}, "gpu", (0, 3), "GPU 0 is not there: MXNet sees 0; use --ctx cpu"),
    ({"devices": (H100,)}, "auto", (0,), f"{NO_CODE}--ctx cpu$"),
    ({"devices": (H100,)}, "gpu", (), f"{NO_CODE}--ctx cpu$"),
    (MIXED, "auto", (), [mx.gpu(1)]),
    (MIXED, "auto", (2, 1), [mx.gpu(2), mx.gpu(1)]),
    (MIXED, "gpu", (1, 0), f"{NO_CODE}--gpus 1$"),
    (MIXED, "gpu", (1, 3), "GPU 3 is not there: MXNet sees 3"),
    # A build of another kind may hold other code; that for the CPU sees none.
    ({"devices": (H100,), "wheel": False}, "auto", (), [mx.gpu(0)]),
    ({"devices": (RTX_3090,), **CPU_BUILD}, "auto", (), [mx.cpu()]),
    ({"devices": (RTX_3090,), **CPU_BUILD}, "gpu", (), r"install requirements/gpu\.txt"),
    ({"devices": (H100,), **CPU_BUILD}, "gpu", (), NO_CODE),
]


@pytest.fixture
def machine(monkeypatch):
    """What puts GPUs into this machine, and a build of MXNet that sees them."""

    def build(devices=(), wheel=True, seen=None):
        found = [Gpu(number, *device) for number, device in enumerate(devices)]
        monkeypatch.setattr(utils, "find_gpus", lambda: found)
        monkeypatch.setattr(utils, "is_wheel", lambda: wheel)
        number = len(devices) if seen is None else seen
        monkeypatch.setattr(mx.context, "num_gpus", lambda: number)

    return build


@pytest.mark.parametrize(("built", "ctx", "numbers", "expected"), DEVICES)
def test_gpus_that_work_are_used_and_others_refused_by_name(machine, built, ctx, numbers, expected):
    machine(**built)
    if isinstance(expected, list):
        assert utils.contexts(ctx, numbers) == expected
    else:
        with pytest.raises(InputError, match=expected):
            utils.contexts(ctx, numbers)


def test_auto_takes_the_cpu_and_says_why_in_one_line(machine, caplog):
    machine((H100,))
    assert utils.contexts("auto") == [mx.cpu()]
    (line,) = caplog.messages
    assert re.fullmatch("computing on the CPU: GPU 0 is NVIDIA H100.*", line)


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "file.png"
    utils.write_atomically(path, b"old")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(utils.os, "fsync", full)
    with pytest.raises(InputError, match="No space left"):
        utils.write_atomically(path, b"new")
    assert os.listdir(tmp_path) == ["file.png"]
    assert path.read_bytes() == b"old"


def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    link.symlink_to(target)
    for content in (b"one", b"other"):  # first it leads nowhere
        utils.write_atomically(link, content)
        assert link.is_symlink()
        assert target.read_bytes() == content


@pytest.mark.parametrize("write", [utils.write_atomically, lambda path, _: save(Figure(), path)])
def test_a_pipe_is_written_to_and_not_replaced(write, tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(path.read_bytes)
        write(path, b"content")
        assert stat.S_ISFIFO(path.stat().st_mode)
        assert read.result(timeout=60).startswith((b"content", b"\x89PNG"))


def test_a_new_file_has_the_rights_that_its_user_gives(tmp_path):
    before = os.umask(0o027)
    try:
        utils.write_atomically(tmp_path / "a.png", b"content")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == 0o640
