"""Kill a run again and again, damage its files in between, and see that nothing is ever lost.

    python benchmarks/torture.py --rounds 300 --work DIR

A small run on the embedded data is finished once without interruption. Then the same run is started
and hit by one fault a round, and resumed, until it ends; its parameters must equal the first run's
to the bit, and its metrics.jsonl apart from times. Then it begins anew, until the rounds are up.
After every round metrics.jsonl must be valid and a beginning of the first run's, and the newest
whole checkpoint must be no older than before, unless the round damaged it.
"""

from __future__ import annotations

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
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from errors import Parser, command_line  # noqa: E402
from records.checkpoints import find, newest  # noqa: E402

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
}


def metrics(run: Path) -> list[dict[str, Any]]:
    """Return a run's metrics without times; every line must be whole."""
    path = run / "metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    assert text.endswith("\n") or not text, f"{path} ends in half a line"
    lines = [json.loads(line) for line in text.splitlines()]
    return [{key: line[key] for key in line if key not in TIMES} for line in lines]


def place(run: Path) -> str:
    """Return the name of the newest whole checkpoint."""
    checkpoint = newest(run / "checkpoints")
    return checkpoint.path.name if checkpoint else ""


def result(run: Path) -> dict[str, bytes]:
    """Return the files of the newest whole checkpoint and of the exported net."""
    return {**find(run).files, "export": (run / "export" / "model-0000.params").read_bytes()}


def damage(run: Path, rng: random.Random) -> str:
    """Cut, alter or remove one file of the newest checkpoint; return its name."""
    folder = max((run / "checkpoints").glob("epoch-*"))
    path = folder / rng.choice(sorted(file.name for file in folder.iterdir()))
    data = bytearray(path.read_bytes())
    place = rng.randrange(len(data))
    kind = rng.choice(("cut", "altered", "removed"))
    if kind == "removed":
        path.unlink()
    else:
        data[place] ^= 1 << rng.randrange(8)
        path.write_bytes(data if kind == "altered" else data[:place])
    return f"{folder.name}/{path.name}"


class Torture:
    """One run under torture beside an undisturbed one.

    Parameters
    ----------
    work : Path
        An empty or missing folder.
    seed : int
        Of faults and moments.
    epochs : int
        Length of the run, eight steps each.
    """

    def __init__(self, work: Path, seed: int, epochs: int = 8) -> None:
        self.flags = [*START, "--epochs", str(epochs), "--run-dir", str(work)]
        self.work, self.rng = work, random.Random(seed)
        self.run, self.finished = work / "run", 0
        start = time.monotonic()
        self._end(self._start("calm"), {0})
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

    def hit(self, fault: str, spoil: bool = False) -> None:
        """Hit the run once with a fault of `ALLOWED`; an AssertionError says what is lost.

        With `spoil` a file of the newest checkpoint is damaged first, if there is one before it.
        """
        spoilt = ""
        if spoil and len(list((self.run / "checkpoints").glob("epoch-*"))) > 1:
            spoilt = damage(self.run, self.rng)
        before, process = place(self.run), self._start()
        if fault == "full disk":
            most = self.rng.randrange(2_000, 200_000)  # bytes in a file
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (most, most))
        elif fault == "kill while writing":
            self._kill_while_writing(process)
        else:
            try:
                process.wait(self.rng.uniform(0, 0.8 * self.seconds))
            except subprocess.TimeoutExpired:
                process.send_signal(SIGNALS[fault])
        output, found = self._end(process, ALLOWED[fault]), metrics(self.run)
        code, after = process.returncode, place(self.run)
        named = "going on" not in output or spoilt.split("/")[0] in output
        assert named, f"{spoilt} was damaged and not named:\n{output}"
        assert after >= before, f"{fault}: went back from {before} to {after}:\n{output}"
        assert found == self.expected[: len(found)], f"{fault}: other metrics:\n{output}"
        damaged = f" after damage to {spoilt}" if spoilt else ""
        print(f"{fault}{damaged}: exit code {code}, {after}", flush=True)
        if code == 0:
            self.compare()

    def finish(self) -> None:
        """Let the run end, and compare."""
        self._end(self._start(), {0})
        self.compare()

    def compare(self) -> None:
        """Compare the run, which has ended, with the undisturbed one, and remove it."""
        found = result(self.run)
        differing = [name for name in found if found[name] != self.expected_files[name]]
        same = not differing and metrics(self.run) == self.expected
        assert same, f"the result differs from the undisturbed run's: {differing}"
        self.finished += 1
        print("finished: equal to the undisturbed run", flush=True)
        shutil.rmtree(self.run)

    def _end(self, process: subprocess.Popen, allowed: set[int]) -> str:
        """Wait for a run to end as allowed, and return what it printed."""
        output, _ = process.communicate()
        assert process.returncode in allowed, f"exit code {process.returncode}:\n{output}"
        assert "Traceback" not in output, output
        return output

    def _kill_while_writing(self, process: subprocess.Popen) -> None:
        """Kill a run while it writes one of its first checkpoints."""
        skip, seen = self.rng.randrange(5), False
        while process.poll() is None:
            writing = (self.run / "checkpoints" / ".writing").exists()
            skip -= writing and not seen
            if skip < 0:
                time.sleep(self.rng.uniform(0, 0.03))
                process.kill()
                return
            seen = writing
            time.sleep(0.0005)


@command_line
def main() -> None:
    """Torture a run for a number of rounds and print what happened."""
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, required=True, help="a folder for the runs")
    arguments = parser.parse_args()
    torture = Torture(arguments.work, arguments.seed)
    for number in range(arguments.rounds):
        print(f"round {number + 1}/{arguments.rounds}: ", end="")
        torture.hit(torture.rng.choice(list(ALLOWED)), spoil=torture.rng.random() < 0.4)
    torture.finish()
    print(f"{torture.finished} runs finished, every one equal to the bit")


if __name__ == "__main__":
    sys.exit(main())
