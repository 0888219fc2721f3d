"""Python batches are read, and nothing else that a pickle can say is done."""

from __future__ import annotations

import codecs
import contextlib
import os
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_cifar import TINY10, official_python_file, tiny_arrays

from datasets.pickles import decode_python
from errors import InputError

IMAGES, LABELS = (part[:20] for part in tiny_arrays(TINY10))
OFFICIAL = official_python_file(IMAGES, LABELS.tolist())
BATCH = {"data": IMAGES.reshape(20, -1), "labels": LABELS.tolist()}


def decode(content):
    return decode_python("file", content, 20, "labels")


def refused(content, match="^file (holds no|is not one of CIFAR's Python batches: )"):
    with pytest.raises(InputError, match=match) as refusal:
        decode(content)
    assert "\n" not in str(refusal.value)


def renamed(content):
    """Return a pickle of protocols 0 to 3 as the other NumPy, 1 or 2, would save it."""
    new, old = b"cnumpy._core.", b"cnumpy.core."
    return content.replace(new, old) if new in content else content.replace(old, new)


@pytest.mark.parametrize(
    "content",
    [
        OFFICIAL,
        *(pickle.dumps(BATCH, protocol) for protocol in range(6)),
        *(renamed(pickle.dumps(BATCH, protocol)) for protocol in range(4)),
        pickle.dumps({**BATCH, "data": np.asfortranarray(BATCH["data"])}, 2),
        pickle.dumps({**BATCH, "data": np.asfortranarray(BATCH["data"])}, 5),
        pickle.dumps({key.encode(): value for key, value in BATCH.items()}, 2),
    ],
    ids=range(14),
)
def test_every_form_is_read(content):
    images, labels = decode(content)
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)
    assert images.dtype == np.uint8


class _Call:
    """Pickles as a call of anything."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize(
    "call",
    [
        _Call(os.mkdir, "pwned"),
        _Call(exec, "import os; os.mkdir('pwned')"),
        _Call(getattr, "text", "format"),
        _Call(np.ndarray, (1 << 40,), "u1"),
        _Call(bytearray, 1 << 40),
        _Call(codecs.encode, "text", "zip"),
        np.array([_Call(os.mkdir, "pwned")], dtype=object),
        np.zeros(3, "f8"),
        np.uint8(3),
    ],
)
def test_no_code_is_run(call, protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for value in (call, {**BATCH, "data": call}):
        refused(pickle.dumps(value, protocol))
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("program", "match"),
    [
        (b"", "file is not one of CIFAR's Python batches: it ends too early"),
        (b"\x80\x02}r\xff\xff\xff\x7f.", "file holds no 20 images"),  # not 32 GB of memo
        (b"}.", "file holds no 20 images"),
        (b"h\x07.", "not one of"),
        (b"cos\nsystem\n.", "it asks for 'os', 'system'"),
        # What stands for an array stays as it is, whatever one file says of it.
        (b"cnumpy.core.multiarray\n_reconstruct\n(N}U\x06pixelsK\x00stb.", "not one of"),
    ],
)
def test_programs_of_another_kind_are_refused(program, match):
    refused(program, match)
    decode(OFFICIAL)


@pytest.mark.parametrize(
    "changes",
    [
        {"data": IMAGES[:19].reshape(19, -1)},
        {"data": IMAGES.reshape(40, -1)},
        {"data": IMAGES.reshape(20, -1).astype(np.int8)},
        {"data": IMAGES.reshape(20, -1).tolist()},
        {"data": None},
        {"labels": LABELS[:19].tolist()},
        {"labels": [*LABELS.tolist()[:-1], "cat"]},
        {"labels": [*LABELS.tolist()[:-1], True]},
        {"labels": [*LABELS.tolist()[:-1], 1 << 40]},
        {"labels": None},
    ],
)
def test_other_contents_are_refused(changes):
    refused(pickle.dumps({**BATCH, **changes}, 4))


@given(st.integers(0, len(OFFICIAL) - 1), st.binary(max_size=3), st.booleans())
def test_a_damaged_batch_is_read_or_refused(position, change, cut_off):
    position %= 700 if len(change) % 2 else len(OFFICIAL)  # most instructions stand in front
    end = b"" if cut_off else OFFICIAL[position + len(change) :]
    with contextlib.suppress(InputError):
        images, labels = decode(OFFICIAL[:position] + change + end)
        assert (images.shape, labels.shape) == (IMAGES.shape, LABELS.shape)
