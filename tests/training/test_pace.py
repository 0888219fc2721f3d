"""What a run says about its speed."""

from __future__ import annotations

import pytest

from training import pace
from training.pace import Pace, duration


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


@pytest.mark.parametrize(("seconds_a_step", "lines"), [(20.0, 1), (0.001, 0)])
def test_a_run_of_days_says_so_once_and_names_a_shorter_one(monkeypatch, seconds_a_step, lines):
    clock = iter(range(10**6))
    monkeypatch.setattr(pace.time, "monotonic", lambda: seconds_a_step * next(clock))
    said = []
    monkeypatch.setattr(pace.LOG, "warning", lambda text, *values: said.append(text % values))
    meter = Pace(15_000_000, 0, shown=False)
    for _ in range(30):
        meter.add(64, "")
    assert len(said) == lines
    assert all("days" in line and "--preset quick" in line for line in said)


def test_only_what_is_left_of_a_resumed_run_counts():
    meter = Pace(1000, 900, shown=False)
    assert str(meter) == "starting"
    meter.add(50, "")
    assert meter.seconds_left() == pytest.approx(50 / meter.rate(), rel=0.5)
