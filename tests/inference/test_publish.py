"""Weights that are kept here are whole, small, and reach what the table says."""

from __future__ import annotations

import hashlib
import json

from runtime import mx

import exported
import numpy as np
import pytest

import datasets
import models
from errors import InputError
from inference.classifiers import open_classifier
from inference.publish import main, publish
from weights import pretrained
from weights.parameters import named_parameters
from weights.params_file import read_params


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Keep what is published out of the repository; return the folder."""
    (tmp_path / "table.json").write_text("[]")
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path)
    monkeypatch.setattr(datasets, "get_dataset", lambda *_: exported.small_data())
    return tmp_path


@pytest.fixture(scope="session")
def plain_run(tmp_path_factory):
    """Return a run of a model as the registry has it."""
    folder = tmp_path_factory.mktemp("runs")
    return exported.train_run(folder, "plain", depth=None, epochs=1, batch_size=60)


@pytest.mark.parametrize("row", pretrained.read_table(), ids=lambda row: row["model"])
def test_files_are_those_of_the_table(row):
    data = (pretrained.FOLDER / row["file"]).read_bytes()
    assert len(data) == row["bytes"] <= 2_000_000
    assert hashlib.sha256(data).hexdigest() == row["sha256"]
    net = models.get_model(row["model"], len(row["classes"]), pretrained=True)
    low, high = row["test"]["top1_error_interval"]
    assert low <= row["test"]["top1_error"] < high
    assert net(mx.nd.zeros((2, 3, 32, 32))).shape == (2, len(row["classes"]))


@pytest.mark.parametrize("row", pretrained.read_table(), ids=lambda row: row["model"])
def test_weights_reach_what_the_table_says(row):
    if row["facts"]["data"]["name"] != "shapes":
        pytest.skip("only the embedded images are here")
    test = datasets.get_dataset("shapes").test
    images, labels = test.images[:300], test.labels[:300]
    found = open_classifier(row["model"]).probabilities(images).argmax(axis=1)
    # Four deviations around the table's error: chance is one in 15,000.
    error = row["test"]["top1_error"]
    assert abs((found != labels).mean() - error) <= 4 * np.sqrt(error * (1 - error) / 300) + 1e-3


def test_published_run_is_rounded_measured_and_loaded_by_name(table, plain_run, capsys):
    assert main([str(plain_run), "--note", "a camera | or two"]) == 0
    assert "error" in capsys.readouterr().out
    (row,) = json.loads((table / "table.json").read_text())
    assert row["model"] == "resnet20_sd"
    assert row["test"]["images"] == exported.TEST
    told = (table / "README.md").read_text()
    assert "resnet20_sd" in told
    assert r"shapes, a camera \| or two |" in told
    saved = read_params((table / row["file"]).read_bytes(), "file")
    assert {value.dtype for value in saved.values()} == {np.dtype("float16")}
    net = models.get_model("resnet20_sd", pretrained=True)
    assert net.output.weight.data().dtype == np.float32
    classifier, test = open_classifier("resnet20_sd"), exported.small_data().test
    assert classifier.classes == exported.small_data().classes
    wrong = (classifier.probabilities(test.images).argmax(axis=1) != test.labels).mean()
    assert wrong == pytest.approx(row["test"]["top1_error"])
    publish(plain_run)
    assert len(json.loads((table / "table.json").read_text())) == 1


def test_weights_for_other_classes_are_replaced_only_when_told(table, plain_run, capsys):
    row = publish(plain_run)
    (table / "table.json").write_text(json.dumps([{**row, "classes": ["cat", "dog", "owl"]}]))
    before = {path.name: path.read_bytes() for path in table.iterdir()}
    assert main([str(plain_run)]) == 2
    assert "is kept with other classes (cat, dog, owl …)" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in table.iterdir()} == before
    assert main([str(plain_run), "--replace"]) == 0


def test_pretrained_net_of_other_classes_has_a_new_output_layer(caplog):
    row = pretrained.read_table()[0]
    net = models.get_model(row["model"], classes=3, pretrained=True)
    assert f"{len(row['classes'])} classes apart, not 3: the output layer is new" in caplog.text
    assert net(mx.nd.zeros((2, 3, 32, 32))).shape == (2, 3)
    assert net.output.weight.data().asnumpy().any()
    arrays = read_params((pretrained.FOLDER / row["file"]).read_bytes(), "file")
    for name, parameter in named_parameters(net).items():
        if not name.startswith("output."):
            np.testing.assert_array_equal(parameter.data().asnumpy(), arrays[name], name)


def test_models_with_weights_are_listed():
    names = models.list_models(pretrained=True)
    assert {*pretrained.names(), "cifar_resnet20_v1"} <= set(names) < set(models.list_models())
    found = models.list_models("densenet*", pretrained=True)
    assert found == [name for name in names if name.startswith("densenet")]


def test_weights_that_are_not_those_of_the_table_are_refused(table, plain_run):
    row = publish(plain_run)
    path = table / row["file"]
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match="is damaged"):
        models.get_model("resnet20_sd", pretrained=True)
    path.unlink()
    with pytest.raises(InputError, match="cannot read"):
        models.get_model("resnet20_sd", pretrained=True)


def test_model_without_weights_is_refused(table, plain_run):
    with pytest.raises(InputError, match="no pretrained weights of 'resnet1202'"):
        models.get_model("resnet1202", pretrained=True)
    publish(plain_run)
    with pytest.raises(InputError, match="did you mean resnet20_sd"):
        models.get_model("resnet20", pretrained=True)


def test_run_that_cannot_be_kept_is_refused(table, plain_run, finished_run, monkeypatch):
    with pytest.raises(InputError, match="'depth': 8"):
        publish(finished_run)
    monkeypatch.setattr(pretrained, "MAX_BYTES", 1000)
    with pytest.raises(InputError, match="more than the 1,000"):
        publish(plain_run)
    assert [path.name for path in table.iterdir()] == ["table.json"]


def test_weights_stay_when_new_ones_cannot_be_measured(table, plain_run, monkeypatch):
    row = publish(plain_run)
    before = {path.name: path.read_bytes() for path in table.iterdir()}
    assert row["file"] in before

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("inference.publish._measure", interrupt)
    with pytest.raises(KeyboardInterrupt):
        publish(plain_run)
    assert {path.name: path.read_bytes() for path in table.iterdir()} == before
