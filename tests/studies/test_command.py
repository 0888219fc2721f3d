"""The command lists, refuses in one line, and reports what is there and nothing else."""

from __future__ import annotations

import json
import re
import sys
import types

import pytest
from stub import NAME, TINY, entry, keep

from figures.style import new_figure, save
from studies import __main__ as command
from studies import pace, report, study
from studies.study import NAMES, ROOT, Measurement, Study
from training import step
from utils import table

MEASURED = "stub-measured"
PAGE = "# Results\n\n{}words\n{}\n".format(*report.borders(NAME))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a folder that only the two studies for tests have their runs and results in."""
    studies = {
        NAME: Study("Is it so?", {"a": {**TINY, "epochs": 2}}, (0, 1, 2)),
        MEASURED: Measurement(
            "How much?",
            lambda data_dir: {"length": 3, "data": {"fingerprint": "c" * 64}},
            lambda results: table(("length",), [[results["length"]]]),
            lambda results, path: save(new_figure(1, 1), path),
        ),
    }
    for name, value in studies.items():
        module = types.SimpleNamespace(STUDY=value)
        monkeypatch.setitem(sys.modules, f"studies.{name.replace('-', '_')}", module)
    for place in (study, command):
        monkeypatch.setattr(place, "NAMES", tuple(studies))
    monkeypatch.setattr(study, "ROOT", tmp_path)
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "README.md").write_text(PAGE)
    return tmp_path


def test_the_listing_says_what_is_done_and_how_long_the_rest_takes(folder, capsys, monkeypatch):
    monkeypatch.setattr(pace, "hours", lambda *_: 0.5)
    keep(entry(2))
    working = entry(2, seed=1).working
    working.mkdir(parents=True)
    (working / "metrics.jsonl").write_text('{"epoch": 1, "lr": 0.1}\n')
    assert command.main(["--jobs", "1"]) == 0
    said = capsys.readouterr().out
    assert "stub: Is it so?\n0.8 hours left here, 1 at a time" in said
    states = re.findall(r"^\| a-seed(\d) \| +([\w ]+?) \| +30 \|$", said, re.M)
    assert states == [("0", "done"), ("1", "1 of 2 epochs"), ("2", "missing")]
    assert "stub-measured: How much?\na measurement of a few minutes: missing" in said


def test_a_runs_pace_is_that_of_its_own_steps(monkeypatch):
    sizes, train_step = [], step.train_step

    def watched(net, trainer, images, *others):
        sizes.append(len(images))
        return train_step(net, trainer, images, *others)

    monkeypatch.setattr(step, "train_step", watched)
    config = entry().config
    assert pace.measure(config) > 0
    assert set(sizes) == {config.batch_size}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--jobs 0", "above 0"),
        ("--hours 0", "above 0"),
        ("--hours nan", "above 0"),
        ("stubb", "did you mean stub"),
        ("stub --report", "no run of stub is done yet"),
        ("stub-measured --report", "not measured yet"),
        ("--report", "name a study"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(folder, refused, words, told):
    assert told in refused(command.main, words.split())


@pytest.mark.parametrize("flag", [(), ("--report",)])
def test_a_result_of_another_recipe_is_named_and_not_mixed(folder, refused, flag):
    keep(entry(2))
    keep(entry(2, seed=1, lr=0.7))
    line = refused(command.main, [NAME, *flag])
    assert "a-seed1 was made by another recipe: lr was 0.7, is 0.1" in line
    assert (folder / "results" / "README.md").read_text() == PAGE


def test_a_run_begun_by_another_recipe_is_not_gone_on_with(folder, capsys, refused, monkeypatch):
    monkeypatch.setattr(pace, "hours", lambda *_: 0.5)
    begun = keep(entry(2, seed=1, lr=0.7))
    begun.working.parent.mkdir(parents=True)
    begun.kept.rename(begun.working)
    other = "by another recipe: lr was 0.7, is 0.1"
    assert f"{begun.working} was made {other}; remove it" in refused(command.main, [NAME])
    assert command.main([]) == 0
    assert other in capsys.readouterr().out


def test_a_report_says_how_many_seeds_it_is_of_and_follows_the_files(folder):
    keep(entry(2), 0.25)
    keep(entry(2, seed=2), 0.35)
    assert command.main([NAME, "--report"]) == 0
    page = (folder / "results" / "README.md").read_text()
    assert page.startswith("# Results\n\n<!-- stub")
    assert "words" not in page
    assert "| 30.00 ± 7.07 | 0: 25.00, 2: 35.00 | 20.00 | 10.00 |" in re.sub(" +", " ", page)
    assert "*Done of 3 seeds: `a` 2. epochs 2; training images 20;" in page
    assert "images aaaaaaaa; arithmetic float32; commit bbbbbbbb.*" in page
    assert (folder / "results" / NAME / report.PICTURE).stat().st_size > 5000

    assert command.main([NAME, "--report"]) == 0
    assert (folder / "results" / "README.md").read_text() == page
    path = entry(2).kept / "results.json"
    path.write_text(path.read_text().replace("0.75", "0.65"))
    assert command.main([NAME, "--report"]) == 0
    assert "35.00 ± 0.00" in (folder / "results" / "README.md").read_text()


def test_a_page_without_a_place_for_it_is_refused(folder, refused):
    keep(entry(2))
    (folder / "results" / "README.md").write_text("# Results\n")
    assert "lacks the lines <!-- stub" in refused(command.main, [NAME, "--report"])


def test_a_measurement_is_kept_without_names_and_reported(folder):
    page = folder / "results" / "README.md"
    page.write_text("".join(report.borders(MEASURED)))
    assert command.main([MEASURED]) == 0
    kept = json.loads((folder / "results" / MEASURED / "results.json").read_text())
    assert kept["length"] == 3
    assert "command" not in kept
    assert "name" not in kept["host"]
    assert command.main([MEASURED, "--report"]) == 0
    assert "| 3" in page.read_text()
    assert "images cccccccc" in page.read_text()


@pytest.mark.parametrize("name", NAMES)
def test_the_page_of_results_says_what_the_files_say(name):
    kept = any((ROOT / "results" / name).rglob("results.json"))
    begin, end = report.borders(name)
    _, opened, rest = (ROOT / "results" / "README.md").read_text().partition(begin)
    said, closed, _ = rest.partition(end)
    assert kept == bool(opened and closed), f"python -m studies {name} --report"
    assert not kept or said == f"\n{report.answer(name)[0]}\n"
