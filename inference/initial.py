"""Weights that a run starts from, instead of random ones, whatever they are kept in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterable, Mapping

from runtime import mx

import numpy as np

import models
from errors import InputError
from inference.old_checkpoints import modern_names
from inference.trained import load_trained
from records.config import Config
from utils import LOG, Normaliser, read_regular, sha256
from weights import pretrained
from weights.parameters import get_parameters, named_parameters
from weights.params_file import MAX_BYTES, read_params

_CLASSIFIER = "output."
_SHOWN = 3  # names in a message


@dataclass(frozen=True)
class InitialWeights:
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

    def load_into(self, net: Any) -> None:
        """Give a net all that fits it in name and shape; the rest of it stays as it is.

        Parameters
        ----------
        net : gluon.Block
            Initialised.

        Raises
        ------
        InputError
            If these are the weights of another net: most of the smaller of the two, classifiers
            aside, does not fit; a stem may do by chance. Or if a weight is not finite. The net is
            as before.
        """
        parameters, arrays, source = named_parameters(net), self.arrays, self.facts["source"]
        fitting = [n for n, p in parameters.items() if n in arrays and arrays[n].shape == p.shape]
        if 2 * _features(fitting) <= min(_features(parameters), _features(arrays)):
            raise InputError(
                f"{source} holds the weights of another net: {len(fitting)} of its {len(arrays)} "
                "arrays fit this one in name and shape; choose its --model and options"
            )
        for name in fitting:
            if not np.isfinite(arrays[name]).all():
                raise InputError(f"{source} cannot be started from: {name} is not finite")
        for name in fitting:
            parameters[name].set_data(mx.nd.array(arrays[name], dtype=parameters[name].dtype))
        left, anew = ([n for n in names if n not in fitting] for names in (arrays, parameters))
        LOG.info(
            "weights of %s: %d arrays taken, %d left%s, %d made anew%s",
            *(source, len(fitting), len(left), _names(left), len(anew), _names(anew)),
        )


def _features(names: Iterable[str]) -> int:
    return sum(not name.startswith(_CLASSIFIER) for name in names)


def _names(names: list[str]) -> str:
    more = ["…"] if len(names) > _SHOWN else []
    return f" ({', '.join([*names[:_SHOWN], *more])})" if names else ""


def open_weights(source: str, config: Config) -> InitialWeights:
    """Open weights to start from.

    Parameters
    ----------
    source : str
        What `inference.trained.load_trained` loads; a parameter file of Gluon's, with names of
        today or of its first releases; or the name of a net of GluonCV's, whose weights are looked
        for where GluonCV keeps them, and downloaded if they are not there.
    config : Config
        Of the net that is to have them.

    Raises
    ------
    InputError
        If there is no such thing, it is damaged, or cannot be downloaded.
    """
    path = Path(source)
    if path.is_file() and not (path.parent / "manifest.json").is_file():
        return _from_file(path, source, config)
    if not path.exists() and source in models.list_models() and source not in models.REGISTRY:
        return _from_file(
            pretrained.gluoncv_file(source), source, config, pretrained.GLUONCV_NORMALISER
        )
    trained = load_trained(source)
    facts = {"source": source, **trained.facts["source"]}
    return InitialWeights(get_parameters(trained.net), facts, trained.normaliser)


def _from_file(
    path: Path, source: str, config: Config, normaliser: Normaliser | None = None
) -> InitialWeights:
    data = read_regular(path, MAX_BYTES)
    arrays = read_params(data, path)
    if arrays and not any("." in name for name in arrays):
        net = models.get_model(config.model, **config.model_options())
        arrays = modern_names(arrays, net, path)
    return InitialWeights(arrays, {"source": source, "sha256": sha256(data)}, normaliser)
