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
    ],
)
def test_times_are_said_as_one_would(seconds, text):
    assert duration(seconds) == text


def test_only_what_is_left_of_a_resumed_run_counts(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: now[0])
    meter = Pace(1000, 900, shown=False)
    assert str(meter) == "starting"
    meter.add(60, "")
    now[0] = 10.0
    assert str(meter) == "6 images/s, 7 s left"
