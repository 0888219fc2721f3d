"""Print every model with its size, its work and its published error: `python -m models`."""

from __future__ import annotations

from models import (
    ALIASES,
    REGISTRY,
    count_multiply_accumulates,
    count_parameters,
    get_model,
    list_models,
)


def main():
    """Print the table."""
    print(f"{'model':32}{'parameters':>12}{'MACs':>10}  C10+ error of the papers")
    for name in list_models():
        net = get_model(name)
        _, _, error = REGISTRY.get(name, (None, None, None))
        macs = f"{count_multiply_accumulates(net) / 1e6:,.1f} M"
        published = "" if error is None else f"{error:.2f} %"
        print(f"{name:32}{count_parameters(net):>12,}{macs:>12}  {published}".rstrip())
    for alias, name in ALIASES.items():
        print(f"{alias} means {name}")


if __name__ == "__main__":
    main()
