"""Images are decoded once, and again whenever the folder or the cache is not what it was."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest
from image_files import make_folder, save

import datasets
from datasets import cache
from datasets.images import read_images
from errors import InputError


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


@pytest.mark.parametrize("reason", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_folder_that_may_not_be_written_to_does_without(reason, tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(reason, os.strerror(reason))

    make_folder(tmp_path)
    monkeypatch.setattr("utils.Path.open", refuse)
    if reason == errno.ENOSPC:  # a run has no room for its checkpoints either
        with pytest.raises(InputError, match="No space left"):
            datasets.get_dataset("folder", tmp_path)
    else:
        assert len(datasets.get_dataset("folder", tmp_path).train) == 12
        assert "may not be written to" in caplog.text
    assert not (tmp_path / cache.CACHE_NAME).exists()
