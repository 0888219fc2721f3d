"""Kill a run again and again, damage its files in between, and see that nothing is ever lost.

    python benchmarks/torture.py --rounds 300 --work DIR

A small run on the embedded data is finished once without interruption. Then the same run is started
and hit by one fault a round, and resumed, until it ends; its parameters must equal the first run's
to the bit, and its metrics.jsonl apart from times. Then it begins anew, until the rounds are up.
After every round metrics.jsonl must be valid and a beginning of the first run's, and the newest
whole checkpoint must be no older than before, unless the round damaged it.

DIR on a small tmpfs that root has mounted for this (``mount -t tmpfs -o size=32m none DIR``) makes
the full disk and the read-only folder real; elsewhere a limit on the size of files stands in.
"""

from __future__ import annotations

import collections
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from errors import Parser, command_line  # noqa: E402
from records.checkpoints import newest  # noqa: E402

COMMAND = [sys.executable, str(ROOT / "tests" / "tiny_train.py")]
START = [
    *("--dataset", "shapes", "--model", "densenet_bc40_k16", "--depth", "16"),
    *("--batch-size", "16", "--val-size", "32", "--dropout", "0.1"),
    *("--checkpoint-minutes", "0.005", "--lr-schedule", "cosine"),
]
TIMES = ("epoch_seconds", "cpu_seconds", "images_per_second")
SIGNALS = {"kill": signal.SIGKILL, "terminate": signal.SIGTERM, "interrupt": signal.SIGINT}
# Faults, and the exit codes that they may end in.
ALLOWED = {
    "kill": {-signal.SIGKILL, 0},
    "kill while writing": {-signal.SIGKILL, 0},
    # A signal before the first step finds Python's own handlers.
    "terminate": {143, -signal.SIGTERM, 0},
    "interrupt": {130, -signal.SIGINT, 0},
    "full disk": {2, 0},
    "read-only": {2},
    "two at once": {-signal.SIGKILL, 0},
}
DAMAGES = ("truncated", "bit flipped", "missing")


class LostError(AssertionError):
    """Something was lost that should not have been."""


def check(holds: bool, problem: str) -> None:
    """Raise a LostError unless something holds."""
    if not holds:
        raise LostError(problem)


def metrics(run: Path) -> list[dict[str, Any]]:
    """Return a run's metrics without times; every line must be whole."""
    path = run / "metrics.jsonl"
    text = path.read_text() if path.exists() else "\n"
    check(text.endswith("\n"), f"{path} ends in half a line")
    lines = [json.loads(line) for line in text.splitlines() if line]
    return [{key: line[key] for key in line if key not in TIMES} for line in lines]


def place(run: Path) -> str:
    """Return the name of the newest whole checkpoint."""
    checkpoint = newest(run / "checkpoints", lambda line: None)
    return checkpoint.path.name if checkpoint else ""


def result(run: Path) -> dict[str, bytes]:
    """Return the files of the newest whole checkpoint and of the exported net."""
    checkpoint = newest(run / "checkpoints", lambda line: None)
    if checkpoint is None:
        raise LostError(f"{run} has no checkpoint")
    return {**checkpoint.files, "export": (run / "export" / "model-0000.params").read_bytes()}


def damage(run: Path, kind: str, rng: random.Random) -> str:
    """Spoil one file of the newest checkpoint; return its name."""
    folder = max((run / "checkpoints").glob("epoch-*"))
    path = folder / rng.choice(sorted(file.name for file in folder.iterdir()))
    data = bytearray(path.read_bytes())
    if kind == "missing":
        path.unlink()
    elif kind == "truncated":
        path.write_bytes(data[: rng.randrange(len(data))])
    else:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
    return f"{folder.name}/{path.name}"


def ended(process: subprocess.Popen, timeout: float | None = None) -> tuple[int, str]:
    """Wait for a process, and return its exit code and what it printed."""
    output, _ = process.communicate(timeout=timeout)
    return process.returncode, output


class Torture:
    """One run under torture beside an undisturbed one.

    Parameters
    ----------
    work : Path
        An empty or missing folder.
    seed : int
        Of faults and moments.
    report : callable
        Told of every round.
    epochs : int
        Length of the run, eight steps each.
    """

    def __init__(
        self, work: Path, seed: int, report: Callable[[str], None] = print, epochs: int = 8
    ) -> None:
        self.flags = [*START, "--epochs", str(epochs), "--run-dir", str(work)]
        self.work, self.rng, self.report = work, random.Random(seed), report
        self.run = work / "run"
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.finished = 0
        self.on_tmpfs = os.geteuid() == 0 and os.path.ismount(work)
        start = time.monotonic()
        code, output = ended(self._start("calm"))
        check(not code, f"not even undisturbed does the run end:\n{output}")
        self.seconds = time.monotonic() - start
        self.expected, self.expected_files = metrics(work / "calm"), result(work / "calm")

    def _start(self, name: str = "run") -> subprocess.Popen:
        """Start a run, or go on with it where there is something to go on with."""
        run = self.work / name
        begun = (run / "config.json").exists()
        return subprocess.Popen(
            [*COMMAND, *(["--resume", str(run)] if begun else [*self.flags, "--name", name])],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={"OMP_NUM_THREADS": "1", **os.environ},
        )

    def hit(self, fault: str, spoil: str = "") -> None:
        """Hit the run once.

        Parameters
        ----------
        fault : str
            One of `ALLOWED`.
        spoil : str
            One of `DAMAGES`, to do to the newest checkpoint first, if it is not the only one.

        Raises
        ------
        LostError
            If anything is lost.
        """
        spoilt, before = "", place(self.run)
        if spoil and len(list((self.run / "checkpoints").glob("epoch-*"))) > 1:
            spoilt = damage(self.run, spoil, self.rng)
            before = place(self.run)
            self.outcomes[f"newest checkpoint {spoil}"] += 1
        if fault in SIGNALS:
            code, output = self._signal(SIGNALS[fault])
        else:
            code, output = getattr(self, "_" + fault.replace(" ", "_").replace("-", "_"))()
        after = place(self.run)
        named = "going on" not in output or spoilt.split("/")[0] in output
        for holds, problem in (
            (code in ALLOWED[fault], f"exit code {code}"),
            ("Traceback" not in output, "a traceback"),
            (named, f"{spoilt} was damaged and not named"),
            (after >= before, f"went back from {before} to {after}"),
            (metrics(self.run) == self.expected[: len(metrics(self.run))], "other metrics"),
        ):
            check(holds, f"{fault}: {problem}\n{output}")
        self.outcomes[f"{fault}: exit code {code}"] += 1
        self.report(f"{fault}{' after damage to ' + spoilt if spoilt else ''}: {code}, {after}")
        if code == 0:
            self.compare()

    def finish(self) -> None:
        """Let the run end, and compare."""
        code, output = ended(self._start())
        check(not code, f"exit code {code}\n{output}")
        self.compare()

    def compare(self) -> None:
        """Compare the run, which has ended, with the undisturbed one, and remove it."""
        found = result(self.run)
        differing = [name for name in found if found[name] != self.expected_files[name]]
        same = not differing and metrics(self.run) == self.expected
        check(same, f"the result differs from the undisturbed run's: {differing}")
        self.finished += 1
        self.report("finished: equal to the undisturbed run")
        shutil.rmtree(self.run)

    def _signal(self, number: int) -> tuple[int, str]:
        """Send a signal at a random moment."""
        process = self._start()
        try:
            return ended(process, self.rng.uniform(0, 0.8 * self.seconds))
        except subprocess.TimeoutExpired:
            process.send_signal(number)
        return ended(process)

    def _kill_while_writing(self) -> tuple[int, str]:
        process, skip = self._start(), self.rng.randrange(5)
        writing, seen = self.run / "checkpoints" / ".writing", False
        while process.poll() is None:
            if writing.exists() and not seen:
                seen, skip = True, skip - 1
                if skip < 0:
                    time.sleep(self.rng.uniform(0, 0.03))
                    process.kill()
            seen = writing.exists()
            time.sleep(0.0005)
        return ended(process)

    def _full_disk(self) -> tuple[int, str]:
        process, filler = self._start(), self.work / "filler"
        if not self.on_tmpfs:
            most = self.rng.randrange(2_000, 200_000)
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (most, most))
            return ended(process)
        try:
            time.sleep(self.rng.uniform(0, 0.8 * self.seconds))
            room = shutil.disk_usage(self.work).free - self.rng.randrange(200_000)
            filler.write_bytes(bytes(max(0, room)))
            return ended(process)
        finally:
            filler.unlink()

    def _read_only(self) -> tuple[int, str]:
        subprocess.run(["mount", "-o", "remount,ro", str(self.work)], check=True)
        try:
            return ended(self._start())
        finally:
            subprocess.run(["mount", "-o", "remount,rw", str(self.work)], check=True)

    def _two_at_once(self) -> tuple[int, str]:
        first, second = self._start(), self._start()
        deadline = time.monotonic() + self.rng.uniform(0.5, 1.2) * self.seconds
        while time.monotonic() < deadline and None in (first.poll(), second.poll()):
            time.sleep(0.01)
        refused = first if first.poll() == 2 else second
        other = second if refused is first else first
        for process in (refused, other):
            process.kill()
        (refusal, told), (code, output) = ended(refused), ended(other)
        # Both may have been on their way when the time was up; both must never have been at work.
        check(code != 0 or refusal == 2, f"two at once: both were let in\n{told}")
        check(refusal != 2 or "error: " in told, f"two at once: refused without a reason\n{told}")
        return code, output


@command_line
def main() -> None:
    """Torture a run for a number of rounds and print what happened."""
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, required=True, help="a folder for the runs")
    arguments = parser.parse_args()
    torture = Torture(arguments.work, arguments.seed, lambda line: print(line, flush=True))
    faults = [name for name in ALLOWED if name != "read-only" or torture.on_tmpfs]
    for number in range(arguments.rounds):
        print(f"round {number + 1}/{arguments.rounds}: ", end="")
        spoil = torture.rng.choice(DAMAGES) if torture.rng.random() < 0.4 else ""
        torture.hit(torture.rng.choice(faults), spoil)
    torture.finish()
    print(
        f"\n{arguments.rounds} rounds, {torture.finished} runs finished, every one equal to the bit"
    )
    for outcome, count in sorted(torture.outcomes.items()):
        print(f"{count:6}  {outcome}")


if __name__ == "__main__":
    sys.exit(main())
