"""Open weights to start a run from, whatever they are kept in."""

from __future__ import annotations

from pathlib import Path

import models
from inference.old_checkpoints import count_classes, load_old_parameters
from inference.trained import load_trained
from training.config import Config
from training.initial import Given
from utils import Normaliser, read_regular, sha256
from weights import pretrained
from weights.parameters import named_parameters
from weights.params_file import MAX_BYTES, read_params


def open_weights(source: str, config: Config) -> Given:
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
    arrays = {name: p.data().asnumpy() for name, p in named_parameters(trained.net).items()}
    return Given(arrays, {"source": source, **trained.facts["source"]}, trained.normaliser)


def _from_file(
    path: Path, source: str, config: Config, normaliser: Normaliser | None = None
) -> Given:
    data = read_regular(path, MAX_BYTES)
    arrays = read_params(data, path)
    if arrays and not any("." in name for name in arrays):
        net = models.get_model(config.model, count_classes(arrays, path), **config.model_options())
        models.initialize(net)  # shapes that GluonCV's nets leave open
        load_old_parameters(net, path)
        arrays = {name: p.data().asnumpy() for name, p in named_parameters(net).items()}
    return Given(arrays, {"source": source, "sha256": sha256(data)}, normaliser)
