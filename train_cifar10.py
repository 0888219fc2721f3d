"""Train a DenseNet or a stochastic-depth ResNet on small images.

    python train_cifar10.py --model densenet                  # the paper's recipe on CIFAR-10
    python train_cifar10.py --dataset shapes --preset quick   # minutes on a CPU, no download
    python train_cifar10.py --resume runs/NAME                # goes on as if never stopped
    python train_cifar10.py --preset runs/NAME/config.json --seed 1    # the same, another seed

Exit codes: 0 done; 2 wrong usage or unusable input; 3 diverged; 129, 130 or 143 stopped by SIGHUP,
SIGINT or SIGTERM, with a checkpoint saved once training has begun.
"""

from __future__ import annotations

from errors import command_line, end_on_ctrl_c, tell  # isort: split

if __name__ == "__main__":
    end_on_ctrl_c()

import sys
from pathlib import Path
from typing import Sequence

from figures.curves import plot_curves
from records.flags import parse_args
from training.epoch import StoppedError
from training.run import DivergedError
from training.train import train


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """Train as the command line says, and draw the curves."""
    try:
        results = train(parse_args(argv))
    except DivergedError as error:
        tell(f"diverged: {error}")
        return 3
    except StoppedError as stopped:
        return stopped.exit_code
    if results:  # else this is not the first worker
        folder = Path(results["run_dir"])
        plot_curves([folder], folder / "curves.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
