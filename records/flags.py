"""The command line of `train_cifar10.py`: its flags, and which of them a resumed run takes."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any, Sequence

from errors import InputError, Parser
from records.config import PLACE, RESUMABLE, Config, make_config, yes_no
from records.recipes import PRESETS
from records.run_folder import read_config

# By the field that each begins with: title and explanation.
_GROUPS = {
    "model": ("model", "What is trained: a net of the registry, and what is changed in it."),
    "dataset": ("data and augmentation", "What it learns from, and what is done to the images."),
    "epochs": ("optimisation", "How long it learns, and by what steps of SGD."),
    "ctx": ("hardware", "What computes it, and in which precision."),
    "preset": ("run", "Where its settings come from and its files go, and how it is resumed."),
}


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of `train_cifar10.py`; only the flags given end up in its namespace."""
    rows = (f"  {name}: {p.source}.\n    {p.expects}." for name, p in PRESETS.items())
    parser = Parser(
        usage="%(prog)s [flags]",
        description="Train a DenseNet or a stochastic-depth ResNet on small images.\n"
        "What stands in brackets holds where the preset says nothing.",
        epilog="presets:\n" + "\n".join(rows),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    group: Any = parser
    for field in dataclasses.fields(Config):
        if field.name in _GROUPS:
            group = parser.add_argument_group(*_GROUPS[field.name])
        name = "--" + field.name.replace("_", "-")
        text = field.metadata["help"].replace("%", "%%")
        if isinstance(field.default, bool):
            # With a value, so that a preset's switch can be turned off.
            group.add_argument(name, type=yes_no, nargs="?", const=True, metavar="no", help=text)
            continue
        if field.default not in (None, "", ()) and "default" not in text:
            text += " [{}]".format(str(field.default).strip("()").replace(", ", ","))
        read, choices = field.metadata["read"], field.metadata["choices"]
        metavar = None if choices else field.name.upper()
        group.add_argument(name, type=read, choices=choices, metavar=metavar, help=text)
    return parser


def parse_args(argv: Sequence[str] | None = None) -> Config:
    """Read the command line; with ``--resume``, the run's own config and the flags beside it.

    Raises
    ------
    InputError
        If a flag or its value does not fit, or there is no such run. With ``--resume``, also if
        flags would change what the run is (each is named), lower its epochs, or raise them without
        naming the schedule that they stretch.
    """
    given = vars(make_parser().parse_args(argv))
    if "resume" not in given:
        return make_config(**given)
    config = Config.from_dict(read_config(Path(given["resume"]))["config"])
    differing = [
        f"--{name.replace('_', '-')} {value} (the run has {getattr(config, name)})"
        for name, value in given.items()
        if name not in (*RESUMABLE, *PLACE) and getattr(config, name) != value
    ]
    if differing:
        raise InputError(f"a resumed run keeps its settings; drop {', '.join(differing)}")
    epochs = given.get("epochs", config.epochs)
    if epochs < config.epochs:
        raise InputError(f"--epochs may be raised above {config.epochs} at resuming, not lowered")
    if epochs > config.epochs and "lr_schedule" not in given:
        raise InputError(
            f"--epochs {epochs} stretches the run's {config.lr_schedule} schedule of "
            f"{config.epochs} epochs, so that its learning rate may rise again: add --lr-schedule "
            f"{config.lr_schedule} to have that"
        )
    kept = {name: value for name, value in given.items() if name in (*RESUMABLE, *PLACE)}
    return dataclasses.replace(config, **kept)
