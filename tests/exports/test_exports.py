"""What leaves the repository is the net that was trained, or is not there."""

from __future__ import annotations

import hashlib
import json
import resource
import sys

from runtime import mx

import numpy as np
import onnx
import onnxruntime
import pytest
from mxnet import gluon
from onnx.reference import ReferenceEvaluator
from small_nets import backward, build

import export
import models
from errors import InputError
from exports import graph
from exports.onnx import OPSET, export_onnx
from exports.symbol import OPERATORS, export_symbol
from utils import Normaliser

NORMALISER = Normaliser((125.3, 123.0, 113.9), (63.0, 62.1, 66.7))
CLASSES = [f"class {i}" for i in range(10)]
ABOUT = (CLASSES, NORMALISER)
# One of each kind: widths that fit oneDNN's blocks and widths that do not, bottlenecks, stochastic
# depth, squeeze-and-excitation, GluonCV's.
NETS = [  # name, options, whether pixels go in instead of normalised images
    ("densenet_bc100_k12", {"depth": 16}, True),
    ("se_densenet40_k12", {"depth": 7}, False),
    ("densenet_bc40_k16", {"depth": 10, "dropout": 0.2}, True),
    ("resnet20_sd", {"depth": 8}, False),
    ("resnet11_pooled", {}, True),
    ("se_resnet164_sd", {"depth": 11}, False),
    ("cifar_resnet20_v1", {}, True),
    ("cifar_resnet20_v2", {}, True),
]


def make_net(name="resnet20_sd", **options):
    net = build(name, **options)
    backward(net, 8)  # writes statistics other than the initial ones
    return net


def files_in(folder):
    return {path: path.is_file() and path.read_bytes() for path in folder.rglob("*")}


def export_both(net, folder, **options):
    """Return the symbol's graph and parameters and the ONNX file, as strings."""
    export_symbol(net, folder, *ABOUT, **options)
    export_onnx(net, folder / "model.onnx", *ABOUT, **options)
    return [str(folder / name) for name in ("model-symbol.json", "model-0000.params", "model.onnx")]


@pytest.mark.parametrize(("name", "options", "normalise"), NETS)
def test_symbol_and_onnx_are_the_net_in_every_library(tmp_path, name, options, normalise):
    net = make_net(name, **options)
    graph_file, params_file, onnx_file = export_both(net, tmp_path, normalise=normalise)
    assert "Dropout" not in (tmp_path / "model-symbol.json").read_text()
    block = gluon.SymbolBlock.imports(graph_file, ["data"], params_file)
    symbol, arguments, statistics = mx.model.load_checkpoint(str(tmp_path / "model"), 0)
    session = onnxruntime.InferenceSession(onnx_file)
    # It takes operators at their word, where onnxruntime and OpenCV do what was meant.
    evaluator = ReferenceEvaluator(onnx_file)
    for batch in (1, 64):
        pixels = np.random.RandomState(1).randint(0, 256, (batch, 3, 32, 32)).astype(np.float32)
        inputs = pixels if normalise else NORMALISER.arrays(pixels)
        module = mx.mod.Module(symbol, ["data"], label_names=None)
        module.bind([("data", inputs.shape)], for_training=False)
        module.set_params(arguments, statistics)
        module.forward(mx.io.DataBatch([mx.nd.array(inputs)]))
        found = [block(mx.nd.array(inputs)).asnumpy(), module.get_outputs()[0].asnumpy()]
        found += session.run(None, {"data": inputs})
        if batch == 1:
            found += evaluator.run(None, {"data": inputs})
        expected = net(mx.nd.array(NORMALISER.arrays(pixels))).asnumpy()
        for logits in found:
            assert graph.difference(logits, expected) <= 1e-5


@pytest.mark.parametrize(
    "name", ["cifar_wideresnet16_10", "cifar_resnext29_32x4d", "cifar_residualattentionnet56"]
)
def test_the_other_kinds_of_gluoncv_have_operators_that_are_exported(name):
    symbol = graph.rewrite(models.get_model(name)(mx.sym.var("data")))
    assert {node["op"] for node in json.loads(symbol.tojson())["nodes"]} <= OPERATORS


def test_both_formats_say_what_they_take_and_give(tmp_path):
    folder = tmp_path / "deep" / "export"
    *_, onnx_file = export_both(make_net(depth=8), folder, extra={"model": "r"})
    facts, model = json.loads((folder / "model.json").read_text()), onnx.load(onnx_file)
    for name, digest in facts.pop("sha256").items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    assert facts == {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    assert (facts["classes"], facts["model"]) == (CLASSES, "r")
    assert (facts["mean"], facts["std"]) == (NORMALISER.mean.tolist(), NORMALISER.std.tolist())
    assert facts["input"]["range"] == "0 to 255"
    assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]
    (data,), (logits,) = model.graph.input, model.graph.output  # no weight is an input
    shapes = [
        [dim.dim_param or dim.dim_value for dim in entry.type.tensor_type.shape.dim]
        for entry in (data, logits)
    ]
    assert (data.name, logits.name, shapes) == ("data", "logits", [["N", 3, 32, 32], ["N", 10]])


@pytest.mark.parametrize("export_one", [export_symbol, export_onnx])
def test_export_that_disagrees_or_finds_no_room_leaves_the_one_before(
    tmp_path, monkeypatch, export_one
):
    net, path = make_net(depth=8), tmp_path / "export"
    export_one(net, path, *ABOUT)
    before, inference_graph = files_in(tmp_path), graph.inference_graph

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # as if the disk were full
    try:
        with pytest.raises(InputError, match="cannot write"):
            export_one(make_net(depth=14), path, *ABOUT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    for fault, told in ((1e-3, r"by 0\.00\d+ of the largest"), (np.nan, "by nan of the largest")):

        def wrong_graph(*arguments, fault=fault):
            symbol, arrays = inference_graph(*arguments)
            bias = next(name for name in arrays if name.endswith("dense0_bias"))
            return symbol, {**arrays, bias: arrays[bias] + fault}

        monkeypatch.setattr("exports.symbol.inference_graph", wrong_graph)
        monkeypatch.setattr(graph, "inference_graph", wrong_graph)
        with pytest.raises(InputError, match=told):
            export_one(net, path, *ABOUT)
    assert files_in(tmp_path) == before


def test_run_is_exported_with_its_errors_and_its_source(finished_run):
    facts = json.loads((finished_run / "export" / "model.json").read_text())
    results = json.loads((finished_run / "results.json").read_text())
    source = (finished_run / "checkpoints" / facts["source"]["checkpoint"]).read_bytes()
    assert hashlib.sha256(source).hexdigest() == facts["source"]["sha256"]
    assert (facts["run"], facts["model"]) == (results, "resnet20_sd")
    model = onnx.load(str(finished_run / "export" / "model.onnx"))
    metadata = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    assert metadata == {key: value for key, value in facts.items() if key != "sha256"}


def test_checkpoint_is_exported_to_a_folder_of_choice(finished_run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(max((finished_run / "checkpoints").glob("epoch-*")))
    assert export.main([".", "--out", str(tmp_path)]) == 0
    assert str(tmp_path / "model-symbol.json") in capsys.readouterr().out


def test_an_onnx_without_what_mxnet_takes_from_it_is_told(tmp_path, monkeypatch):
    monkeypatch.delattr(onnx, "mapping", raising=False)
    monkeypatch.setitem(sys.modules, "onnx.mapping", None)  # as from 1.19 on
    with pytest.raises(InputError, match=r"cannot use onnx \d.*requirements/common\.txt"):
        export_onnx(make_net(depth=8), tmp_path / "model.onnx", *ABOUT)
    assert not list(tmp_path.iterdir())
