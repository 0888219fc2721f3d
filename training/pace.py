"""How fast a run goes and when it will end: a progress bar on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm

_FIRST = 5  # steps that build graphs and warm caches; the estimate starts after them


def duration(seconds: float) -> str:
    """Return a time in words: ``2 days 3 h``, ``1 h 05 min``, ``3 min``, ``40 s``."""
    minutes = int(seconds // 60)
    if minutes >= 2 * 24 * 60:
        return f"{minutes // 1440} days {minutes % 1440 // 60} h"
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min" if minutes >= 3 else f"{seconds:.0f} s"


class Pace:
    """Counts the images of a run, and estimates its rate and the time left.

    Parameters
    ----------
    total, done : int
        Training images in the whole run, and those that a resumed run has already seen.
    shown : bool
        Whether to draw a bar where there is a terminal.
    """

    def __init__(self, total: int, done: int, shown: bool = True) -> None:
        self.total, self.done = total, done
        self._steps = 0
        self._start, self._start_done = time.monotonic(), done
        self._bar = tqdm(
            total=total,
            initial=done,
            unit=" images",
            unit_scale=True,
            dynamic_ncols=True,
            disable=not (shown and sys.stderr.isatty()),
        )

    def add(self, images: int, text: str) -> None:
        """Count one step; `text` goes beside the bar."""
        self.done += images
        self._steps += 1
        if self._steps == _FIRST:
            self._start, self._start_done = time.monotonic(), self.done
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(images)

    def __str__(self) -> str:
        """Return the rate since the first steps, in which validation counts, and the time left."""
        seen = self.done - self._start_done
        if not seen:
            return "starting"
        rate = seen / max(time.monotonic() - self._start, 1e-9)
        return f"{rate:.0f} images/s, {duration((self.total - self.done) / rate)} left"

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()
