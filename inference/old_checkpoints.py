"""Parameter files of Gluon's first releases, in which layers are named by class and number.

    python -m inference.old_checkpoints OLD.params NEW.params --model densenet_bc100_k12

`save_params` of MXNet 0.12 wrote ``conv0_weight``, ``bottleneck0_batchnorm0_gamma`` and so on: the
layer's class and a counter, after those of the block that it is in. Today's names are paths in the
net, ``features.1.layers.0.reduce.0.gamma``; neither name follows from the other. But the order of
the layers is the same. So the n-th layer of the file is taken for the n-th of the net; if their
parameters or shapes differ, the file is of another net.
"""

from __future__ import annotations

from errors import InputError, Parser, command_line, end_on_ctrl_c  # isort: split

if __name__ == "__main__":
    end_on_ctrl_c()

import re
import sys
from pathlib import Path
from typing import Any, Mapping, Sequence

import numpy as np

import models
from utils import read_regular
from weights.parameters import named_parameters, save_parameters, set_parameters
from weights.params_file import MAX_BYTES, read_params

_KINDS = ("weight", "bias", "gamma", "beta", "running_mean", "running_var")
_NAME = re.compile(rf"(?P<layer>.+)_(?P<kind>{'|'.join(_KINDS)})")
# A DenseNet's names: layers of dense blocks and transitions are numbered throughout the net.
_PLACE = re.compile(
    r"(?:(?P<block>bottleneck|singlelayer)(?P<layer>\d{1,9})_|transition(?P<transition>\d{1,9})_)?"
    r"(?P<kind>conv|batchnorm|dense)(?P<number>\d{1,9})"
)


def load_old_parameters(net: Any, path: str | Path, ctx: Sequence[Any] | None = None) -> None:
    """Load a file of prefix-style names into a net, by position and shape.

    Parameters
    ----------
    net : gluon.Block
        A net with the same layers in the same order.
    path : path
        What ``save_params``, or ``collect_params().save``, wrote; with or without the net's own
        prefix, in any order that a Python of the time gave a dictionary.
    ctx : list of mxnet.Context, optional
        Where to put a net that is not initialised; the CPU by default.

    Raises
    ------
    InputError
        If it is no such file, or its layers are not those of the net; the net is as before.
    """
    path = Path(path)
    arrays = read_params(read_regular(path, MAX_BYTES), path)
    old = _in_order(_layers(arrays, path))
    new: dict[str, dict[str, str]] = {}
    for name in named_parameters(net):
        layer, _, kind = name.rpartition(".")
        new.setdefault(layer, {})[kind] = name
    renamed = {}
    shapes = {name: parameter.shape for name, parameter in named_parameters(net).items()}
    for number, (layer, names) in enumerate(new.items()):
        if number == len(old):
            raise InputError(f"{path} ends after {len(old)} layers, this net has {len(new)}")
        old_layer, values = old[number]
        found = {kind: value.shape for kind, value in values.items()}
        wanted = {kind: shapes[name] for kind, name in names.items()}
        if found != wanted:
            raise InputError(
                f"{path} is of another net: its layer {number + 1}, {old_layer}, has {found}, "
                f"and this net's, {layer}, {wanted}"
            )
        renamed.update({name: values[kind] for kind, name in names.items()})
    if len(old) > len(new):
        raise InputError(f"{path} has {len(old)} layers, this net only {len(new)}")
    set_parameters(net, renamed, path, ctx)


def count_classes(arrays: Mapping[str, np.ndarray], source: Path) -> int:
    """Return how many classes such a file tells apart: the rows of its last layer."""
    _, classifier = _in_order(_layers(arrays, source))[-1]
    return len(next(iter(classifier.values())))


def _layers(arrays: Mapping[str, np.ndarray], source: Path) -> dict[str, dict[str, np.ndarray]]:
    """Group parameters by layer, without the prefix that all names share."""
    # The net's own, as in densenet0_conv0_weight, unless it was left out.
    prefix = re.match(r"(?:[a-z]+\d+_)?", next(iter(arrays), ""))
    start = prefix.end() if prefix and all(name.startswith(prefix[0]) for name in arrays) else 0
    layers: dict[str, dict[str, np.ndarray]] = {}
    for name, value in arrays.items():
        match = _NAME.fullmatch(name[start:])
        if match is None:
            raise InputError(
                f"{source} has no prefix-style names such as conv0_weight: it has {name!r:.60}"
            )
        layers.setdefault(match["layer"], {})[match["kind"]] = value
    return layers


def _in_order(
    layers: Mapping[str, dict[str, np.ndarray]],
) -> list[tuple[str, dict[str, np.ndarray]]]:
    """Return layers in the order of computation.

    It is the file's, unless the names are a DenseNet's: their numbers tell the order.
    """
    matches = {name: _PLACE.fullmatch(name) for name in layers}
    places = {name: match for name, match in matches.items() if match}
    units = {match["layer"] for match in places.values() if match["layer"]}
    transitions = {match["transition"] for match in places.values() if match["transition"]}
    if not units or len(places) < len(layers):
        return list(layers.items())
    per_block = len(units) / (len(transitions) + 1)

    def place(name: str) -> tuple[float, ...]:
        match = places[name]
        within = (int(match["number"]), ["batchnorm", "conv", "dense"].index(match["kind"]))
        if match["layer"]:
            layer = int(match["layer"])
            return (layer // per_block, layer, *within)
        if match["transition"]:
            return (int(match["transition"]) + 0.5, 0, *within)
        return (-1 if match["kind"] == "conv" else len(units), 0, *within)

    return [(name, layers[name]) for name in sorted(layers, key=place)]


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Rewrite a file under today's names."""
    parser = Parser(description="Rewrite an old Gluon parameter file.")
    parser.add_argument("old", metavar="OLD", help="the file that MXNet 0.12 wrote")
    parser.add_argument("new", metavar="NEW", help="the file to write")
    parser.add_argument("--model", default="densenet_bc100_k12", help="[densenet_bc100_k12]")
    parser.add_argument("--classes", type=int, default=10, help="[10]")
    arguments = parser.parse_args(argv)
    net = models.get_model(arguments.model, arguments.classes)
    load_old_parameters(net, arguments.old)
    save_parameters(net, arguments.new)
    print(arguments.new)


if __name__ == "__main__":
    sys.exit(main())
