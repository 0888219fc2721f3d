"""A file from a stranger ends in one line, not in a crash, whatever is in it."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
import types

import fuzz_exports
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from errors import InputError
from exports import sandbox
from exports.onnx_import import try_onnx
from exports.sandbox import rehearse
from exports.symbol_import import check_graph, try_symbol
from inference.classifiers import open_classifier
from weights.params_file import read_params


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    return fuzz_exports.make_exports(tmp_path_factory.mktemp("exports") / "export")


# -------------------------------------------------------------------------------- the child


def test_child_that_crashes_is_named_and_the_parent_lives():
    with pytest.raises(InputError, match=r"^some file is damaged or hostile: .* in SIGABRT$"):
        rehearse(os.abort, source="some file")


def test_child_has_a_bound_on_memory(files, monkeypatch):
    rehearse(try_onnx, files["onnx"], source="some file")
    monkeypatch.setattr(sandbox, "MEMORY", 2**25)
    with pytest.raises(InputError, match=r"^some file (cannot be used|is damaged)"):
        rehearse(try_onnx, files["onnx"], source="some file")


def test_what_a_library_prints_is_not_taken_for_the_answer():
    printing = types.SimpleNamespace(__module__="this", __name__="d")  # a poem, not callable
    with pytest.raises(InputError, match=r"cannot be used: .*not callable"):
        rehearse(printing, b"", source="some file")  # type: ignore[arg-type]


def test_child_has_a_bound_on_time(monkeypatch):
    monkeypatch.setattr(sandbox, "SECONDS", 1)
    before = time.monotonic()
    with pytest.raises(InputError, match="took over 1 seconds"):
        rehearse(signal.pause, source="some file")
    assert time.monotonic() - before < 60


def test_child_that_ends_without_an_answer_is_no_success():
    with pytest.raises(InputError, match="reading it failed"):
        rehearse(sys.exit, source="some file")


def test_reason_is_the_line_that_says_why():
    error = ValueError("Traceback:\n  File x\nMXNetError: Invalid kernel\n")
    assert sandbox.reason(error) == "MXNetError: Invalid kernel"
    assert sandbox.reason(MemoryError()) == "MemoryError"


# --------------------------------------------------------------------------------- graphs


def edit(data, change):
    graph = json.loads(data)
    change(graph)
    return json.dumps(graph).encode()


def layer(graph, operator):
    return next(node for node in graph["nodes"] if node["op"] == operator)


EDITS = {
    "a cycle": lambda g: layer(g, "Convolution")["inputs"][0].__setitem__(0, len(g["nodes"]) - 1),
    "a node after the last": lambda g: g["heads"][0].__setitem__(0, 10**9),
    "a negative node": lambda g: layer(g, "Pooling")["inputs"][0].__setitem__(0, -1),
    "an output that is not there": lambda g: layer(g, "Pooling")["inputs"][0].__setitem__(1, 7000),
    "an operator that reads files": lambda g: layer(g, "Pooling").update(op="_cvimread"),
    "an operator that calls Python": lambda g: layer(g, "Pooling").update(op="Custom"),
    "a graph in a node": lambda g: layer(g, "Pooling").update(subgraphs=[{}]),
    "no inputs": lambda g: layer(g, "Pooling").update(inputs=[]),
    "a list as attribute": lambda g: layer(g, "Pooling")["attrs"].update(kernel=[1, 1]),
    "other variables": lambda g: g["arg_nodes"].pop(),
    "two variables of a name": lambda g: [n.update(name="x") for n in g["nodes"][:3]],
    "odd rows": lambda g: g["node_row_ptr"].append(10**30),
    "no output": lambda g: g["heads"].clear(),
    "true as a number": lambda g: g["heads"][0].__setitem__(1, True),
    "no nodes": lambda g: g["nodes"].clear(),
}


@pytest.mark.parametrize("name", EDITS)
def test_graph_that_is_not_one_is_refused_before_mxnet_sees_it(files, name):
    check_graph(files["graph"])
    with pytest.raises(ValueError, match=r"node|graph|rows|variables|output"):
        check_graph(edit(files["graph"], EDITS[name]))


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{}", b"null", b'{"nodes": 1}', b"\xff", b"[" * 10**5]
)
def test_what_is_not_a_graph_at_all_is_refused(text):
    with pytest.raises((ValueError, RecursionError)):
        check_graph(text)


@given(st.integers(0, 2**32))
def test_damaged_graphs_are_graphs_or_refused(files, seed):
    rng = random.Random(seed)
    try:
        check_graph(fuzz_exports.damage_bytes(files["graph"], rng))
    except (ValueError, RecursionError):
        return  # what load_symbol makes an InputError of


LAYERS = {
    "memory": lambda g: layer(g, "Convolution")["attrs"].update(num_filter="2147483647"),
    "a stride of zero": lambda g: layer(g, "Pooling")["attrs"].update(stride="(0, 0)"),
    "a kernel of another rank": lambda g: layer(g, "Convolution")["attrs"].update(kernel="(3,3,3)"),
    "an unknown function": lambda g: layer(g, "Activation")["attrs"].update(act_type="x" * 5000),
    "another output": lambda g: g["heads"][0].__setitem__(0, g["heads"][0][0] - 3),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_that_cannot_be_are_refused_by_the_child(files, name):
    graph = edit(files["graph"], LAYERS[name])
    with pytest.raises(InputError, match=r"^a graph (cannot be used|is damaged)") as caught:
        rehearse(try_symbol, graph, files["params"], b"10", source="a graph")
    assert "\n" not in str(caught.value)


# ----------------------------------------------------------------------------- parameters


@given(st.integers(0, 2**32))
def test_damaged_parameters_are_read_or_refused(files, seed):
    rng = random.Random(seed)
    damaged = fuzz_exports.damage_bytes(files["params"], rng, 600)
    try:
        arrays = read_params(damaged, "a file")
    except InputError:
        return
    assert sum(array.nbytes for array in arrays.values()) <= len(damaged)


def test_altered_export_is_refused_by_its_checksum(finished_run, tmp_path):
    folder = tmp_path / "export"
    shutil.copytree(finished_run / "export", folder)
    path = folder / "model-0000.params"
    data = bytearray(path.read_bytes())
    data[-200] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="checksums are not those"):
        open_classifier(folder)


@pytest.mark.parametrize(
    "facts",
    [
        "",
        "[]",
        "[" * 10**5,
        '{"sha256": 1}',
        '{"sha256": {}}',
    ],
)
def test_damaged_model_json_is_refused(finished_run, tmp_path, facts):
    folder = tmp_path / "export"
    shutil.copytree(finished_run / "export", folder)
    (folder / "model.json").write_text(facts)
    with pytest.raises(InputError, match=r"model\.json is damaged"):
        open_classifier(folder)


# ----------------------------------------------------------------------------------- ONNX


def onnx_file(path, data, change):
    model = onnx.load_from_string(data)
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def read_outside(model):
    """Let a weight be read from another file."""
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../../../../../../../../etc/passwd")


def set_fact(key, value):
    def change(model):
        for entry in model.metadata_props:
            if entry.key == key:
                entry.value = value

    return change


ONNX_EDITS = {
    "no metadata": lambda m: m.ClearField("metadata_props"),
    "metadata that is no JSON": set_fact("classes", "{"),
    "one class": set_fact("classes", '["cat"]'),
    "a deviation of zero": set_fact("std", "[0, 1, 1]"),
    "no number": set_fact("mean", '["x", 1, 1]'),
    "another number of classes": set_fact("classes", '["cat", "dog"]'),
    "a weight in another file": read_outside,
    "an unknown operator": lambda m: setattr(m.graph.node[0], "op_type", "Evil"),
    "an unknown library": lambda m: setattr(m.graph.node[0], "domain", "evil"),
    "an input that is missing": lambda m: m.graph.node[2].input.__setitem__(0, "nowhere"),
    "a weight of no size": lambda m: m.graph.initializer[0].dims.append(2**40),
}


@pytest.mark.parametrize("name", ONNX_EDITS)
def test_onnx_file_that_is_not_from_here_is_refused(files, tmp_path, name):
    path = onnx_file(tmp_path / "model.onnx", files["onnx"], ONNX_EDITS[name])
    with pytest.raises(InputError, match=r"model\.onnx (cannot be used|is damaged)") as caught:
        open_classifier(path)
    assert "\n" not in str(caught.value)


def test_any_damage_ends_in_one_line(files):
    rng = random.Random(7)
    answers = [fuzz_exports.try_all(files, rng) for _ in range(6)]
    assert all(answers)


@pytest.mark.parametrize("name", ["model.onnx", "model-0000.params"])
def test_what_might_never_end_is_not_read(finished_run, tmp_path, name):
    folder = tmp_path / "export"
    shutil.copytree(finished_run / "export", folder)
    for change in (os.mkfifo, lambda path: os.symlink("/dev/zero", path)):
        (folder / name).unlink()
        change(folder / name)
        with pytest.raises(InputError, match="is not a regular file"):
            open_classifier(folder / name)


def test_file_larger_than_any_net_is_not_read(tmp_path):
    path = tmp_path / "large.onnx"
    with path.open("wb") as file:
        os.truncate(file.fileno(), 2**31)
    with pytest.raises(InputError, match="at most are expected"):
        open_classifier(path)
