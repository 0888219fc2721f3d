"""Weights that are kept here are whole, small, and reach what the table says."""

from __future__ import annotations

import dataclasses
import shutil

from runtime import mx

import numpy as np
import pytest
from tiny_train import TEST, tiny_shapes

import datasets
import models
from errors import InputError
from inference import publish as publishing
from inference.classifiers import open_classifier
from inference.publish import describe, main, publish
from weights import pretrained
from weights.parameters import get_parameters
from weights.params_file import read_params

ROWS = pretrained.read_table()
# Of three classes, for an image of noise: what each net has said of it since it is kept.
LOGITS = {
    "densenet_bc40_k16": (-0.6097, -0.5080, 1.0426),
    "resnet20": (-0.3187, -0.1572, 1.7604),
    "resnet56": (-0.4530, -1.0842, 0.5142),
}


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Keep what is published out of the repository; return the folder."""
    (tmp_path / "table.json").write_text("[]")
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path)
    monkeypatch.setattr(datasets, "get_dataset", tiny_shapes)
    return tmp_path


def edit_config(run, old, new):
    path = run / "config.json"
    path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["model"])
def test_kept_nets_are_those_of_the_table_and_say_what_they_have_always_said(row):
    assert (pretrained.FOLDER / row["file"]).stat().st_size == row["bytes"] < 2_000_000
    assert (pretrained.FOLDER / "README.md").read_text() == describe(ROWS)
    assert row["sha256"]
    assert LOGITS.keys() == {each["model"] for each in ROWS}
    net = models.get_model(row["model"], pretrained=True)  # which checks the file's SHA-256
    image = mx.nd.array(np.random.RandomState(0).randn(2, 3, 32, 32))
    np.testing.assert_allclose(net(image)[0, :3].asnumpy(), LOGITS[row["model"]], atol=1e-3)


def test_published_run_is_rounded_measured_and_loaded_by_name(table, finished_run, capsys):
    assert main([str(finished_run), "--note", "a camera |\nor two"]) == 0
    assert "error" in capsys.readouterr().out
    (row,) = pretrained.read_table()
    assert row["model"] == "resnet20_sd"
    assert row["test"]["images"] == TEST
    assert r"| shapes, a camera \| or two |" in (table / "README.md").read_text()
    saved = read_params((table / row["file"]).read_bytes(), "file")
    assert {value.dtype for value in saved.values()} == {np.dtype("float16")}
    net = models.get_model("resnet20_sd", pretrained=True)
    assert net.output.weight.data().dtype == np.float32
    classifier, data = open_classifier("resnet20_sd"), tiny_shapes("shapes")
    assert classifier.classes == data.classes
    wrong = (classifier.probabilities(data.test.images).argmax(axis=1) != data.test.labels).mean()
    assert wrong == pytest.approx(row["test"]["top1_error"])
    publish(finished_run)
    assert len(pretrained.read_table()) == 1


def test_what_a_name_leaves_open_is_as_it_was_in_training(table, finished_run, tmp_path_factory):
    run = shutil.copytree(finished_run, tmp_path_factory.mktemp("run") / "run")
    edit_config(run, '"final_survival_prob": null', '"final_survival_prob": 0.8')
    publish(run)
    assert models.get_model("resnet20_sd", pretrained=True).survival_probs[-1] == 0.8
    net = models.get_model("resnet20_sd", pretrained=True, final_survival_prob=1)
    assert not net.drops
    assert models.get_model("resnet20_sd").survival_probs[-1] == 0.5


def test_pretrained_net_of_other_classes_has_a_new_output_layer(caplog):
    row = ROWS[0]
    net = models.get_model(row["model"], classes=3, pretrained=True)
    assert f"{len(row['classes'])} classes apart, not 3: the output layer is new" in caplog.text
    assert net(mx.nd.zeros((2, 3, 32, 32))).shape == (2, 3)
    arrays = read_params((pretrained.FOLDER / row["file"]).read_bytes(), "file")
    for name, value in get_parameters(net).items():
        if name.startswith("output."):
            assert len(value) == 3
        else:
            np.testing.assert_array_equal(value, arrays[name], name)
    assert net.output.weight.data().asnumpy().any()


def test_models_with_weights_are_listed():
    names = models.list_models(pretrained=True)
    assert {*pretrained.names(), "cifar_resnet20_v1"} <= set(names) < set(models.list_models())
    found = models.list_models("densenet*", pretrained=True)
    assert found == [name for name in names if name.startswith("densenet")]


def test_weights_that_are_damaged_or_not_there_are_refused(table, finished_run):
    path = table / publish(finished_run)["file"]
    with pytest.raises(InputError, match="no pretrained weights of 'resnet20': did you mean resn"):
        models.get_model("resnet20", pretrained=True)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match="is damaged"):
        models.get_model("resnet20_sd", pretrained=True)
    path.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        models.get_model("resnet20_sd", pretrained=True)


def of_gluoncv(run, patch):
    edit_config(run, '"resnet20_sd"', '"cifar_resnet20_v1"')
    patch.setattr("inference.trained.set_parameters", lambda *_: None)


def on_other_data(run, patch):
    other = dataclasses.replace(tiny_shapes("shapes"), fingerprint="b" * 64)
    patch.setattr(datasets, "get_dataset", lambda *_: other)


def with_large_weights(run, patch):
    patch.setattr(publishing, "get_parameters", lambda net: {"w": np.array([1e6], "f")})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda run, patch: (run / "results.json").unlink(), "is not finished"),
        (lambda run, _: edit_config(run, '"depth": null', '"depth": 20'), "'depth': 20"),
        (of_gluoncv, "cifar_resnet20_v1, which is not of this project"),
        (on_other_data, "has changed: put it back"),
        (with_large_weights, "beyond float16's range"),
    ],
)
def test_a_run_that_cannot_be_kept_is_refused_and_what_was_kept_stays(
    table, finished_run, tmp_path_factory, monkeypatch, refused, change, words
):
    run = shutil.copytree(finished_run, tmp_path_factory.mktemp("run") / "run")
    change(run, monkeypatch)
    assert words in refused(main, [str(run)])
    assert [(path.name, path.read_text()) for path in table.iterdir()] == [("table.json", "[]")]
