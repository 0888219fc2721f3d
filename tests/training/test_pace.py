"""What a run says about its speed."""

from __future__ import annotations

import logging

import pytest

from training import pace
from training.pace import Pace, duration
from utils import LOG


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (8, "8 s"),
        (600, "10 min"),
        (3900, "1 h 05 min"),
        (200_000, "2 days 7 h"),
        (float("inf"), "an unknown time"),
    ],
)
def test_times_are_said_as_one_would(seconds, text):
    assert duration(seconds) == text


def lines_of(monkeypatch, seconds_a_step, images):
    clock = iter(range(10**6))
    monkeypatch.setattr(pace.time, "monotonic", lambda: seconds_a_step * next(clock))
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    LOG.addHandler(handler)
    try:
        meter = Pace(images, 0, "quick", shown=False)
        for _ in range(30):
            meter.add(64, "")
    finally:
        LOG.removeHandler(handler)
    return lines


def test_a_run_of_days_says_so_once_and_names_a_shorter_one(monkeypatch):
    lines = lines_of(monkeypatch, 20.0, 15_000_000)
    assert len(lines) == 1
    assert "days" in lines[0]
    assert "--preset quick" in lines[0]


def test_a_run_of_hours_does_not(monkeypatch):
    assert lines_of(monkeypatch, 0.001, 15_000_000) == []


def test_only_what_is_left_of_a_resumed_run_counts():
    meter = Pace(1000, 900, "quick", shown=False)
    assert str(meter) == "starting"
    meter.add(50, "")
    assert meter.seconds_left() == pytest.approx(50 / meter.rate(), rel=0.5)
