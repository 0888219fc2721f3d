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
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

WARM_UP = 3


def measure(model: str, kvstore: str, devices: int, batch_size: int, steps: int) -> None:
    """Take steps as this process and its fellows, and print images/s over all of them."""
    from runtime import mx

    import numpy as np

    import compiler
    import models
    from training.config import make_config
    from training.distributed import Workers
    from training.optimisation import make_trainer, train_step
    from utils import Normaliser

    workers = Workers(kvstore)
    config = make_config(model=model, batch_size=batch_size, kvstore=kvstore)
    ctx = [mx.cpu(number) for number in range(devices)]
    net = models.get_model(model)
    models.initialize(net, ctx, 0)
    compiler.hybridize(net)
    trainer = make_trainer(net, config, ctx, workers)
    share, rest = divmod(batch_size, workers.count * devices)
    if rest:
        raise SystemExit(f"batch {batch_size} cannot be divided by {workers.count * devices}")
    share *= devices
    images = np.random.RandomState(workers.rank).randint(0, 256, (share, 3, 32, 32))
    images = images.astype(np.uint8)
    targets = np.eye(10, dtype=np.float32)[np.arange(share) % 10]
    normaliser = Normaliser((120, 120, 120), (60, 60, 60))
    start = 0.0
    for step in range(WARM_UP + steps):
        if step == WARM_UP:
            mx.nd.waitall()
            start = time.perf_counter()
        models.draw_gates(net, 0, step)
        train_step(net, trainer, images, targets, normaliser, ctx, config, step == 0)
    mx.nd.waitall()
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
    from runtime import mx, physical_cores

    cores = physical_cores()
    print(f"{arguments.model}, batch {arguments.batch_size}, {arguments.steps} steps a round")
    print(f"{cores} cores, {platform.platform()}, MXNet {mx.__version__}")
    rates: dict[str, list[float]] = {name: [] for name in ways(cores)}
    for _ in range(arguments.rounds):
        for name, way in ways(cores).items():
            rates[name].append(run(arguments, way))
    print(f"{'':50}{'images/s':>10}{'spread':>16}")
    for name, values in rates.items():
        spread = f"{min(values):.1f} to {max(values):.1f}"
        print(f"{name:50}{statistics.median(values):10.1f}{spread:>16}")


if __name__ == "__main__":
    main()
