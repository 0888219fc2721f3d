"""Parameter files of Gluon's first releases, in which layers are named by class and number.

    python -m inference.old_checkpoints OLD.params NEW.params --model densenet_bc100_k12

`save_params` of MXNet 0.12 wrote ``conv0_weight``, ``bottleneck0_batchnorm0_gamma`` and so on: the
layer's class and a counter, after those of the block that it is in. Today's names are paths in the
net, ``features.1.layers.0.reduce.0.gamma``; neither name follows from the other. But the order of
the layers is the same, so the n-th layer of the file is taken for the n-th of the net.
"""

from __future__ import annotations

from errors import InputError, Parser, command_line, end_on_ctrl_c  # isort: split

if __name__ == "__main__":
    end_on_ctrl_c()

import math
import re
import sys
from pathlib import Path
from typing import Any, Mapping, Sequence

import numpy as np

import models
from utils import read_regular, write_atomically
from weights.parameters import named_parameters, set_parameters
from weights.params_file import MAX_BYTES, read_params, write_params

# With or without the net's own prefix, as in densenet0_conv0_weight.
_NAME = re.compile(r"(.+)_(weight|bias|gamma|beta|running_mean|running_var)")
# A DenseNet's layers; those of dense blocks and transitions are numbered throughout the net.
_PLACE = re.compile(
    r"(?:[a-z]+\d+_)??(?:(bottleneck|singlelayer|transition)(\d{1,9})_)?"
    r"(batchnorm|conv|dense)(\d{1,9})"
)


def modern_names(
    arrays: Mapping[str, np.ndarray], net: Any, source: object
) -> dict[str, np.ndarray]:
    """Return the arrays of such a file under the names that they have in a net.

    They are what ``save_params``, or ``collect_params().save``, wrote, in any order that a Python
    of the time gave a dictionary. The net has the same layers; their shapes are not looked at.

    Raises
    ------
    InputError
        If the names are others, or the layers are not those of the net.
    """
    old: dict[str, dict[str, np.ndarray]] = {}
    for name, value in arrays.items():
        match = _NAME.fullmatch(name)
        if match is None:
            raise InputError(
                f"{source} has no prefix-style names such as conv0_weight: it has {name!r:.60}"
            )
        old.setdefault(match[1], {})[match[2]] = value
    new: dict[str, dict[str, str]] = {}
    for name in named_parameters(net):
        layer, _, kind = name.rpartition(".")
        new.setdefault(layer, {})[kind] = name
    if len(old) != len(new):
        raise InputError(f"{source} is of another net: {len(old)} layers, this has {len(new)}")
    renamed = {}
    for layer, names in zip(_in_order(list(old)), new.values()):
        if set(old[layer]) != set(names):
            found, wanted = (", ".join(sorted(kinds)) for kinds in (old[layer], names))
            raise InputError(f"{source} is of another net: {layer} has {found} instead of {wanted}")
        renamed.update({name: old[layer][kind] for kind, name in names.items()})
    return renamed


def _in_order(layers: list[str]) -> list[str]:
    """Return layers in the order of computation.

    It is the file's, unless the names are a DenseNet's: their numbers tell the order.
    """
    places = {layer: match for layer in layers if (match := _PLACE.fullmatch(layer))}
    units = {(match[1] == "transition", match[2]) for match in places.values() if match[1]}
    if not units or len(places) < len(layers):
        return layers
    transitions = sum(is_transition for is_transition, _ in units)
    per_block = (len(units) - transitions) / (transitions + 1)

    def place(layer: str) -> tuple[float, int, int, str]:
        unit, number, kind, within = places[layer].groups()
        if not unit:  # the first convolution, or what follows all blocks
            return (-1 if kind == "conv" else math.inf, 0, int(within), kind)
        block = int(number) + 0.5 if unit == "transition" else int(number) // per_block
        return (block, int(number), int(within), kind)

    return sorted(layers, key=place)


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
    arrays = read_params(read_regular(Path(arguments.old), MAX_BYTES), arguments.old)
    renamed = modern_names(arrays, net, arguments.old)
    set_parameters(net, renamed, arguments.old)  # which refuses what does not fit
    write_atomically(Path(arguments.new), write_params(renamed))
    print(arguments.new)


if __name__ == "__main__":
    sys.exit(main())
