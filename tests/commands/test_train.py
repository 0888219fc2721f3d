"""The training script as a user runs it: what it leaves behind, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest
import tiny_train

import models
import train_cifar10
from datasets.augment import Augmentation
from records.checkpoints import find
from records.config import make_config
from training import run

pytestmark = pytest.mark.usefixtures("tiny_images")
TINY = ["--dataset", "shapes", "--batch-size", "16", "--epochs", "2", "--ctx", "cpu"]
SMALL = ["--model", "densenet_bc40_k16", "--depth", "16"]
COMMAND = [sys.executable, tiny_train.__file__, *TINY, *SMALL]


def flags(folder, log_interval):
    return [
        *("--val-size", "32", "--log-interval", str(log_interval)),
        *("--run-dir", str(folder), "--name", "a"),
    ]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Run the whole thing once, as a command; return its folder and what it printed."""
    folder = tmp_path_factory.mktemp("runs")
    done = subprocess.run([*COMMAND, *flags(folder, 2)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return folder / "a", done.stdout.splitlines()


def test_a_run_says_what_it_does_and_leaves_a_folder_with_the_net_that_validated_best(finished):
    folder, lines = finished
    assert lines[0].startswith("DenseNet-BC-16, k=16 on shapes: 77,898 parameters")
    assert any("epoch 1/2 step" in line and "images/s" in line for line in lines)
    assert any(line.startswith("epoch 2/2: training loss") for line in lines)
    assert lines[-2].startswith("test error: ")
    assert lines[-1] == f"run folder: {folder}"
    assert lines[-2] in (folder / "train.log").read_text()

    config = json.loads((folder / "config.json").read_text())
    assert {"config", "data", "versions", "host", "git", "command", "parameters"} <= set(config)
    history = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in history] == [1, 2]
    best = max(history, key=lambda line: (line["val_acc"], -line["epoch"]))["epoch"]
    results = json.loads((folder / "results.json").read_text())
    assert results["best_epoch"] == find(folder).progress.best_epoch == best
    assert list((folder / "tensorboard").glob("events.out.tfevents.*"))
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_goes_on_when_nobody_reads_its_output_any_more(tmp_path):
    command = [*COMMAND, *flags(tmp_path, 1)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        while "epoch 1/2 step" not in process.stdout.readline():
            assert process.poll() is None, process.stderr.read()
        process.stdout.close()
        process.stderr.close()
        assert process.wait() == 0
    assert (tmp_path / "a" / "results.json").is_file()
    assert "run folder: " in (tmp_path / "a" / "train.log").read_text()


REFUSALS = [
    (["--dataset", "shape"], "did you mean shapes"),
    (["--dataset", "data/cifar10"], "did you mean cifar10"),  # nor does it make a folder for that
    (["--accumulate", "3"], "into 3 equal parts"),
    (["--val-size", "160"], "validation"),
    (["--run-dir", "/dev/null"], "cannot write /dev/null"),
    (["--resume", "nowhere"], "nowhere/config.json cannot be read"),
    (["--kvstore", "dist_sync"], "training.launch"),
    (["--freeze", "all"], "--freeze all: choose features or a number of groups"),
    (
        ["--model", "resnet20", "--freeze", "4"],
        "the net has 3 groups, and with more frozen nothing",
    ),
    (["--nonsense"], "--nonsense"),
]


@pytest.mark.parametrize(("wrong", "told"), REFUSALS, ids=lambda value: str(value)[:30])
def test_what_cannot_work_is_refused_in_one_line(wrong, told, tmp_path, refused, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert told in refused(train_cifar10.main, [*TINY, "--val-size", "32", *wrong])
    assert list(tmp_path.glob("runs/*")) == []


def test_a_folder_with_a_run_in_it_is_left_alone(finished, capsys):
    folder, _ = finished
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert train_cifar10.main([*TINY, *SMALL, *flags(folder.parent, 2)]) == 2
    assert f"--resume {folder}" in capsys.readouterr().err
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


VARIANTS = [
    ["--model", "cifar_resnet20_v1", "--val-size", "0"],
    ["--no-hybridize", "--cutout", "8", "--cutmix", "1", "--label-smoothing", "0.1", *SMALL],
    [
        *("--model", "resnet20_sd", "--depth", "8", "--gpus", "0,1", "--accumulate", "2"),
        *("--clip-grad", "1", "--no-decay-norm"),
    ],
]


@pytest.mark.parametrize("variant", VARIANTS, ids=["GluonCV", "imperative", "in parts"])
def test_every_way_of_training_comes_to_its_end(variant, tmp_path, monkeypatch):
    drawn, draw_gates = [], models.draw_gates
    monkeypatch.setattr(
        models, "draw_gates", lambda net, *place: drawn.append(place) or draw_gates(net, *place)
    )
    flags = ["--val-size", "32", "--batch-size", "32", "--epochs", "1", "--run-dir", str(tmp_path)]
    assert train_cifar10.main([*TINY, *flags, "--name", "run", *variant]) == 0
    assert json.loads((tmp_path / "run" / "results.json").read_text())["epochs"] == 1
    # Each step drops blocks of its own, and all devices and workers the same.
    assert drawn == [(0, step) for step in range(5 if "0" in variant else 4)]


def test_the_last_epochs_may_do_with_crop_and_flip_alone():
    options = {"cutout": 16, "mixup": 1.0, "cutmix": 0.5, "label_smoothing": 0.1}
    for no_augment in (False, True):
        plain = Augmentation(crop=not no_augment, flip=not no_augment)
        config = make_config(epochs=5, augment_off_epochs=2, no_augment=no_augment, **options)
        whole = dataclasses.replace(plain, **options)
        seen = [run.augmentation_of(config, epoch) for epoch in range(5)]
        assert seen == [whole, whole, whole, plain, plain]
