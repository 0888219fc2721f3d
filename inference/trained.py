"""Load trained nets from runs, checkpoints, pretrained and other files: to use, or to start from.

Nothing here trusts a file: parameters are read by `params_file`, and JSON is checked.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping, Sequence

from runtime import mx

import numpy as np

import compiler
import models
from errors import InputError, expected_form, nearest
from inference.old_checkpoints import modern_names
from records.checkpoints import Checkpoint, find, read_checkpoint
from records.config import Config
from records.run_folder import read_config, read_results
from utils import LOG, Normaliser, read_regular, sha256
from weights import pretrained
from weights.parameters import get_parameters, named_parameters, set_parameters
from weights.params_file import MAX_BYTES, read_params


@dataclass(frozen=True)
class Trained:
    """A net with what has to be known to use it.

    Parameters
    ----------
    net : gluon.HybridBlock
        Takes normalised images (N, 3, 32, 32), returns logits (N, classes).
    classes : tuple of str
        Class names.
    normaliser : Normaliser
        The training images'.
    facts : dict
        Where it comes from and what it reached, in a form that JSON can hold: `run_facts`.
    data_dir : str, optional
        Where its training data was.
    """

    net: Any
    classes: tuple[str, ...]
    normaliser: Normaliser
    facts: dict[str, Any]
    data_dir: str | None = None


def load_trained(source: str | Path, ctx: Sequence[Any] | None = None) -> Trained:
    """Load a run's best net, a checkpoint's, or a pretrained model, hybridized.

    Parameters
    ----------
    source : path or str
        A run folder, a checkpoint in one, or the name of a pretrained model.
    ctx : list of mxnet.Context, optional
        Where to put it; the CPU by default.

    Raises
    ------
    InputError
        If there is no such thing, or it is damaged.
    """
    path = Path(source)
    if os.path.isfile(path / "config.json"):
        trained = _from_checkpoint(find(path), path, ctx)
    elif os.path.isfile(path / "manifest.json"):
        trained = _from_checkpoint(read_checkpoint(path), path.absolute().parents[1], ctx)
    elif str(source) in pretrained.names():
        row = pretrained.find(str(source))
        net = models.get_model(row["model"], len(row["classes"]), pretrained=True)
        net.collect_params().reset_ctx(ctx or mx.cpu())
        trained = Trained(net, tuple(row["classes"]), Normaliser.from_dict(row), row["facts"])
    else:
        hint = nearest(str(source), pretrained.names()) or " check the path"
        raise InputError(f"{source} is no run folder, checkpoint or pretrained model:{hint}")
    compiler.hybridize(trained.net)
    return trained


def run_facts(
    description: Mapping[str, Any], results: Mapping[str, Any], checkpoint: Checkpoint
) -> dict[str, Any]:
    """Return what an export says of the run that it comes from.

    Parameters
    ----------
    description, results : mapping
        What ``config.json`` and ``results.json`` hold; the second is empty while the run goes on.
    checkpoint : Checkpoint
        Where the parameters come from.

    Returns
    -------
    dict
        ``model`` and its ``options``; ``data`` with the fingerprints of data and split;
        ``run``, the results; ``source``, the checkpoint's name and the SHA-256 of its file.
    """
    config, data = description["config"], description["data"]
    return {
        "model": config["model"],
        "options": Config.from_dict(config).model_options(),
        "data": {
            **{name: data[name] for name in ("name", "fingerprint", "split")},
            **{name: config[name] for name in ("val_size", "seed")},
            "train_size": config.get("train_size", 0),
        },
        "run": dict(results),
        "source": {
            "checkpoint": f"{checkpoint.path.name}/best.params",
            "sha256": sha256(checkpoint.files["best.params"]),
        },
    }


def _from_checkpoint(checkpoint: Checkpoint, run: Path, ctx: Sequence[Any] | None) -> Trained:
    description, file = read_config(run), "best.params"
    with expected_form(f"{run / 'config.json'} is damaged"):
        config, data = Config.from_dict(description["config"]), description["data"]
        results = read_results(run, config.epochs, sha256(checkpoint.files[file]))
        facts = run_facts(description, results, checkpoint)
        classes = tuple(str(name) for name in data["classes"])
        normaliser = Normaliser.from_dict(data)
    net = models.get_model(config.model, len(classes), **config.model_options())
    set_parameters(net, checkpoint.arrays(file), checkpoint.path / file, ctx)
    return Trained(net, classes, normaliser, facts, config.data_dir)


@dataclass(frozen=True)
class InitialWeights:
    """Weights to start from.

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
        """Give an initialised net all that fits it in name and shape; the rest stays as it is.

        Raises
        ------
        InputError
            If these are the weights of another net: most of the smaller of the two, classifiers
            aside, does not fit; a stem may do by chance. Or if a weight is not finite. The net is
            as before.
        """
        parameters, arrays, source = named_parameters(net), self.arrays, self.facts["source"]
        fitting = [n for n, p in parameters.items() if n in arrays and arrays[n].shape == p.shape]
        fit, *sizes = (
            sum(not name.startswith("output.") for name in names)
            for names in (fitting, parameters, arrays)
        )
        if 2 * fit <= min(sizes):
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
            "weights of %s: %d arrays taken, %d left, %d made anew (%s)",
            *(source, len(fitting), len(left), len(anew), ", ".join(anew[:2]) or "none"),
        )


def open_weights(source: str, config: Config) -> InitialWeights:
    """Open weights to start from.

    Parameters
    ----------
    source : str
        What `load_trained` loads; a parameter file of Gluon's, with names of today or of its first
        releases; or the name of a net of GluonCV's, whose weights are looked for where GluonCV
        keeps them, and downloaded if they are not there.
    config : Config
        Of the net that is to have them.

    Raises
    ------
    InputError
        If there is no such thing, it is damaged, or cannot be downloaded.
    """
    path, normaliser = Path(source), None
    if not os.path.exists(path) and source in pretrained.gluoncv_names():
        path, normaliser = pretrained.gluoncv_file(source), pretrained.GLUONCV_NORMALISER
    if not os.path.isfile(path):
        trained = load_trained(source)
        facts = {"source": source, **trained.facts["source"]}
        return InitialWeights(get_parameters(trained.net), facts, trained.normaliser)
    data = read_regular(path, MAX_BYTES)
    arrays = read_params(data, path)
    if arrays and not any("." in name for name in arrays):
        net = models.get_model(config.model, **config.model_options())
        arrays = modern_names(arrays, net, path)
    return InitialWeights(arrays, {"source": source, "sha256": sha256(data)}, normaliser)
