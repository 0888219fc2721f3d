"""Python batches are read, and nothing else that a pickle can say is done."""

from __future__ import annotations

import codecs
import io
import os
import pickle
import struct
import types
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_cifar import TINY10, official_python_file, tiny_arrays

from datasets.pickles import decode_python
from errors import InputError

IMAGES, LABELS = (part[:20] for part in tiny_arrays(TINY10))
OFFICIAL = official_python_file(IMAGES, LABELS.tolist())


def decode(content):
    return decode_python("file", content, 20, "labels")


def refused(content, match):
    with pytest.raises(InputError, match=match) as refusal:
        decode(content)
    assert "\n" not in str(refusal.value)
    assert str(refusal.value).startswith("file")


def test_an_official_batch_is_read():
    images, labels = decode(OFFICIAL)
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)


class _Pickler(pickle._Pickler):  # type: ignore[name-defined]
    """Writes arrays as a NumPy does whose modules are called `core`."""

    core = "numpy.core"
    dispatch: ClassVar = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def save_global(self, value, name=None):
        module = value.__module__.replace("numpy._core", "numpy.core")
        module, name = module.replace("numpy.core", self.core), name or value.__name__
        if self.proto >= 4:
            self.save(module)
            self.save(name)
            self.write(pickle.STACK_GLOBAL)
        else:
            self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())
        self.memoize(value)

    dispatch[types.FunctionType] = save_global  # type: ignore[assignment]


class _NumPy2(_Pickler):
    core = "numpy._core"


class _Python2(_Pickler):
    """Writes text and bytes alike."""

    dispatch: ClassVar = dict(_Pickler.dispatch)

    def save_string(self, value):
        content = value if isinstance(value, bytes) else value.encode()
        if self.proto:
            self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)
        else:
            self.write(pickle.STRING + repr(content)[1:].encode() + b"\n")
        self.memoize(value)

    dispatch[bytes] = dispatch[str] = save_string  # type: ignore[assignment]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("text", [str, str.encode])
@pytest.mark.parametrize(
    ("pickler", "protocol"),
    [(_Python2, protocol) for protocol in range(3)]
    + [(pickler, protocol) for pickler in (_Pickler, _NumPy2) for protocol in range(6)],
)
def test_every_form_is_read(pickler, protocol, text, order):
    batch = {
        text("batch_label"): text("training batch 1 of 5"),
        text("labels"): LABELS.tolist(),
        text("data"): np.array(IMAGES.reshape(20, -1), order=order),
        text("filenames"): [text(f"leptodactylus_s_{number}.png") for number in range(20)],
    }
    file = io.BytesIO()
    pickler(file, protocol).dump(batch)
    images, labels = decode(file.getvalue())
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)


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
    for value in (call, {"data": call, "labels": LABELS.tolist()}):
        refused(pickle.dumps(value, protocol), "not one of CIFAR's Python batches|holds no")
    assert not os.listdir(tmp_path)


TEXT = b"X" + struct.pack("<I", 1 << 20) + b"a" * (1 << 20) + b"q\x00"


@pytest.mark.parametrize(
    ("program", "match"),
    [
        (b"", "Ran out of input"),
        (b"}.", "holds no 20 images"),
        (b"h\x07.", "not one of"),
        (b"}}b.", "no attribute"),
        (b"cos\nsystem\n.", "it asks for 'os', 'system'"),
        # More memory than there is: a memo, a length, a text encoded again and again.
        (b"]r\xff\xff\xff\x7f.", "not one of"),
        (b"\x96" + struct.pack("<Q", 1 << 40) + b".", "not one of"),
        (TEXT + b"c_codecs\nencode\nq\x01(" + b"h\x01h\x00h\x00\x86R" * 4000 + b"l.", "not one of"),
        # A key that is deeper than the stack.
        (b"})" + b"\x85" * 1_000_000 + b"Ns.", "SIGSEGV|not one of"),
    ],
    ids=range(9),
)
def test_programs_of_another_kind_are_refused(program, match):
    refused(program, match)


def test_a_program_without_end_is_stopped(monkeypatch):
    # A key that is looked up in 2 ** 60 steps.
    monkeypatch.setattr("sandbox.SECONDS", 2)
    refused(b"})" + b"q\x00h\x00\x86" * 60 + b"Ns.", "took over 2 seconds")


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
    batch = {"data": IMAGES.reshape(20, -1), "labels": LABELS.tolist(), **changes}
    refused(pickle.dumps(batch, 4), "file (holds no|is not one of)")


@settings(max_examples=60)
@given(st.integers(0, len(OFFICIAL) - 1), st.binary(max_size=3), st.booleans())
def test_a_damaged_batch_is_read_or_refused(position, change, cut_off):
    position %= 700 if len(change) % 2 else len(OFFICIAL)  # most instructions stand in front
    end = b"" if cut_off else OFFICIAL[position + len(change) :]
    try:
        images, labels = decode(OFFICIAL[:position] + change + end)
    except InputError:
        return
    assert images.shape == IMAGES.shape
    assert labels.shape == LABELS.shape
