"""What stochastic depth saves: the time of a step and of an epoch over the survival probability.

    python benchmarks/stochastic_depth.py                     # ResNet-110, five minutes
    python benchmarks/stochastic_depth.py --depth 20

Training steps of batch 64 on random images, optimizer included, each with the gates of its own step
as in a run. The work to expect is the share of residual blocks that survive, L · p on average,
and the stem's, the shortcuts' and the optimizer's on top.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import Callable

from contest import compete, describe_machine, serve, spread
from training_step import BATCH, gluon_step

from errors import command_line
from utils import table

EPOCH = 45_000  # images, as in the paper: 5,000 of CIFAR-10's are held out


def training_step(depth: int, probability: float) -> Callable[[], None]:
    """Return a step with other gates each time."""
    import compiler
    import models

    net = models.get_model("resnet110", depth=depth, final_survival_prob=probability)
    compiler.hybridize(net)
    return gluon_step(net)


@command_line
def main() -> None:
    """Compare, or, with ``--contender``, be one of those compared."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depth", type=int, default=110)
    parser.add_argument("--probabilities", type=float, nargs="+", default=[1, 0.8, 0.5, 0.2])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=6, help="a round")
    parser.add_argument("--contender", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contender:
        serve(training_step(arguments.depth, arguments.contender), warm_up=12)
        return
    from models.resnet import survival_probs

    print(f"{describe_machine()}; depth {arguments.depth}", flush=True)
    script = [str(Path(__file__)), "--depth", str(arguments.depth)]
    commands = {str(p): [*script, "--contender", str(p)] for p in arguments.probabilities}
    results = compete(commands, arguments.rounds, arguments.steps)
    constant = results[str(arguments.probabilities[0])]
    rows = []
    for name, result in results.items():
        seconds = statistics.mean(result.seconds)  # gates differ from round to round
        ratios = [a / b for a, b in zip(result.seconds, constant.seconds)]
        expected = survival_probs((arguments.depth - 2) // 2, float(name)).mean()
        rows.append(
            [
                *(name, f"{1000 * seconds:.0f}", f"{seconds * EPOCH / BATCH / 60:.1f}"),
                *(f"{statistics.mean(ratios):.3f}", spread(ratios, 3), f"{expected:.3f}"),
                f"{result.peak_mb:.0f}",
            ]
        )
    header = ("p_L", "ms a step", "min an epoch", "mean ratio", "ratios", "expected", "peak MB")
    print(table(header, rows))


if __name__ == "__main__":
    sys.exit(main())
