"""What a second process buys on the cores that one process has already.

    python benchmarks/scaling.py --model densenet_bc40_k16 --rounds 5

Training steps of one global batch, four ways in turn, round by round: one process with one thread,
one with all threads, one with a context a core, and a worker a core under ``dist_sync``. Prints the
median and the spread of images/s. On one machine this measures what the parameter server costs:
there is no core more to gain.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from contest import ROOT, cores, describe_machine, spread
from training_step import gluon_step

from errors import command_line
from utils import table

WARM_UP = 3


def measure(model: str, kvstore: str, devices: int, batch_size: int, steps: int) -> None:
    """Take steps as this process and its fellows, and print images/s over all of them."""
    import compiler
    import models
    from training.distributed import Workers

    workers = Workers(kvstore)
    if batch_size % (workers.count * devices):
        raise SystemExit(f"batch {batch_size} cannot be divided by {workers.count * devices}")
    net = models.get_model(model)
    compiler.hybridize(net)
    step = gluon_step(net, batch_size, workers, devices)
    for _ in range(WARM_UP):
        step()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    if workers.rank == 0:
        print(f"images/s {steps * batch_size / (time.perf_counter() - start)}")
    workers.wait()


def ways(cores: int) -> dict[str, tuple[int, str, int, int]]:
    """Return threads, kvstore, contexts and processes of everything that is compared."""
    return {
        "one process, one thread": (1, "device", 1, 1),
        f"one process, {cores} threads": (cores, "device", 1, 1),
        f"one process, {cores} contexts, one thread each": (1, "device", cores, 1),
        f"{cores} workers, one thread each": (1, "dist_sync", 1, cores),
    }


def run(arguments: argparse.Namespace, way: tuple[int, str, int, int]) -> float:
    """Measure one way in processes of its own, and return images/s."""
    threads, kvstore, devices, processes = way
    command = [
        *(str(Path(__file__).resolve()), "--model", arguments.model, "--kvstore", kvstore),
        *("--devices", str(devices), "--batch-size", str(arguments.batch_size)),
        *("--steps", str(arguments.steps)),
    ]
    if kvstore == "dist_sync":
        command = [str(ROOT / "launch.py"), "--workers", str(processes), "--", *command]
    output = subprocess.run(
        [sys.executable, *command],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
    ).stdout
    return float(output.split("images/s ")[1])


@command_line
def main() -> None:
    """Compare, or, with ``--kvstore``, be one of the processes compared."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="densenet_bc40_k16")
    parser.add_argument("--batch-size", type=int, default=64, help="over all processes together")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kvstore", help=argparse.SUPPRESS)
    parser.add_argument("--devices", type=int, default=1, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.kvstore:
        measure(
            arguments.model,
            arguments.kvstore,
            arguments.devices,
            arguments.batch_size,
            arguments.steps,
        )
        return
    print(describe_machine())
    print(f"{arguments.model}, batch {arguments.batch_size}, {arguments.steps} steps a round")
    rates: dict[str, list[float]] = {name: [] for name in ways(cores())}
    for _ in range(arguments.rounds):
        for name, way in ways(cores()).items():
            rates[name].append(run(arguments, way))
    print(table(("", "images/s"), [[name, spread(values)] for name, values in rates.items()]))


if __name__ == "__main__":
    sys.exit(main())
