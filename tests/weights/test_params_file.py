"""Parameter files of MXNet, of all ages, whole and damaged, read without MXNet."""

from __future__ import annotations

import struct

from runtime import mx

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from errors import InputError
from weights.params_file import read_params, write_params


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    arrays = {
        "weight": mx.nd.random.normal(shape=(3, 4, 5)),
        "half": mx.nd.ones((2,), dtype="float16"),
        "steps": mx.nd.array([1, 2, 3], dtype="int64"),
        "pixels": mx.nd.zeros((1, 7), dtype="uint8"),
    }
    path = tmp_path_factory.mktemp("params") / "a.params"
    mx.nd.save(str(path), arrays)
    return path.read_bytes(), arrays


def test_what_mxnet_saved_is_read_and_written_alike(saved):
    data, arrays = saved
    found = read_params(data, "a file")
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array.asnumpy())
        assert found[name].dtype == array.dtype
    assert write_params(found) == data


def test_the_form_of_gluons_first_releases_is_read():
    values = np.arange(6, dtype="<f4")
    array = struct.pack("<IIqqiii", 0xF993FAC8, 2, 2, 3, 1, 0, 0) + values.tobytes()
    names = struct.pack("<QQ", 1, 1) + b"w"
    data = struct.pack("<QQQ", 0x112, 0, 1) + array + names
    np.testing.assert_array_equal(read_params(data, "old")["w"], values.reshape(2, 3))


def test_every_truncation_is_refused(saved):
    data, _ = saved
    for size in range(len(data)):
        with pytest.raises(InputError, match="not a whole parameter file"):
            read_params(data[:size], "short")
    with pytest.raises(InputError, match="1 bytes after its end"):
        read_params(data + b"x", "long")


@settings(max_examples=1000)
@given(st.data())
def test_no_damage_does_more_than_raise(saved, data):
    damaged = bytearray(saved[0])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        damaged[place] = data.draw(st.integers(0, 255))
    try:
        arrays = read_params(bytes(damaged), "damaged")
    except InputError:
        return
    # Values may have changed, but nothing has grown.
    assert sum(array.nbytes for array in arrays.values()) <= len(damaged)
