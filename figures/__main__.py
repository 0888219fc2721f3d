"""Draw the curves of runs side by side: `python -m figures runs/A runs/B --out curves.png`."""

from __future__ import annotations

from errors import Parser, command_line, end_on_ctrl_c  # isort: split

if __name__ == "__main__":
    end_on_ctrl_c()

import sys
from typing import Sequence

from figures.curves import plot_curves


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Draw what the command line names."""
    parser = Parser(description="Draw the curves of runs side by side.")
    parser.add_argument("run_dirs", nargs="+", metavar="RUN", help="run folder")
    parser.add_argument("--out", default="curves.png", help="picture to write [curves.png]")
    arguments = parser.parse_args(argv)
    plot_curves(arguments.run_dirs, arguments.out)
    print(arguments.out)


if __name__ == "__main__":
    sys.exit(main())
