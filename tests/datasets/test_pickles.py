"""Python batches are read, and nothing else that a pickle can say is done."""

from __future__ import annotations

import codecs
import io
import os
import pickle
import pickletools
import struct
import tracemalloc
import types
import warnings
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_cifar import TINY10, official_python_file, python_files, tiny_arrays

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


def test_an_official_batch_is_read_as_pythons_own_unpickler_reads_it():
    images, labels = decode(OFFICIAL)
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy 2 moved a module that the file names
        theirs = pickle.loads(OFFICIAL, encoding="bytes")
    np.testing.assert_array_equal(theirs[b"data"].reshape(IMAGES.shape), images)


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_by_columns_are_read_too(order):
    data = np.array(IMAGES.reshape(20, -1), order=order)
    images, _ = decode(pickle.dumps({"data": data, "labels": LABELS.tolist()}, 4))
    np.testing.assert_array_equal(images, IMAGES)


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


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "call",
    [
        _Call(os.mkdir, "pwned"),
        _Call(os.system, "mkdir pwned"),
        _Call(exec, "import os; os.mkdir('pwned')"),
        _Call(__import__, "os"),
        _Call(getattr, "text", "format"),
        _Call(np.ndarray, (1 << 40,), "u1"),
        _Call(bytearray, 1 << 40),
        _Call(codecs.encode, "text", "zip"),
        _Call(codecs.encode, "text", "utf-8"),
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


_NOT_ONE = "not one of CIFAR's Python batches"


@pytest.mark.parametrize(
    ("program", "match"),
    [
        (b".", _NOT_ONE),
        (b"", "ends too early"),
        (b"}", "ends too early"),
        (b"(0.", "instruction"),
        (b"}(K\x01K\x02u.", "a key that is no text"),
        (b"}(U\x01au.", _NOT_ONE),
        (b"(e.", _NOT_ONE),
        (b"}(e.", _NOT_ONE),
        (b"]}(s.", _NOT_ONE),
        (b"h\x07.", _NOT_ONE),
        (b"T\xff\xff\xff\xff.", _NOT_ONE),
        (b"T\xff\xff\xff\x7f.", "ends too early"),
        (b"cos\nsystem\n.", "it asks for 'os', 'system'"),
        (b"cos\n", "it asks for 'os', ''"),
        (b"}}\x93.", _NOT_ONE),
        (b"cnumpy\nndarray\n)R.", _NOT_ONE),
        (b"cnumpy\ndtype\nU\x02f8\x85R.", "other things than bytes"),
        (b"cnumpy\ndtype\nU\x02u1\x85R.", "no dictionary"),
        (b"U\x07ndarrayK\x01\x85R.", _NOT_ONE),
        (b"}}b.", "holds no 20 images"),
    ],
)
def test_programs_that_make_no_sense_are_refused(program, match):
    refused(program, match)


def array_state(state):
    """Return a pickle of an array with this state, which ends the program."""
    return (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n\x85R" + state + b"b."
    )  # fmt: skip


TYPE = b"cnumpy\ndtype\nU\x02u1\x85R"


@pytest.mark.parametrize(
    ("state", "match"),
    [
        (b"N", _NOT_ONE),
        (b"(K\x01K\x02K\x02\x86" + TYPE + b"\x89U\x03abct", r"without its \(2, 2\) bytes"),
        (b"(K\x01K\x02\x85" + TYPE + b"\x89U\x02abt", "no table"),
        (b"(K\x01J\xff\xff\xff\xffJ\xff\xff\xff\xff\x86" + TYPE + b"\x89U\x01at", "no table"),
        (b"(K\x01J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86" + TYPE + b"\x89U\x01at", "without its"),
        (b"(K\x01K\x01K\x01\x86U\x02u1\x89U\x01at", "other things than bytes"),
        (b"(K\x01K\x01K\x01\x86" + TYPE + b"\x89Nt", "without its"),
    ],
)
def test_arrays_that_make_no_sense_are_refused(state, match):
    refused(array_state(state), match)


def test_an_array_gets_its_values_once():
    state = b"(K\x01K\x01K\x01\x86" + TYPE + b"\x89U\x01at"
    refused(array_state(state + b"b" + state), "no new array")


TEXT = b"X" + struct.pack("<I", 1 << 20) + b"a" * (1 << 20) + b"q\x00"


@pytest.mark.parametrize(
    "program",
    [
        b"}" * (1 << 20),  # an object for every byte
        b"](" + b"]q\x00" + b"(h\x00h\x00eq\x00" * 2000,  # doubles with every line
        b"r\xff\xff\xff\xff" * 4 + b".",  # a number to remember by that is huge
        b"]" + b"r\xff\xff\xff\x7f" + b".",
        b"I" + b"9" * (1 << 20) + b"\n.",  # a number that takes minutes to convert
        b"(" * (1 << 20) + b"t" * (1 << 20) + b".",
        b"\x8e" + struct.pack("<Q", 1 << 60) + b".",
        b"\x96" + struct.pack("<Q", 1 << 33) + b".",
        # Bytes of one text, again and again; a text as a million arguments.
        TEXT + b"c_codecs\nencode\nq\x01" + b"h\x01h\x00X\x06\x00\x00\x00latin1\x86R" * 40 + b".",
        b"cnumpy\ndtype\n" + TEXT + b"R.",
    ],
    ids=range(10),
)
def test_no_program_takes_much_memory(program):
    tracemalloc.start()
    try:
        refused(program, "not one of CIFAR's Python batches")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


@pytest.mark.parametrize(
    "program",
    [
        # A key that is looked up in 2 ** 60 steps, and one that is deeper than the stack.
        b"})" + b"q\x00h\x00\x86" * 60 + b"Ns.",
        b"})" + b"\x85" * 1000 + b"Ns.",
        # Numbers whose product takes minutes.
        array_state(
            b"(K\x01" + 2 * (b"I0x" + b"f" * (1 << 25) + b"\n") + b"\x86" + TYPE + b"\x89Nt"
        ),
    ],
    ids=["twice itself", "deep", "long"],
)
def test_no_program_takes_much_time(program):
    refused(program, "a key that is no text|no table")


def test_a_file_changes_nothing_for_the_next():
    name, call = b"cnumpy\ndtype\n", b")R."
    defaults = b"N}X\x0c\x00\x00\x00__defaults__U\x02u1NN\x87s\x86b"
    refused(name + defaults + call, "no dictionary")
    refused(name + call, "missing 1 required")


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
        {"labels": tuple(LABELS.tolist())},
        {"labels": None},
    ],
)
def test_other_contents_are_refused(changes):
    batch = {"data": IMAGES.reshape(20, -1), "labels": LABELS.tolist(), **changes}
    refused(pickle.dumps(batch, 4), "file (holds no|is not one of)")


def test_every_truncation_is_refused():
    for content in (OFFICIAL, python_files(TINY10)["data_batch_1"]):
        for length in [*range(400), *range(len(content) - 900, len(content))]:
            refused(content[:length], "not one of CIFAR's Python batches")


_OPCODES = [opcode.code.encode("latin1") for opcode in pickletools.opcodes]


@given(st.lists(st.one_of(st.sampled_from(_OPCODES), st.binary(max_size=4)), max_size=40))
def test_any_program_is_read_or_refused(parts):
    with pytest.raises(InputError):
        decode(b"".join(parts) + b".")


@given(st.integers(0, 700), st.binary(min_size=1, max_size=3))
def test_an_altered_batch_is_read_or_refused(position, change):
    content = OFFICIAL[:position] + change + OFFICIAL[position + len(change) :]
    try:
        images, labels = decode(content)
    except InputError:
        return
    assert images.shape == IMAGES.shape
    assert labels.shape == LABELS.shape
