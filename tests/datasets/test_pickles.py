"""Python batches are read, and nothing else that a pickle can say is done."""

from __future__ import annotations

import contextlib
import os
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_cifar import TINY10, official_python_file, tiny_arrays, tiny_files, write_all

from datasets.cifar import load_cifar
from datasets.pickles import load_batch
from errors import InputError

IMAGES, LABELS = (part[:20] for part in tiny_arrays(TINY10))
OFFICIAL = official_python_file(IMAGES, LABELS.tolist())
BATCH = {"data": IMAGES.reshape(20, -1), "labels": LABELS.tolist()}


def refused(content, match=""):
    said = f"^file is not one of CIFAR's Python batches: .*{match}"
    with pytest.raises(InputError, match=said) as refusal:
        load_batch("file", content)
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
    batch = load_batch("file", content)
    np.testing.assert_array_equal(batch["data"], BATCH["data"])
    assert batch["data"].dtype == np.uint8
    assert batch["labels"] == BATCH["labels"]


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
        np.array([_Call(os.mkdir, "pwned")], dtype=object),
        np.zeros(3, "f8"),
        np.zeros(3, "i1"),
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
        (b"", "it ends too early"),
        (b"h\x07.", ""),
        (b"cos\nsystem\n.", "it asks for 'os', 'system'"),
        # What stands for an array stays as it is, whatever one file says of it.
        (b"cnumpy.core.multiarray\n_reconstruct\n(N}U\x06pixelsK\x00stb.", ""),
    ],
)
def test_programs_of_another_kind_are_refused(program, match):
    refused(program, match)
    load_batch("file", OFFICIAL)


def test_a_memo_of_any_number_takes_no_memory():
    assert load_batch("file", b"\x80\x02}r\xff\xff\xff\x7f.") == {}  # 32 GB of it in C's unpickler


@given(st.integers(0, len(OFFICIAL) - 1), st.binary(max_size=3), st.booleans())
def test_a_damaged_batch_is_read_or_refused(position, change, cut_off):
    position %= 700 if len(change) % 2 else len(OFFICIAL)  # most instructions stand in front
    end = b"" if cut_off else OFFICIAL[position + len(change) :]
    with contextlib.suppress(InputError):
        assert type(load_batch("file", OFFICIAL[:position] + change + end)) is dict


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("data", [IMAGES[:19].reshape(19, -1), IMAGES.reshape(40, -1), IMAGES.tolist(), None]),
        (
            "labels",
            [BATCH["labels"][:19], *([*[0] * 19, odd] for odd in ("cat", True, -1, 1 << 40))],
        ),
        ("labels", [None, 3]),
    ],
)
def test_other_contents_are_refused(key, values, tmp_path):
    write_all(tmp_path, tiny_files(TINY10, "python"))
    for value in values:
        (tmp_path / "data_batch_2").write_bytes(pickle.dumps({**BATCH, key: value}))
        with pytest.raises(
            InputError, match=r"data_batch_2 holds no (20 images|list of 20 labels)"
        ):
            load_cifar(TINY10, tmp_path)
