"""`benchmarks/throughput.py` as a user runs it; how fast anything is, is no test's business."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import pytest
import throughput

import models


def test_a_model_is_measured_in_training_and_inference(tmp_path, capsys):
    path = tmp_path / "throughput.json"
    flags = ["--batch-size", "2", "--steps", "3", "--threads", "1", "--json", str(path)]
    assert throughput.main(["resnet20_sd", *flags]) == 0
    rows = json.loads(path.read_text())["rows"]
    assert [row["mode"] for row in rows] == ["training", "inference"]
    for row in rows:
        assert (row["model"], row["batch_size"]) == ("resnet20_sd", 2)
        assert len(row["images_per_second"]) == 3
        assert min(row["images_per_second"]) > 0
        assert row["peak_mb"] > 50
        assert row["parameters"] == models.count_parameters(models.get_model("resnet20"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("; 3 steps")
    assert [line.count("|") for line in lines[1:]] == [8] * 4


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["resnet2"], "did you mean resnet"),
        (["resnet20", "--batch-size", "0"], "--batch-size"),
        (["resnet20", "--steps", "many"], "--steps"),
        ([], "MODEL"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(flags, told, capsys):
    assert throughput.main(flags) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_output_that_nobody_reads_ends_it_quietly():
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, throughput.__file__, "resnet20"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")
