"""A classifier is measured on every image, on those it was not trained on, in any form it has."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from small_nets import build
from tiny_train import TEST, VALIDATION, tiny_shapes

import datasets
import evaluate as command
from errors import InputError
from exports.symbol import export_symbol
from inference.classifiers import Classifier, open_classifier
from inference.evaluation import evaluate
from inference.metrics import cross_entropy, measure


@pytest.fixture
def data(monkeypatch):
    """Make `evaluate` find the few images that the run was trained on."""
    small = tiny_shapes("shapes")
    monkeypatch.setattr(datasets, "get_dataset", lambda *_: small)
    return small


@pytest.mark.parametrize(
    "form", ["", "export/model.json", "export/model.onnx", "checkpoints/{newest}"]
)
def test_every_form_of_a_run_has_the_errors_of_the_run(finished_run, data, form):
    newest = max((finished_run / "checkpoints").glob("epoch-*")).name
    result = evaluate([str(finished_run / form.format(newest=newest))])
    (model,) = result["models"]
    results = json.loads((finished_run / "results.json").read_text())
    assert model["images"] == len(data.test)
    assert model["top1_error"] == pytest.approx(1 - results["test_acc_best"])
    assert model["loss"] == pytest.approx(results["test_loss_best"], rel=1e-4)
    assert model["model"] == "resnet20_sd"
    assert result["ensemble"] is None


def test_validation_images_are_those_of_the_run(finished_run, data):
    (model,) = evaluate([str(finished_run)], split="val")["models"]
    results = json.loads((finished_run / "results.json").read_text())
    assert model["images"] == VALIDATION
    assert model["top1_error"] == pytest.approx(1 - results["val_acc_best"])


def test_an_ensemble_is_the_mean_over_models_and_mirror_images(
    finished_run, data, tmp_path, monkeypatch
):
    other = build("resnet20")
    about = {"extra": {"data": open_classifier(finished_run).facts["data"]}}
    export_symbol(other, tmp_path, data.classes, data.normaliser, **about)
    runs = [str(finished_run), str(tmp_path)]
    views = (data.test.images, np.ascontiguousarray(data.test.images[..., ::-1]))
    opened = {run: open_classifier(run) for run in runs}
    monkeypatch.setattr("inference.evaluation.open_classifier", lambda run, _: opened[run])
    answers = [opened[run].probabilities(view) for run in runs for view in views]
    ensemble = evaluate(runs, flip=True)["ensemble"]
    wrong = (np.mean(answers, axis=0).argmax(axis=1) != data.test.labels).mean()
    assert ensemble["top1_error"] == pytest.approx(wrong)
    assert ensemble["loss"] == pytest.approx(
        cross_entropy(np.mean(answers, axis=0), data.test.labels)
    )


OTHER = "b" * 64


@pytest.mark.parametrize(
    ("of_data", "others", "options", "words"),
    [
        ({"fingerprint": OTHER}, {}, {}, "trained on other data"),
        ({"fingerprint": OTHER}, {}, {"split": "val", "other_data": True}, "trained on other data"),
        ({"split": OTHER}, {}, {"split": "val"}, "trained on another split"),
        ({"train_size": 20}, {}, {"split": "val"}, "trained on another split"),
        ({"val_size": "many"}, {}, {}, "does not say what it was trained on"),
        ({"val_size": float("inf")}, {}, {}, "does not say what it was trained on"),
        ({"seed": -1}, {}, {}, "does not say what it was trained on"),
        ({}, {"classes": [*"abcdefghij"]}, {}, "tells other classes apart"),
    ],
)
def test_images_it_may_have_been_trained_on_are_refused(
    finished_run, data, monkeypatch, of_data, others, options, words
):
    facts = json.loads((finished_run / "export" / "model.json").read_text())
    facts = {**facts, "data": {**facts["data"], **of_data}, **others}
    net = Classifier(tuple(facts["classes"]), facts, lambda images: pytest.fail("it is refused"))
    monkeypatch.setattr("inference.evaluation.open_classifier", lambda *_: net)
    with pytest.raises(InputError, match=words):
        evaluate(["it"], **options)


def test_members_that_hold_other_images_out_are_refused_also_where_labels_agree(
    finished_run, data, monkeypatch
):
    data = dataclasses.replace(data, train=data.train.take(np.argsort(data.train.labels)))
    monkeypatch.setattr(datasets, "get_dataset", lambda *_: data)
    opened = open_classifier(finished_run)

    def of_seed(seed, *_):
        *_, split = datasets.split_validation(data.train, VALIDATION, int(seed))
        facts = {**opened.facts["data"], "seed": int(seed), "split": split}
        return dataclasses.replace(opened, facts={"data": facts})

    monkeypatch.setattr("inference.evaluation.open_classifier", of_seed)
    assert evaluate(["1", "1"], split="val")["ensemble"]
    with pytest.raises(InputError, match="trained on different splits"):
        evaluate(["1", "2"], split="val")


def test_test_images_of_other_data_are_found_and_measured_when_told(
    finished_run, data, monkeypatch
):
    opened = dataclasses.replace(open_classifier(finished_run), data_dir="photos")
    other, asked = dataclasses.replace(data, fingerprint=OTHER), []
    monkeypatch.setattr("inference.evaluation.open_classifier", lambda *_: opened)
    monkeypatch.setattr(datasets, "get_dataset", lambda *given: asked.append(given) or other)
    for dataset in (None, "cifar10"):
        (model,) = evaluate(["it"], dataset, other_data=True)["models"]
        assert model["images"] == TEST
    assert asked == [("shapes", "photos"), ("cifar10", None)]


def test_names_of_classes_do_not_steer_the_terminal():
    row = measure(np.eye(2), np.array([0, 1]), ["\x1b[2Jcat\nok", "猫"])
    about = {"dataset": "folder", "split": "test", "flip": False, "ensemble": None}
    lines = command.report({**about, "models": [{"source": "runs/a", "model": "m", **row}]})
    assert "    \\x1b[2Jcat\\nok   0.00 %\n" in lines
    assert "    猫 " in lines


def test_json_and_picture_from_the_command_line(finished_run, data, tmp_path, capsys):
    picture = tmp_path / "confusion.png"
    run = str(finished_run)
    assert command.main([run, "--json", "--plot", str(picture)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert np.sum(result["models"][0]["confusion"]) == TEST
    assert 0 <= result["models"][0]["top1_error_interval"][0] < result["models"][0]["top1_error"]
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert command.main([run, "--flip"]) == 0
    assert "top-1 error" in capsys.readouterr().out
