"""Recipes, named and in files: what they pass on, and what is refused."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from errors import InputError
from records.config import Config, make_config
from records.flags import parse_args
from records.recipes import OWN


@pytest.fixture
def recipe(tmp_path):
    """Return what writes a recipe and returns its path."""

    def write(content):
        path = tmp_path / "recipe.json"
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        path.write_bytes(data)
        return str(path)

    return write


def test_a_run_is_repeated_by_its_config_but_for_its_name_and_place(recipe):
    first = make_config(model="resnet20", epochs=7, lr_milestones=(3, 0.9), data_dir="images")
    own = {"name": "first", "run_dir": "/elsewhere", "resume": "/elsewhere/first"}
    retired = {"memory_efficient": True}  # a setting of older versions
    path = recipe({"config": {**first.to_dict(), **own, **retired}, "parameters": 1})
    second = parse_args(["--preset", path, "--seed", "1"])
    assert second.to_dict() == {**first.to_dict(), "preset": path, "seed": 1}


def test_flags_win_over_a_file_and_a_file_over_the_preset_that_it_builds_on(recipe):
    path = recipe({"preset": "cpu-90min", "lr": 0.2, "wd": 1})
    made = parse_args(["--preset", path, "--wd", "0.5", "--pool", "no"])
    assert (made.lr, made.wd, made.pool, made.epochs, made.preset) == (0.2, 0.5, False, 28, path)
    assert parse_args(["--preset", recipe({})]).epochs == Config.epochs


def test_without_augmentation_a_densenet_has_dropout_unless_told_otherwise(recipe):
    for preset in ("densenet", recipe({"config": make_config(model="densenet").to_dict()})):
        flags = ["--preset", preset, "--no-augment"]
        assert parse_args(flags).dropout == 0.2
        assert parse_args([*flags, "--dropout", "0"]).dropout == 0
        assert parse_args([*flags, "--model", "resnet20"]).dropout is None


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"learning_rate": 1}, "recipe.json: unknown setting 'learning_rate'"),
        ({"batchsize": 1, "epoch": 2}, "; unknown setting 'epoch': did you mean epochs, "),
        ({"lr": "0.1"}, 'recipe.json: lr is "0.1": a number is wanted'),
        ({"epochs": True}, "epochs is true: a whole number is wanted"),
        ({"amp": 1}, "amp is 1: true or false is wanted"),
        ({"depth": [20]}, "depth is [20]: a whole number or null is wanted"),
        ({"lr_milestones": [0.5, "x"]}, 'is [0.5, "x"]: a list of numbers is wanted'),
        ({"lr_schedule": "linear"}, "lr_schedule linear: choose from step, cosine"),
        ({"preset": "quik"}, "unknown preset 'quik': did you mean quick?"),
        ({"config": 5}, "holds no settings"),
        ([1], "holds no settings"),
        (b"[" * 100_000, "is damaged, or no JSON"),
        (b" " * (16 * 2**20 + 1), "at most are expected"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_in_a_file_is_told_in_one_line(recipe, content, told):
    with pytest.raises(InputError) as refusal:
        parse_args(["--preset", recipe(content)])
    assert told in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("preset", "told"),
    [
        ("pipe.json", "is not a regular file"),
        ("missing.json", "No such file"),
        ("quik", r"'quik': did you mean quick\? .* or give a JSON file"),
    ],
)
def test_what_is_no_file_is_told(preset, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.json")
    with pytest.raises(InputError, match=told):
        parse_args(["--preset", preset])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=5,
)


@settings(max_examples=200, deadline=None)
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
