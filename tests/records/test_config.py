"""Flags, presets, what a run is called, and what a resumed one may be told."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest

from errors import InputError
from records import config, naming
from records.config import Config, make_config
from records.flags import parse_args
from records.naming import net_title, new_folder
from records.recipes import PRESETS


def test_a_flag_wins_over_the_preset_and_the_preset_over_the_defaults():
    made = parse_args(["--preset", "stochastic-depth", "--lr", "0.05"])
    assert (made.model, made.batch_size, made.epochs, made.lr) == ("resnet110_sd", 128, 500, 0.05)
    assert made.momentum == Config().momentum


@pytest.mark.parametrize(
    ("model", "preset"),
    [
        ("densenet_bc40_k16", "densenet"),
        ("se_densenet40_k12", "densenet"),
        ("resnet20", "stochastic-depth"),
        ("cifar_resnet20_v1", "stochastic-depth"),
        ("resnet1202_sd", "stochastic-depth-1202"),
    ],
)
def test_the_family_chooses_the_recipe(model, preset):
    made = parse_args(["--model", model])
    assert (made.model, made.preset) == (model, preset)


def test_the_densenet_recipe_is_the_papers():
    made = parse_args(["--model", "densenet"])
    assert (made.batch_size, made.epochs, made.lr, made.momentum) == (64, 300, 0.1, 0.9)
    assert (made.wd, made.lr_milestones, made.val_size) == (1e-4, (0.5, 0.75), 0)
    assert not made.no_decay_norm


def test_every_preset_is_a_whole_run():
    for name in PRESETS:
        assert parse_args(["--preset", name]).preset == name


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--lr", "fast"], "--lr"),
        (["--ctx", "tpu"], "'cpu'"),
        (["--dropout", "nan"], "--dropout"),
        (["--bottleneck", "maybe"], "--bottleneck"),
        (["--gpus", "0,0"], "every device number once"),
        (["--gpus", "0,1000"], "--gpus 1000 is out of range: from 0 to 63"),
        (["--lr-milestones", "0.5,-1"], "--lr-milestones -1.0 is out of range"),
        (["--epochs", "1000000000"], "from 1 to 10,000"),
        (["--epochs", "3", "--warmup-epochs", "3"], "--warmup-epochs"),
        (["--name", "../elsewhere"], "--name"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(arguments, told):
    with pytest.raises(InputError) as refusal:
        parse_args(arguments)
    assert told in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_no_number_is_without_a_limit():
    kinds = (int, float, config.integers, config.numbers)
    fields = [f.name for f in dataclasses.fields(Config) if f.metadata["read"] in kinds]
    assert "epochs" in fields
    for name in fields:
        flag = f"--{name.replace('_', '-')}"
        for huge in ("9" * 400, "1e309", "inf", "nan"):
            with pytest.raises(InputError, match=flag):
                parse_args([flag, huge])


@pytest.fixture
def stopped(tmp_path):
    """Return the flags that resume a run, and the run's config."""
    given = ["--gpus", "0,1", "--lr-milestones", "10,0.9", "--bottleneck", "no", "--epochs", "20"]
    made = parse_args(given)
    (tmp_path / "config.json").write_text(json.dumps({"config": made.to_dict()}))
    return ["--resume", str(tmp_path)], made


def test_resuming_takes_the_runs_own_config_and_more_epochs(stopped):
    resume, made = stopped
    assert parse_args(resume) == dataclasses.replace(made, resume=resume[1])
    assert parse_args([*resume, "--epochs", "30", "--lr-schedule", "step"]).epochs == 30


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ("--epochs 30", "stretches the run's step schedule of 20 epochs"),
        ("--epochs 10", "raised above 20"),
        (
            "--model resnet20 --lr 1 --wd 0.0001",
            "drop --model resnet20 (the run has densenet_bc100_k12), --lr 1.0 (the run has 0.1)",
        ),
    ],
)
def test_flags_that_would_change_the_run_are_refused_and_listed(stopped, flags, told):
    resume, _ = stopped
    with pytest.raises(InputError, match=re.escape(told)):
        parse_args([*resume, *flags.split()])


@pytest.mark.parametrize("data", [b"\xff", b"[" * 100_000, b"[]", b'{"config": 5}'])
def test_a_damaged_config_is_refused(tmp_path, data):
    (tmp_path / "config.json").write_bytes(data)
    with pytest.raises(InputError, match=r"config\.json is damaged"):
        parse_args(["--resume", str(tmp_path)])


@pytest.mark.parametrize(
    ("flags", "title"),
    [
        ("--model densenet", "DenseNet-BC-100, k=12"),
        ("--model densenet_bc40_k16 --depth 16", "DenseNet-BC-16, k=16"),
        ("--model densenet40_k12 --dropout 0.2", "DenseNet-40, k=12, dropout=0.2"),
        (
            "--model densenet --bottleneck no --compression 0.25",
            "DenseNet-C-100, k=12, compression=0.25",
        ),
        ("--model se_densenet40_k12 --bottleneck yes", "SE-DenseNet-B-40, k=12"),
        ("--preset cpu-90min", "ResNet-11, width=2, pooled"),
        ("--model stochastic_depth", "ResNet-110, p_L=0.5"),
        ("--model resnet164 --depth 110", "ResNet-110, pre-activation"),
        ("--model cifar_resnet20_v1", "cifar_resnet20_v1"),
    ],
)
def test_a_net_is_called_what_it_is(flags, title):
    assert net_title(parse_args(flags.split())) == title


def test_two_starts_in_one_second_do_not_collide(tmp_path, monkeypatch):
    monkeypatch.setattr(naming.time, "strftime", lambda _: "20250101-120000")
    made = make_config(model="densenet_bc40_k16", depth=16, run_dir=str(tmp_path))
    first = "DenseNet-BC-16-k=16-cifar10-20250101-120000"
    assert [new_folder(made).name for _ in range(3)] == [first, f"{first}-2", f"{first}-3"]
    assert make_config(name=first).name == first  # a name that may be given
