"""Speed and memory of models on this machine's processor, in training and in inference.

    python benchmarks/throughput.py resnet20 cifar_resnet20_v1
    python benchmarks/throughput.py densenet --batch-size 64 128 --amp --json throughput.json

Random images, initial weights. A step of training is forward, backward and optimizer; one of
inference gives logits. Every model, batch size and mode has a process of its own, takes two steps
to warm up, and then so many that are timed one by one: the median, the least and the most.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Sequence

from contest import Result, compete, describe_machine, serve, spread
from forward_pass import ours as inference_step
from training_step import gluon_step

from errors import InputError, Parser, command_line
from utils import table, to_json, write_atomically

MODES = ("training", "inference")
HEADER = ("model", "batch", "mode", "images/s", "peak MB", "parameters", "MACs")


def contender(model: str, batch: int, mode: str, amp: bool) -> None:
    """Take steps of a mode when told to."""
    import compiler
    import models

    if mode == "inference":
        serve(inference_step(batch, model, {}, amp))
    else:
        net = models.get_model(model)
        compiler.hybridize(net, bfloat16=amp)
        serve(gluon_step(net, batch))


def measure(model: str, batch: int, mode: str, arguments: argparse.Namespace) -> Result:
    """Return what a contender did, a step a round."""
    flags = ["--batch-size", str(batch), "--contender", mode, *["--amp"] * arguments.amp]
    threads = {"OMP_NUM_THREADS": str(arguments.threads)} if arguments.threads else {}
    command = [str(Path(__file__).resolve()), model, *flags]
    return compete({mode: command}, arguments.steps, 1, {mode: threads})[mode]


def describe(model: str, batch: int, mode: str, result: Result) -> dict[str, Any]:
    """Return a row for a file: numbers, or why there are none."""
    row: dict[str, Any] = {"model": model, "batch_size": batch, "mode": mode}
    if result.fault:
        return {**row, "fault": result.fault}
    return {**row, "images_per_second": result.rates(batch), "peak_mb": round(result.peak_mb)}


def positive(text: str) -> int:
    """Read a whole number from 1 on."""
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Measure, or, with ``--contender``, be what is measured."""
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", metavar="MODEL", help="python -m models lists them")
    parser.add_argument("--batch-size", type=positive, nargs="+", default=[64], help="[64]")
    parser.add_argument("--steps", type=positive, default=10, help="to be timed [10]")
    parser.add_argument("--threads", type=positive, help="[one for each physical core]")
    parser.add_argument("--amp", action="store_true", help="compute in bfloat16")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there, too")
    parser.add_argument("--contender", choices=MODES, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.contender:
        contender(arguments.models[0], arguments.batch_size[0], arguments.contender, arguments.amp)
        return

    import compiler
    import models

    if arguments.amp and not compiler.has_bfloat16():
        raise InputError("this processor has no AVX512-BF16: leave --amp out")
    nets = {name: models.get_model(name) for name in arguments.models}
    machine = describe_machine(arguments.threads)
    print(f"{machine}; {arguments.steps} steps", flush=True)
    cells, rows = [], []
    for name, net in nets.items():
        size, work = models.count_parameters(net), models.count_multiply_accumulates(net)
        for batch in arguments.batch_size:
            for mode in MODES:
                row = describe(name, batch, mode, measure(name, batch, mode, arguments))
                rows.append({**row, "parameters": size, "multiply_accumulates": work})
                rates = row.get("images_per_second")
                found = spread(rates) if rates else row["fault"][:60]
                cells.append([name, batch, mode, found, row.get("peak_mb", "")])
                cells[-1] += [f"{size:,}", f"{work / 1e6:,.1f} M"]
    print(table(HEADER, cells))
    if arguments.json:
        facts = {"machine": machine, "bfloat16": arguments.amp, "rows": rows}
        write_atomically(arguments.json, to_json(facts, indent=1) + b"\n")


if __name__ == "__main__":
    sys.exit(main())
