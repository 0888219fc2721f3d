"""A run that starts from weights: what it takes, what it refuses, and how it goes on."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from image_files import write_folder
from stopped_runs import assert_same, resume, stopped_after

import datasets
import models
import train_cifar10
from errors import InputError
from figures.curves import read_history
from inference.trained import load_trained
from records.checkpoints import find
from records.flags import parse_args
from training import run
from training.train import train
from weights.parameters import named_parameters

pytestmark = pytest.mark.usefixtures("tiny_images")
GLUONCV = "cifar_resnet20_v1"
CLASSES = ["circle", "square", "triangle"]


def test_ten_classes_become_three_of_ones_own(tmp_path, monkeypatch):
    data, splits = datasets.get_dataset("shapes"), []
    numbers = [data.classes.index(name) for name in CLASSES]
    for split, count in ((data.train, 20), (data.test, 10)):
        chosen = np.concatenate([np.flatnonzero(split.labels == n)[:count] for n in numbers])
        labels = np.repeat(np.arange(3, dtype=np.int32), count)
        splits.append(datasets.Split(split.images[chosen], labels))
    write_folder(tmp_path / "three", *splits, CLASSES)
    flags = ["--model", "densenet_bc40_k16", "--init-from", "densenet_bc40_k16"]
    flags += ["--dataset", "folder", "--data-dir", str(tmp_path / "three"), "--val-size", "0"]
    flags += ["--freeze", "features", "--ema", "0.9", "--epochs", "4", "--batch-size", "12"]
    flags += ["--run-dir", str(tmp_path), "--name", "run"]
    monkeypatch.setattr(run, "get_dataset", datasets.get_dataset)
    assert train_cifar10.main(flags) == 0
    folder = tmp_path / "run"
    losses = [epoch["train_loss"] for epoch in read_history(folder)]
    assert losses == sorted(losses, reverse=True)
    told = "densenet_bc40_k16: {} arrays taken, 2 left, 2 made anew (output.weight, output.bias)"
    source = load_trained("densenet_bc40_k16")
    given, best = named_parameters(source.net), find(folder).arrays("best.params")
    assert told.format(len(given) - 2) in (folder / "train.log").read_text()
    for name, parameter in given.items():
        if not name.startswith("output."):
            np.testing.assert_array_equal(best[name], parameter.data().asnumpy())
    described = json.loads((folder / "config.json").read_text())
    assert described["init"]["source"] == "densenet_bc40_k16"
    assert described["init"]["sha256"] == source.facts["source"]["sha256"]
    assert described["data"]["mean"] == source.normaliser.to_dict()["mean"]
    graph = (folder / "export" / "model-symbol.json").read_text()
    assert "use_global_stats" not in graph


def test_it_resumes_to_the_bit_without_its_source(tmp_path, finished_run):
    source = shutil.copytree(finished_run, tmp_path / "source")
    recipe = ["--preset", str(finished_run / "config.json"), "--batch-size", "24", "--epochs", "1"]
    flags = [*recipe, "--init-from", str(source), "--freeze", "1", "--ema", "0.9"]
    flags += [*("--accumulate", "2", "--gpus", "0,1", "--ctx", "cpu", "--run-dir", str(tmp_path))]
    train(parse_args([*flags, "--name", "whole"]))
    with stopped_after(3):
        train(parse_args([*flags, "--name", "run"]))
    shutil.rmtree(source)
    folder, first = tmp_path / "run", "epoch-00000-step-000000"
    killed = shutil.copytree(folder, tmp_path / "killed")  # before it saved anything but its start
    shutil.rmtree(find(killed).path)
    assert find(killed).path.name == first
    resume(folder)
    resume(killed)
    assert_same(folder, tmp_path / "whole")
    assert_same(killed, tmp_path / "whole")
    shutil.rmtree(killed / "checkpoints")  # as if killed even before that
    with pytest.raises(InputError, match="before it had saved the weights of"):
        resume(killed)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--model", "densenet40_k12", "--init-from", "resnet20"], "of another net: 2 of"),
        (["--model", "resnet20", "--init-from", "nowhere"], "nowhere is no run folder"),
        (["--model", "resnet20", "--init-from", "resnet21"], "did you mean resnet20, resnet56?"),
        (["--model", GLUONCV, "--init-from", GLUONCV], "cannot get GluonCV"),
        (["--model", "resnet20", "--init-from", "bad.params"], "is not a whole parameter file"),
        (["--model", "resnet20", "--init-from", "inf.params"], "features.0.weight is not finite"),
    ],
)
def test_bad_sources_cost_one_line(flags, told, tmp_path, monkeypatch, refused):
    monkeypatch.setenv("MXNET_GLUON_REPO", "http://127.0.0.1:9")  # where nobody answers
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.params").write_bytes(b"nonsense")
    if "inf.params" in flags:
        net = models.get_model("resnet20")
        models.initialize(net)
        net.features[0].weight.set_data(net.features[0].weight.data() * np.inf)
        net.save_parameters("inf.params")
    flags = [*flags, "--dataset", "shapes", "--run-dir", "runs"]
    assert told in refused(train_cifar10.main, flags)
    assert not list((tmp_path).glob("runs/*"))
