"""A file from a stranger ends in one line, not in a crash, whatever is in it."""

from __future__ import annotations

import json
import os
import shutil
from functools import partial

import onnx
import pytest

from errors import InputError
from exports import sandbox
from exports.onnx import load_onnx
from inference.classifiers import open_classifier
from utils import sha256

MODEL, GRAPH, PARAMS, ONNX = "model.json", "model-symbol.json", "model-0000.params", "model.onnx"


@pytest.fixture
def folder(finished_run, tmp_path):
    """Return a copy of an export in both formats."""
    return shutil.copytree(finished_run / "export", tmp_path / "export")


def edit(folder, file, change):
    """Change a file's bytes, and the checksums as whoever wants to harm would do."""
    (folder / file).write_bytes(change((folder / file).read_bytes()))
    if file in (GRAPH, PARAMS):
        facts = json.loads((folder / MODEL).read_text())
        facts["sha256"][file] = sha256((folder / file).read_bytes())
        (folder / MODEL).write_text(json.dumps(facts))


def through(load, dump, change):
    """Make a change of what is in a file one of the file's bytes."""

    def changed(data):
        content = load(data)
        change(content)
        return dump(content)

    return changed


as_json = partial(through, json.loads, lambda graph: json.dumps(graph).encode())
as_onnx = partial(through, onnx.load_from_string, lambda model: model.SerializeToString())


def layer(graph, operator):
    return next(node for node in graph["nodes"] if node["op"] == operator)


def set_layer(operator, **attributes):
    return as_json(lambda graph: layer(graph, operator)["attrs"].update(attributes))


def set_node(**fields):
    return as_json(lambda graph: layer(graph, "Pooling").update(fields))


def set_fact(key, value):
    def change(model):
        next(entry for entry in model.metadata_props if entry.key == key).value = value

    return as_onnx(change)


def read_outside(model):
    """Let a weight be read from another file."""
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../../../../../../../../etc/passwd")


NO_GRAPH, NO_JSON = "holds no graph of an exported net", r"model\.json is damaged"
CHILD = r" (cannot be used|is damaged or hostile): \S"
# What is done to which file, and what is then said.
HOSTILE = {
    "a list": (MODEL, lambda data: b"[]", NO_JSON),
    "deep JSON": (MODEL, lambda data: b"[" * 10**5, NO_JSON),
    "a number for checksums": (MODEL, lambda data: b'{"sha256": 1}', "checksums are not those"),
    "a graph that is a list": (GRAPH, lambda data: b"[]", NO_GRAPH),
    "a graph of no text": (GRAPH, lambda data: b"\xff", NO_GRAPH),
    "a deep graph": (GRAPH, lambda data: b"[" * 10**5, NO_GRAPH),
    "a cycle": (GRAPH, set_node(inputs=[[10000, 0, 0]]), r"10000.* where \d+ nodes are known"),
    "a negative node": (GRAPH, set_node(inputs=[[-1, 0, 0]]), "input"),
    "an output that is not there": (GRAPH, set_node(inputs=[[2, 7000, 0]]), "input"),
    "an output that MXNet lacks": (GRAPH, set_node(inputs=[[2, 7, 0]]), CHILD),
    "true as a number": (GRAPH, set_node(inputs=[[2, True, 0]]), "input"),
    "an operator that reads files": (GRAPH, set_node(op="_cvimread"), "'_cvimread' is not one"),
    "an operator that calls Python": (GRAPH, set_node(op="Custom"), "'Custom' is not one"),
    "no inputs": (GRAPH, set_node(inputs=[]), "0 inputs of Pooling"),
    "a node after the last": (GRAPH, as_json(lambda g: g.update(heads=[[10**9, 0, 0]])), "input"),
    "two outputs": (GRAPH, as_json(lambda g: g.update(heads=[[9, 0, 0]] * 2)), NO_GRAPH),
    "another output": (GRAPH, as_json(lambda g: g.update(heads=[[9, 0, 0]])), CHILD),
    "memory": (GRAPH, set_layer("Convolution", num_filter="2147483647"), CHILD),
    "a stride of zero": (GRAPH, set_layer("Pooling", stride="(0, 0)"), CHILD),
    "an unknown function": (GRAPH, set_layer("Activation", act_type="x" * 5000), CHILD),
    "half of the parameters": (PARAMS, lambda data: data[:-200], "not a whole parameter file"),
    "no file of ONNX": (ONNX, lambda data: b"broken", CHILD),
    "no metadata": (ONNX, as_onnx(lambda m: m.ClearField("metadata_props")), "does not say what"),
    "metadata that is no JSON": (ONNX, set_fact("classes", "{"), CHILD),
    "one class": (ONNX, set_fact("classes", '["cat"]'), "odd classes"),
    "a deviation of zero": (ONNX, set_fact("std", "[0, 1, 1]"), "does not say what"),
    "other classes": (ONNX, set_fact("classes", '["cat", "dog"]'), "not one logit for each"),
    "a weight in another file": (ONNX, as_onnx(read_outside), CHILD),
    "an unknown operator": (
        ONNX,
        as_onnx(lambda m: setattr(m.graph.node[0], "op_type", "E")),
        r"\bE\b",
    ),
    "a huge weight": (ONNX, as_onnx(lambda m: m.graph.initializer[0].dims.append(2**40)), CHILD),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_ends_in_one_line(folder, name):
    file, change, words = HOSTILE[name]
    edit(folder, file, change)
    with pytest.raises(InputError, match=words) as caught:
        open_classifier(folder / file)
    assert "\n" not in str(caught.value)


def test_what_mxnet_would_read_beside_the_nodes_is_not_read(folder):
    edit(folder, GRAPH, as_json(lambda graph: graph.update(arg_nodes=[-1], node_row_ptr=[10**30])))
    edit(folder, GRAPH, set_node(subgraphs=[{"nodes": 1}]))
    deep = b'{"other": ' + b"[" * 500 + b"]" * 500 + b","
    edit(folder, MODEL, lambda data: data.replace(b"{", deep, 1))
    assert len(open_classifier(folder).classes) == 10


def test_altered_parameters_are_refused_by_their_checksum(folder):
    data = bytearray((folder / PARAMS).read_bytes())
    data[-200] ^= 1
    (folder / PARAMS).write_bytes(data)
    with pytest.raises(InputError, match="checksums are not those"):
        open_classifier(folder)


@pytest.mark.parametrize("name", [ONNX, PARAMS])
def test_what_might_never_end_is_not_read(folder, name):
    for change in (os.mkfifo, lambda path: os.symlink("/dev/zero", path)):
        (folder / name).unlink()
        change(folder / name)
        with pytest.raises(InputError, match="is not a regular file"):
            open_classifier(folder / name)
    (folder / name).unlink()
    (folder / name).touch()
    os.truncate(folder / name, 2**31)
    with pytest.raises(InputError, match="at most are expected"):
        open_classifier(folder / name)


def test_memory_has_a_bound_that_grows_with_the_file(folder, monkeypatch):
    weight = {"name": "w", "data_type": 1, "dims": [2**24], "raw_data": bytes(2**26)}
    data = as_onnx(lambda m: m.graph.initializer.add(**weight))((folder / ONNX).read_bytes())
    monkeypatch.setattr(sandbox, "MEMORY", 2**25)  # less than to read that weight takes
    sandbox.try_in_child(load_onnx, data, source="a file")
    monkeypatch.setattr(sandbox, "MEMORY_PER_BYTE", 0)
    with pytest.raises(InputError, match=CHILD):
        sandbox.try_in_child(load_onnx, data, source="a file")
