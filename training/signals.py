"""Note signals, so that a run stops only where it can be resumed."""

from __future__ import annotations

import signal
from types import FrameType


class StopSignals:
    """Within the block the first SIGINT, SIGTERM or SIGHUP is only noted; the second one kills.

    A signal that is ignored stays ignored, as under nohup.

    Attributes
    ----------
    received : int
        The signal's number, 0 as long as there was none.
    """

    _SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self.received = 0

    def __enter__(self) -> StopSignals:
        before = {each: signal.getsignal(each) for each in self._SIGNALS}
        self._previous = {n: known for n, known in before.items() if known != signal.SIG_IGN}
        for number in self._previous:
            signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        for each in self._previous:
            signal.signal(each, signal.SIG_DFL)
