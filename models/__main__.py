"""Print models with their size, their work and their published error: `python -m models [NAME]`."""

from __future__ import annotations

import sys
from typing import Sequence

import models
from errors import Parser, command_line


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = Parser(description="Print models with their size, their work and their error.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="[all]")
    names = parser.parse_args(argv).names
    print(f"{'model':32}{'parameters':>12}{'MACs':>10}  published C10+ error")
    for name in [models.ALIASES.get(name, name) for name in names] or models.list_models():
        net = models.get_model(name)
        _, _, error = models.REGISTRY.get(name, (None, None, None))
        macs = f"{models.count_multiply_accumulates(net) / 1e6:,.1f} M"
        published = "" if error is None else f"{error:.2f} %"
        print(f"{name:32}{models.count_parameters(net):>12,}{macs:>12}  {published}".rstrip())
    for alias, name in () if names else models.ALIASES.items():
        print(f"{alias} means {name}")


if __name__ == "__main__":
    sys.exit(main())
