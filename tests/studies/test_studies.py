"""The studies themselves: recipes that can be run, and the pictures of their own."""

from __future__ import annotations

import dataclasses

import pytest
from stub import keep

import models
from figures import summary
from studies import parameters
from studies.study import NAMES, Measurement, entries, get_study

RUNS = [name for name in NAMES if not isinstance(get_study(name), Measurement)]


@pytest.mark.parametrize("name", RUNS)
def test_every_recipe_is_a_net_on_cifar10_and_no_two_are_one(name):
    study = get_study(name)
    settings = [dataclasses.replace(each.config, preset="") for each in entries(name, study)]
    assert all(settings.count(each) == 1 for each in settings)
    for config in settings:
        assert config.dataset == "cifar10"
        assert config.val_size is not None  # or what a run puts there would seem another recipe
        if config.seed == study.seeds[0]:
            models.get_model(config.model, **config.model_options())


def test_errors_stand_over_the_parameters_and_the_work_of_their_nets(tmp_path, monkeypatch):
    monkeypatch.setattr("studies.study.ROOT", tmp_path)
    of_name = {each.name: each for each in entries("parameters", parameters.STUDY)}
    kept = [("resnet20-seed0", 0.3, 1), ("k16-seed0", 0.2, 2), ("resnet20-seed1", 0.4, 1)]
    runs = [
        summary.read_run(keep(of_name[name], error, parameters=10**6 * millions).kept)
        for name, error, millions in kept
    ]
    figure = parameters.draw(summary.group(runs), tmp_path / "picture.png")
    by_parameters, by_work = figure.axes
    drawn = [(list(line.get_xdata()), list(line.get_ydata())) for line in by_parameters.lines]
    resnet, seeds, densenet, _ = drawn
    assert (resnet[0], seeds[0], densenet[0]) == ([1], [1, 1], [2])
    assert (resnet[1], seeds[1]) == (pytest.approx([35]), pytest.approx([30, 40]))
    work = models.count_multiply_accumulates(models.get_model("resnet20")) / 1e6
    assert by_work.lines[0].get_xdata() == pytest.approx([work])
