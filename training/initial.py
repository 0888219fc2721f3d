"""Weights that a run starts from, instead of random ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Iterable, Mapping

from runtime import mx

import numpy as np

from errors import InputError
from training.run_folder import LOG
from utils import Normaliser
from weights.parameters import named_parameters

_CLASSIFIER = "output."
_SHOWN = 3  # names in a message


@dataclass(frozen=True)
class Given:
    """Weights of another net.

    Parameters
    ----------
    arrays : mapping of str to numpy.ndarray
        By the names of `weights.parameters.named_parameters`.
    facts : dict
        ``source``, what the user called it, and ``sha256`` of its file, for ``config.json``.
    normaliser : Normaliser, optional
        What its images were normalised by, where that is known.
    """

    arrays: Mapping[str, np.ndarray]
    facts: dict[str, Any]
    normaliser: Normaliser | None = None


def take(net: Any, given: Given) -> None:
    """Give a net all that fits it in name and shape; the rest of it stays as it is.

    Parameters
    ----------
    net : gluon.Block
        Initialised.
    given : Given

    Raises
    ------
    InputError
        If these are the weights of another net: most of the smaller of the two, classifiers aside,
        does not fit; a stem may do by chance. Or if a weight is not finite. The net is as before.
    """
    parameters, arrays, source = named_parameters(net), given.arrays, given.facts["source"]
    taken = [n for n, p in parameters.items() if n in arrays and arrays[n].shape == p.shape]
    if 2 * _features(taken) <= min(_features(parameters), _features(arrays)):
        raise InputError(
            f"{source} holds the weights of another net: {len(taken)} of its {len(arrays)} arrays "
            "fit this one in name and shape; choose its --model and options"
        )
    for name in taken:
        if not np.isfinite(arrays[name]).all():
            raise InputError(f"{source} cannot be started from: {name} is not finite")
    for name in taken:
        parameters[name].set_data(mx.nd.array(arrays[name], dtype=parameters[name].dtype))
    left, anew = ([n for n in names if n not in taken] for names in (arrays, parameters))
    LOG.info(
        "weights of %s: %d arrays taken, %d left%s, %d made anew%s",
        *(source, len(taken), len(left), _names(left), len(anew), _names(anew)),
    )


def _features(names: Iterable[str]) -> int:
    return sum(not name.startswith(_CLASSIFIER) for name in names)


def _names(names: list[str]) -> str:
    more = ["…"] if len(names) > _SHOWN else []
    return f" ({', '.join([*names[:_SHOWN], *more])})" if names else ""
