"""Weights that were trained here, small enough to be kept here, and GluonCV's.

    net = models.get_model("densenet_bc40_k16", pretrained=True)

``table.json`` says of each what it reached, on what, how long that took, and its checksum. Files
hold float16, half the size; the errors in the table are those of the rounded weights.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, Mapping

from runtime import mx

from errors import InputError, nearest
from utils import Normaliser, read_regular, sha256
from weights.parameters import get_parameters, set_parameters
from weights.params_file import MAX_BYTES, read_params

FOLDER = Path(__file__).resolve().parents[1] / "pretrained"
# Of GluonCV's own training scripts for CIFAR, which its weights come from.
GLUONCV_NORMALISER = Normaliser(
    [255 * mean for mean in (0.4914, 0.4822, 0.4465)],
    [255 * std for std in (0.2023, 0.1994, 0.2010)],
)
_GLUONCV = "cifar_"  # what the names of its nets for CIFAR begin with
_LOG = logging.getLogger("pretrained")


def read_table() -> list[dict[str, Any]]:
    """Return the rows of ``table.json``: ``model``, ``classes``, ``mean``, ``std`` and more."""
    return json.loads((FOLDER / "table.json").read_text())


def names() -> list[str]:
    """Return the names of the models that weights are kept of."""
    return [row["model"] for row in read_table()]


def find(name: str) -> dict[str, Any]:
    """Return a model's row; of a net of GluonCV's, what `load` reads of one.

    Raises
    ------
    InputError
        If there are no weights of it.
    """
    rows = {row["model"]: row for row in read_table()}
    if name in rows:
        return rows[name]
    if name.startswith(_GLUONCV) and name in gluoncv_names():
        file = gluoncv_file(name)  # GluonCV checks it by itself
        return {"model": name, "file": file, "classes": range(10), "sha256": ""}
    raise InputError(
        f"there are no pretrained weights of {name!r}:{nearest(name, rows)} "
        f"there are {', '.join(rows) or 'none yet'}"
    )


def gluoncv_names() -> list[str]:
    """Return the names of GluonCV's nets for CIFAR-10 that it has weights of."""
    from runtime import gluoncv

    names = gluoncv.model_zoo.pretrained_model_list()
    return sorted(name for name in names if name.startswith(_GLUONCV))


def gluoncv_file(name: str) -> Path:
    """Return the file of a net of GluonCV's, downloaded where GluonCV keeps it unless it is there.

    Raises
    ------
    InputError
        If it cannot be had.
    """
    from gluoncv.model_zoo.model_store import get_model_file

    try:
        return Path(get_model_file(name)).absolute()
    except Exception as error:  # each of the libraries that it downloads by has its own
        raise InputError(
            f"cannot get GluonCV's weights of {name}: {error!s:.150}; put their file into "
            "~/.mxnet/models, or $MXNET_HOME/models, or give the path of a file of your own"
        ) from error


def load(net: Any, row: Mapping[str, Any], classes: int) -> None:
    """Load a model's weights into its net, on the CPU.

    Parameters
    ----------
    net : gluon.HybridBlock
        What `models.get_model` returns for the row's name.
    row : mapping
        What `find` returns.
    classes : int
        How many classes the net tells apart. If the weights tell others apart, the output layer
        starts anew, and a warning says so.

    Raises
    ------
    InputError
        If the file cannot be read, or is not the one in the table.
    """
    path, known = FOLDER / row["file"], len(row["classes"])
    data = read_regular(path, MAX_BYTES)
    if row["sha256"] not in ("", sha256(data)):
        raise InputError(f"{path} is damaged: its checksum is not that of the table; get it again")
    arrays = read_params(data, path)
    if classes != known:
        _LOG.warning(
            "%s: the pretrained weights tell %d classes apart, not %d: the output layer is new",
            *(row["model"], known, classes),
        )
        net.output.weight.shape = (classes, arrays["output.weight"].shape[1])
        net.output.initialize(mx.init.Xavier("gaussian", "out", 2), ctx=mx.cpu())
        head = get_parameters(net.output)
        arrays = {**arrays, **{f"output.{key}": value for key, value in head.items()}}
    set_parameters(net, arrays, path)
