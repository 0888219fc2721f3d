"""A run that is stopped and resumed is, to the bit, the run that never stopped."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

from runtime import mx

import numpy as np
import pytest
from stopped_runs import FLAGS, assert_same, metrics, resume, start, stopped_after
from tiny_train import tiny_shapes

import train_cifar10
from compiler import has_bfloat16
from errors import InputError
from figures.summary import read_run
from inference.logits import evaluate_net
from inference.trained import load_trained
from records.checkpoints import find
from records.flags import parse_args
from training import run
from training.distributed import Workers
from training.resumption import identity
from training.train import train

pytestmark = pytest.mark.usefixtures("tiny_images")
OLD_RUNS = Path(__file__).parent / "old_runs"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, tiny_images):
    """Return the folder of a run with everything that is drawn or averaged, never stopped."""
    folder = tmp_path_factory.mktemp("undisturbed")
    start(folder, "--ema", "0.8")
    return folder / "run"


@pytest.fixture
def folder(tmp_path, undisturbed):
    """Return a copy of it."""
    return shutil.copytree(undisturbed, tmp_path / "run")


def test_the_same_settings_read_from_a_runs_config_give_the_same_bits(tmp_path, undisturbed):
    recipe = ["--preset", str(undisturbed / "config.json"), "--run-dir", str(tmp_path)]
    train(parse_args([*recipe, "--name", "again"]))
    assert_same(tmp_path / "again", undisturbed)
    described = json.loads((tmp_path / "again" / "config.json").read_text())
    assert described["config"]["preset"] == recipe[1]
    assert resume(tmp_path / "again")["epochs"] == 3


def test_stopped_at_every_kind_of_step(tmp_path, undisturbed):
    folder = tmp_path / "run"
    with stopped_after(1):
        start(tmp_path, "--ema", "0.8")
    before = find(folder).files["best.params"]
    with stopped_after(1):
        resume(folder)
    assert find(folder).files["best.params"] != before  # the newest is the best in the first epoch
    for steps in (1, 3, 1, 4, 2):  # within an epoch, at its last step, and just after it
        with stopped_after(steps):
            resume(folder)
    resume(folder)
    assert_same(folder, undisturbed)
    described = json.loads((folder / "config.json").read_text())
    assert len(described["resumed"]) == 7


def test_mixed_precision_resumes_to_the_bit(tmp_path, monkeypatch):
    flags = ["--amp", "--dropout", "0", "--epochs", "1"]
    start(tmp_path, *flags, name="whole")
    with stopped_after(2):
        start(tmp_path, *flags)
    resume(tmp_path / "run")
    assert_same(tmp_path / "run", tmp_path / "whole")
    path = tmp_path / "run" / "config.json"
    precision = "bfloat16" if has_bfloat16() else "float32"
    assert json.loads(path.read_text())["precision"] == precision
    monkeypatch.setattr("compiler.has_bfloat16", lambda: not has_bfloat16())
    with pytest.raises(InputError, match=f"precision was {precision}, is"):
        resume(tmp_path / "run")


def test_a_killed_run_catches_up_and_a_damaged_checkpoint_costs_an_epoch_and_no_more(
    folder, undisturbed, capsys
):
    (folder / "metrics.jsonl").write_text('{"half a line')
    (folder / "metrics.csv").unlink()  # killed between the two, in a run's first epoch
    shutil.rmtree(folder / "export")
    newest = max((folder / "checkpoints").iterdir())
    (newest / "net.params").write_bytes(b"nonsense")
    resume(folder)
    assert f"checkpoint {newest.name} is passed over" in capsys.readouterr().out
    assert_same(folder, undisturbed)


def test_more_epochs_may_be_asked_for(folder, undisturbed):
    with pytest.raises(InputError, match="add --lr-schedule cosine"):
        resume(folder, "--epochs", "4")
    assert metrics(folder) == metrics(undisturbed)
    assert resume(folder, "--epochs", "4", "--lr-schedule", "cosine")["epochs"] == 4
    assert metrics(folder)[:3] == metrics(undisturbed)
    assert json.loads((folder / "config.json").read_text())["config"]["epochs"] == 4
    told = "4 epochs instead of 3: the learning rate goes on at 0.010543, it has come to 0\n"
    assert told in (folder / "train.log").read_text()


def test_a_tenth_is_held_out_unless_told_and_the_data_is_known_from_everywhere(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    config = dataclasses.replace(parse_args([*FLAGS, "--data-dir", "data"]), val_size=None)
    described = run.build(config, Workers("device")).description()
    assert described["config"]["val_size"] == described["data"]["val"] == 16
    assert described["config"]["data_dir"] == str(tmp_path / "data")


def test_a_run_from_when_5000_images_were_the_default_is_still_known():
    config = parse_args(["--model", "resnet20", "--val-size", "5000"]).to_dict()
    data = {"fingerprint": "f", "split": "s"}
    described = {"config": config, "data": data, "workers": 1, "devices": 1}
    assert identity(described).startswith("c78f40f196c29147")


def test_runs_of_older_versions_resume_and_load(tmp_path):
    """Two of one recipe, kept as they were written; one was stopped in its second epoch."""
    folders = [tmp_path / name for name in ("finished", "stopped")]
    for folder in folders:
        shutil.copytree(OLD_RUNS / folder.name, folder)
    trained = load_trained(folders[0])
    assert trained.facts["run"]["best_epoch"] == 2
    found = evaluate_net(trained.net, tiny_shapes("shapes").test, trained.normaliser, [mx.cpu()])
    assert found["loss"] == pytest.approx(trained.facts["run"]["test_loss_best"], rel=1e-5)
    assert load_trained(folders[1]).facts["run"] == {}
    results = resume(folders[1])
    assert results["test_loss_last"] == pytest.approx(
        resume(folders[0])["test_loss_last"], rel=1e-3
    )
    one, other = metrics(folders[0]), metrics(folders[1])
    assert [line["epoch"] for line in other] == [1, 2, 3]
    for name in ("train_loss", "val_loss"):
        assert other[2][name] == pytest.approx(one[2][name], rel=1e-3)


def test_results_are_of_the_last_epoch_and_of_the_weights_beside_them(folder, undisturbed):
    results = json.loads((folder / "results.json").read_text())
    assert load_trained(folder).facts["run"] == results
    (folder / "results.json").write_text(json.dumps({**results, "sha256": "0" * 64}))
    assert load_trained(folder).facts["run"] == {}
    with stopped_after(1):
        resume(folder, "--epochs", "5", "--lr-schedule", "cosine")
    assert not (folder / "results.json").exists()
    # As a run that was killed left it when results outlived a resume.
    shutil.copy(undisturbed / "results.json", folder)
    assert not read_run(folder).finished
    assert load_trained(folder).facts["run"] == {}  # `publish` refuses a run without results


def test_a_run_whose_folder_is_gone_ends_at_the_next_write(tmp_path, monkeypatch, refused):
    def remove(*arguments):
        shutil.rmtree(tmp_path / "run")
        return augmentation_of(*arguments)

    augmentation_of = run.augmentation_of
    monkeypatch.setattr("training.epoch.augmentation_of", remove)
    flags = [*FLAGS, "--run-dir", str(tmp_path), "--name", "run"]
    assert "No such file or directory" in refused(train_cifar10.main, flags)
    assert list(tmp_path.iterdir()) == []


def test_it_goes_on_in_another_place_and_on_another_device(tmp_path, undisturbed, monkeypatch):
    with stopped_after(2):
        start(tmp_path, "--ema", "0.8")
    folder = tmp_path / "there" / "moved"
    folder.parent.mkdir()
    (tmp_path / "run").rename(folder)
    place = ["--run-dir", str(folder.parent), "--name", "moved", "--ctx", "cpu", "--gpus", "1"]
    with stopped_after(2):
        resume(folder, *place)
    monkeypatch.setattr("runtime.processor_name", lambda: "another")
    resume(folder)
    assert_same(folder, undisturbed)
    *_, last = json.loads((folder / "config.json").read_text())["resumed"]
    assert (last["device"], last["host"]["processor"]) == ("cpu", "another")
    with pytest.raises(InputError, match="devices was 1, is 2"):
        resume(folder, "--gpus", "0,1")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"momentum": 0.9', '"momentum": 0.8', "belongs to another run"),
        ('"fingerprint": "', '"fingerprint": "x', "data fingerprint was x.*, is "),
        ('"parameters": ', '"parameters": 1', "parameters was 1.*, is "),
        ('"data": ', '"data": [], "was": ', "config.json is damaged"),
        ('"workers": ', '"resumed": 5, "workers": ', "config.json is damaged"),
        ('"epochs": 3,', "", "config.json is damaged"),
    ],
    ids=["a setting", "other data", "another net", "data", "parts", "epochs"],
)
def test_a_config_that_was_edited_is_refused(folder, old, new, told):
    text = (folder / "config.json").read_text()
    assert old in text
    (folder / "config.json").write_text(text.replace(old, new))
    with pytest.raises(InputError, match=told):
        resume(folder)
    assert (folder / "config.json").read_text() == text.replace(old, new)
    assert (folder / "results.json").exists()


def test_a_checkpoint_that_does_not_fit_leaves_the_run_as_it_was(folder, monkeypatch):
    def load(*_):
        raise InputError("does not fit")

    before = (folder / "config.json").read_text()
    monkeypatch.setattr("training.state.State.load", load)
    with pytest.raises(InputError, match="does not fit"):
        resume(folder)
    assert (folder / "config.json").read_text() == before
    assert (folder / "results.json").exists()


@pytest.mark.parametrize(
    ("name", "fault", "told"),
    [
        ("run.make_schedule", lambda *_: lambda step: 1e30, "the loss of step"),
        ("train.evaluate_net", lambda *_: {"loss": np.nan}, "on 40 held-out images is nan"),
    ],
    ids=["in training", "in validation"],
)
def test_divergence_ends_the_run_with_advice(tmp_path, name, fault, told, capsys, monkeypatch):
    monkeypatch.setattr(f"training.{name}", fault)
    flags = ["--mixup", "0", "--clip-grad", "1", "--run-dir", str(tmp_path), "--name", "run"]
    assert train_cifar10.main([*FLAGS, *flags]) == 3
    error = capsys.readouterr().err
    assert error.startswith("diverged: ")
    assert error.count("\n") == 1
    for part in (told, "last good checkpoint: none yet", "--clip-grad"):
        assert part in error
