"""The official Python batches are read, and nothing else that a pickle can say is done."""

from __future__ import annotations

import contextlib
import os
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_cifar import TINY10, python_file, tiny_arrays, tiny_files, write_all

from datasets.cifar import load_cifar
from datasets.pickles import load_batch
from errors import InputError

IMAGES, LABELS = (part[:20] for part in tiny_arrays(TINY10))
OFFICIAL = python_file(TINY10, IMAGES, LABELS)


class _Call:
    """Pickles as a call of anything."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(_Call(os.mkdir, "pwned"), 0),
        pickle.dumps({"data": _Call(os.mkdir, "pwned")}, 2),
        pickle.dumps({"data": _Call(exec, "import os; os.mkdir('pwned')")}, 5),
        pickle.dumps({"data": np.array([_Call(os.mkdir, "pwned")], dtype=object)}, 2),
        pickle.dumps({"data": _Call(np.ndarray, (1 << 40,), "u1")}, 2),
        pickle.dumps({"data": np.zeros(3, "f8")}, 2),
        b"",
        b"h\x07.",
        b"cos\nsystem\n.",
        # What stands for an array stays as it is, whatever one file says of it.
        b"cnumpy.core.multiarray\n_reconstruct\n(N}U\x06pixelsK\x00stb.",
    ],
    ids=range(10),
)
def test_no_code_is_run_and_no_other_program_accepted(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="file is not one of CIFAR's Python") as refusal:
        load_batch("file", content)
    assert "\n" not in str(refusal.value)
    assert not os.listdir(tmp_path)
    np.testing.assert_array_equal(load_batch("file", OFFICIAL)["data"], IMAGES.reshape(20, -1))


def test_a_short_batch_takes_neither_memory_nor_time():
    assert load_batch("file", b"\x80\x02}r\xff\xff\xff\x7f.") == {}  # 32 GB of it in C's unpickler
    deep, wide = b"\x85" * 2_000_000, b"q\x01h\x01\x86" * 60  # for C's stack; of 2 ** 60 ends
    for content, told in (
        (b"})" + deep + b"K\x01s.", "key"),
        (b"})" + wide + b"K\x01s.", "key"),
        (b"cnumpy\ndtype\n()" + wide + b"tR.", "array"),
        (b"\x96" + (1 << 40).to_bytes(8, "little") + b".", "instruction"),  # a bytearray
    ):
        with pytest.raises(InputError, match=told):
            load_batch("file", b"\x80\x02" + content)


@given(st.integers(0, len(OFFICIAL) - 1), st.binary(max_size=3), st.booleans())
def test_a_damaged_batch_is_read_or_refused(position, change, cut_off):
    position %= 700 if len(change) % 2 else len(OFFICIAL)  # most instructions stand in front
    end = b"" if cut_off else OFFICIAL[position + len(change) :]
    with contextlib.suppress(InputError):
        assert type(load_batch("file", OFFICIAL[:position] + change + end)) is dict


def batch(**changes):
    return pickle.dumps({"labels": [0] * 20, **changes}, 2)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (python_file(TINY10, IMAGES[:19], LABELS), "20 images"),
        (batch(data=[[0] * 3072] * 20), "20 images"),
        (batch(), "20 images"),
        (python_file(TINY10, IMAGES, LABELS[:19]), "list of 20 labels"),
        (OFFICIAL.replace(b"](K", b"](M\xff\xffK", 1), "list of 20 labels"),
        (OFFICIAL.replace(b"](K" + bytes([LABELS[0]]), b"](J\xff\xff\xff\xff"), "list of 20"),
        (OFFICIAL.replace(b"](K" + bytes([LABELS[0]]), b"](\x88"), "list of 20 labels"),
    ],
    ids=range(7),
)
def test_other_contents_are_refused(content, told, tmp_path):
    write_all(tmp_path, {**tiny_files(TINY10, "python"), "data_batch_2": content})
    with pytest.raises(InputError, match=f"data_batch_2 holds no {told}"):
        load_cifar(TINY10, tmp_path)
