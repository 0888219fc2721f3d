"""Images are decoded once, and again whenever the folder or the cache is not what it was."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from image_files import make_folder, save

import datasets
from datasets import cache
from datasets.images import read_images

ROOT = Path(__file__).parents[2]


def test_images_are_decoded_once(tmp_path, monkeypatch):
    make_folder(tmp_path)
    one = datasets.get_dataset("folder", tmp_path)
    monkeypatch.setattr(cache, "read_images", None)
    other = datasets.get_dataset("folder", tmp_path)
    assert one.fingerprint == other.fingerprint
    other.train.images[:] = 0  # it may be worked on like any array


@pytest.mark.parametrize(
    "change",
    [
        lambda root: save(root / "train/cat/new.png"),
        lambda root: (root / "train/cat/000.png").unlink(),
        lambda root: os.rename(root / "train/cat/000.png", root / "train/cat/x.png"),
        lambda root: os.rename(root / "train/cat/000.png", root / "train/dog/x.png"),
        lambda root: save(root / "test/dog/000.png", np.zeros((32, 32), np.uint8)),
        lambda root: os.utime(root / "test/dog/000.png", ns=(1, 1)),
    ],
)
def test_a_change_in_the_folder_is_noticed(change, tmp_path, monkeypatch):
    make_folder(tmp_path)
    datasets.get_dataset("folder", tmp_path)
    decoded = []

    def read(paths, what):
        decoded.append(what)
        return read_images(paths, what)

    monkeypatch.setattr(cache, "read_images", read)
    change(tmp_path)
    datasets.get_dataset("folder", tmp_path)
    assert len(decoded) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content + b"x",
        lambda content: b"",
        lambda content: content[:1000] + bytes([content[1000] ^ 1]) + content[1001:],
        lambda content: b"x" + content[1:],
    ],
)
def test_a_damaged_cache_is_made_again(damage, tmp_path):
    make_folder(tmp_path)
    one = datasets.get_dataset("folder", tmp_path)
    path = tmp_path / cache.CACHE_NAME
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert datasets.get_dataset("folder", tmp_path).fingerprint == one.fingerprint
    assert path.read_bytes() == whole


@pytest.mark.parametrize("reason", [errno.EACCES, errno.EROFS])
def test_a_folder_that_may_not_be_written_to_does_without(reason, tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(reason, os.strerror(reason))

    make_folder(tmp_path)
    monkeypatch.setattr("utils.Path.open", refuse)
    assert len(datasets.get_dataset("folder", tmp_path).train) == 12
    assert "may not be written to" in caplog.text
    assert not (tmp_path / cache.CACHE_NAME).exists()


FULL_DISK = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, -1))
from datasets.__main__ import main
sys.exit(main(["--dataset", "folder", "--data-dir", sys.argv[1]]))
"""


@pytest.mark.parametrize("old", [None, b"an older cache"])
def test_a_disk_that_fills_up_leaves_no_half_a_cache(old, tmp_path):
    make_folder(tmp_path)
    path = tmp_path / cache.CACHE_NAME
    if old:
        path.write_bytes(old)
    ended = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert ended.returncode == 2
    assert ended.stderr == f"error: cannot write {path}: File too large\n"
    assert (path.read_bytes() if path.exists() else None) == old
    assert sorted(os.listdir(tmp_path)) == sorted(
        {"train", "test"} | ({path.name} if old else set())
    )


def test_a_kill_in_the_middle_of_writing_leaves_no_half_a_cache(tmp_path):
    make_folder(tmp_path)
    program = (
        "import os, signal, sys, utils\n"
        "utils.os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "import datasets; datasets.get_dataset('folder', sys.argv[1])"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT)
    assert ended.returncode == -signal.SIGKILL
    assert not (tmp_path / cache.CACHE_NAME).exists()
    assert len(datasets.get_dataset("folder", tmp_path).train) == 12
