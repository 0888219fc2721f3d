"""Weights that were trained here, small enough to be kept here.

    net = models.get_model("densenet_bc40_k16", pretrained=True)

``table.json`` says of each what it reached, on what, how long that took, and its checksum. Files
hold float16, half the size; the errors in the table are those of the rounded weights.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Sequence

from errors import InputError, nearest
from formats.params_file import read_params

FOLDER = Path(__file__).parent
MAX_BYTES = 2_000_000


def read_table() -> list[dict[str, Any]]:
    """Return the rows of ``table.json``: ``model``, ``classes``, ``mean``, ``std`` and more."""
    return json.loads((FOLDER / "table.json").read_text())


def names() -> list[str]:
    """Return the names of the models that weights are kept of."""
    return [row["model"] for row in read_table()]


def find(name: str) -> dict[str, Any]:
    """Return a model's row.

    Raises
    ------
    InputError
        If there are no weights of it.
    """
    for row in read_table():
        if row["model"] == name:
            return row
    raise InputError(
        f"there are no pretrained weights of {name!r}:{nearest(name, names())} "
        f"there are {', '.join(names()) or 'none yet'}"
    )


def load(net: Any, name: str, classes: int, ctx: Sequence[Any] | None = None) -> None:
    """Load a model's weights into its net.

    Parameters
    ----------
    net : gluon.HybridBlock
        What `models.get_model` returns for the name.
    name : str
        The model's name.
    classes : int
        How many classes the net tells apart.
    ctx : list of mxnet.Context, optional
        Where to put a net that is not initialised; the CPU by default.

    Raises
    ------
    InputError
        If there are none, they are for other classes, or the file is not the one in the table.
    """
    from formats.weights import set_parameters  # imports MXNet, which the table does without

    row = find(name)
    if classes != len(row["classes"]):
        raise InputError(
            f"the pretrained weights of {name} tell {len(row['classes'])} classes apart, "
            f"not {classes}: leave out classes"
        )
    path = FOLDER / row["file"]
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != row["sha256"]:
        raise InputError(f"{path} is damaged: its checksum is not that of the table; get it again")
    set_parameters(net, read_params(data, path), path, ctx)
