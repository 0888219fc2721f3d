"""Flags, presets, recipes in files, what a run is called, and what a resumed one may be told."""

from __future__ import annotations

import dataclasses
import json
import os
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from errors import InputError
from records import config, naming
from records.config import Config, make_config
from records.flags import parse_args
from records.naming import net_title, new_folder
from records.recipes import OWN, PRESETS


@pytest.fixture
def recipe(tmp_path):
    """Return what writes a recipe and returns its path."""

    def write(content):
        path = tmp_path / "recipe.json"
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        path.write_bytes(data)
        return str(path)

    return write


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


def test_the_stochastic_depth_recipe_is_the_papers():
    made = parse_args(["--model", "stochastic_depth"])
    assert (made.batch_size, made.epochs, made.lr, made.momentum) == (128, 500, 0.1, 0.9)
    assert (made.wd, made.lr_milestones, made.warmup_epochs) == (1e-4, (0.5, 0.75), 0)


def test_every_preset_is_a_whole_run():
    for name in PRESETS:
        assert parse_args(["--preset", name]).preset == name


def test_flags_win_over_a_file_and_a_file_over_the_preset_that_it_builds_on(recipe):
    path = recipe({"preset": "cpu-90min", "lr": 0.2, "wd": 1})
    made = parse_args(["--preset", path, "--wd", "0.5", "--cutout", "4"])
    assert (made.lr, made.wd, made.cutout, made.epochs, made.preset) == (0.2, 0.5, 4, 27, path)
    assert parse_args(["--preset", recipe({})]).epochs == Config.epochs


def test_a_run_is_repeated_by_its_config_but_for_its_name_and_place(recipe):
    first = make_config(model="resnet20", epochs=7, lr_milestones=(3, 0.9), data_dir="images")
    own = {"name": "first", "run_dir": "/elsewhere", "resume": "/elsewhere/first"}
    retired = {"memory_efficient": True, "pool": False}  # settings of older versions
    path = recipe({"config": {**first.to_dict(), **own, **retired}, "parameters": 1})
    second = parse_args(["--preset", path, "--seed", "1"])
    assert second.to_dict() == {**first.to_dict(), "preset": path, "seed": 1}
    other_net = recipe({"config": {**first.to_dict(), "pool": True}})
    with pytest.raises(InputError, match="unknown setting 'pool'"):
        parse_args(["--preset", other_net])


def test_without_augmentation_a_densenet_has_dropout_unless_told_otherwise(recipe):
    for preset in ("densenet", recipe({"config": make_config(model="densenet").to_dict()})):
        flags = ["--preset", preset, "--no-augment"]
        assert parse_args(flags).dropout == 0.2
        assert parse_args([*flags, "--dropout", "0"]).dropout == 0
        assert parse_args([*flags, "--model", "resnet20"]).dropout is None


@pytest.mark.parametrize(
    ("flags_or_recipe", "told"),
    [
        ("--lr fast", "--lr"),
        ("--ctx tpu", "'cpu'"),
        ("--bottleneck maybe", "--bottleneck"),
        ("--gpus 0,0", "every device number once"),
        ("--gpus 0,1000", "--gpus 1000 is out of range: from 0 to 63"),
        ("--epochs 3 --warmup-epochs 3", "--warmup-epochs"),
        ("--name ../elsewhere", "--name"),
        ("--preset pipe.json", "is not a regular file"),
        ("--preset missing.json", "No such file"),
        ("--preset quik", "unknown preset 'quik': did you mean quick? there are"),
        ({"learning_rate": 1}, "recipe.json: unknown setting 'learning_rate'"),
        ({"batchsize": 1, "epoch": 2}, "; unknown setting 'epoch': did you mean epochs, "),
        ({"lr": "0.1"}, 'recipe.json: lr is "0.1": a number is wanted'),
        ({"epochs": True}, "epochs is true: a whole number is wanted"),
        ({"amp": 1}, "amp is 1: true or false is wanted"),
        ({"depth": [20]}, "depth is [20]: a whole number or null is wanted"),
        ({"lr_milestones": [0.5, "x"]}, 'is [0.5, "x"]: a list of numbers is wanted'),
        ({"lr_schedule": "linear"}, "lr_schedule linear: choose from step, cosine"),
        ({"preset": "quik"}, "recipe.json: unknown preset 'quik': did you mean quick?"),
        ({"config": 5}, "holds no settings"),
        ([1], "holds no settings"),
        (b"[" * 100_000, "is damaged, or no JSON"),
        (b" " * (16 * 2**20 + 1), "at most are expected"),
    ],
    ids=range(23),
)
def test_what_is_wrong_is_told_in_one_line(flags_or_recipe, told, recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.json")
    is_flags = isinstance(flags_or_recipe, str)
    flags = flags_or_recipe.split() if is_flags else ["--preset", recipe(flags_or_recipe)]
    with pytest.raises(InputError) as refusal:
        parse_args(flags)
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


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=5,
)


@settings(max_examples=200)
@given(st.dictionaries(st.sampled_from([*Config().to_dict()]) | st.text(max_size=8), json_values))
@example({"warmup_epochs": 300})
def test_any_object_makes_a_config_or_is_refused(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("recipe") / "recipe.json"
    path.write_text(json.dumps(values))
    try:
        made = parse_args(["--preset", str(path)])
    except InputError:
        return
    found = made.to_dict()
    given = {n: v for n, v in values.items() if n not in OWN and v is not None}
    assert {name: found[name] for name in given} == given


@pytest.fixture
def stopped(tmp_path):
    """Return the flags that resume a run, and the run's config."""
    flags = ["--gpus", "0,1", "--lr-milestones", "10,0.9", "--bottleneck", "no", "--epochs", "20"]
    made = parse_args(flags)
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
        ("--preset cpu-90min --width 2", "ResNet-11, width=2, p_L=0.9, pooled"),
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
    (tmp_path / "link").symlink_to("a disk that is not mounted")
    with pytest.raises(InputError, match=r"cannot write .*link"):
        new_folder(make_config(run_dir=str(tmp_path / "link")))
