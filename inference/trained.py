"""Load trained nets: run folders, checkpoints, pretrained weights.

Nothing here trusts a file: parameters are read by `params_file`, and JSON is checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping, Sequence

import runtime  # noqa: F401  before MXNet, which it prepares this process for

import compiler
import models
from errors import InputError, nearest
from records.checkpoints import Checkpoint, find, read_checkpoint
from records.config import Config
from records.run_folder import read_config, read_results
from utils import Normaliser, sha256
from weights import pretrained
from weights.parameters import set_parameters


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
    """Load a run's best net, a checkpoint's, or a pretrained model.

    Parameters
    ----------
    source : path or str
        A run folder; a checkpoint in one, or ``net.params`` or ``best.params`` in that; the name of
        a pretrained model.
    ctx : list of mxnet.Context, optional
        Where to put it; the CPU by default.

    Returns
    -------
    Trained
        Hybridized.

    Raises
    ------
    InputError
        If there is no such thing, or it is damaged.
    """
    path = Path(source)
    file = path.name if path.suffix == ".params" else "best.params"
    folder = path.parent if path.suffix == ".params" else path
    if (path / "config.json").is_file():
        trained = _from_checkpoint(find(path), file, path, ctx)
    elif (folder / "manifest.json").is_file():
        trained = _from_checkpoint(read_checkpoint(folder), file, folder.absolute().parents[1], ctx)
    elif str(source) in pretrained.names():
        row = pretrained.find(str(source))
        net = models.get_model(row["model"], len(row["classes"]))
        pretrained.load(net, row["model"], len(row["classes"]), ctx)
        trained = Trained(net, tuple(row["classes"]), Normaliser.from_dict(row), row["facts"])
    else:
        hint = nearest(str(source), pretrained.names()) or " check the path"
        raise InputError(f"{source} is no run folder, checkpoint or pretrained model:{hint}")
    compiler.hybridize(trained.net)
    return trained


def run_facts(
    description: Mapping[str, Any],
    results: Mapping[str, Any],
    checkpoint: Checkpoint,
    file: str = "best.params",
) -> dict[str, Any]:
    """Return what an export says of the run that it comes from.

    Parameters
    ----------
    description : mapping
        What ``config.json`` holds.
    results : mapping
        What ``results.json`` holds; empty while the run goes on.
    checkpoint : Checkpoint
        Where the parameters come from.
    file : str
        Which of its files.

    Returns
    -------
    dict
        ``model`` and its ``options``; ``data`` with the fingerprints of data and split;
        ``run``, the results; ``val_acc`` of these parameters or None; ``source``, the checkpoint's
        name and the SHA-256 of its file.
    """
    config, data = description["config"], description["data"]
    progress = checkpoint.progress
    epoch = progress["best_epoch"] if file == "best.params" else progress["epoch"]
    line = progress["history"][epoch - 1] if 0 < epoch <= len(progress["history"]) else {}
    if file == "net.params" and config.get("ema") is not None:
        line = {}  # what was validated is the average
    return {
        "model": config["model"],
        "options": Config.from_dict(config).model_options(),
        "data": {
            **{name: data[name] for name in ("name", "fingerprint", "split")},
            **{name: config[name] for name in ("val_size", "seed")},
            "train_size": config.get("train_size", 0),
        },
        "run": dict(results),
        "val_acc": line.get("val_acc"),
        "source": {
            "checkpoint": f"{checkpoint.path.name}/{file}",
            "sha256": sha256(checkpoint.files[file]),
        },
    }


def _from_checkpoint(
    checkpoint: Checkpoint, file: str, run: Path, ctx: Sequence[Any] | None
) -> Trained:
    description = read_config(run)
    if file not in ("best.params", "net.params"):
        raise InputError(f"{checkpoint.path / file} holds no net: choose best.params or net.params")
    try:
        config, data = Config.from_dict(description["config"]), description["data"]
        results = read_results(run, config.epochs, sha256(checkpoint.files["best.params"]))
        facts = run_facts(description, results, checkpoint, file)
        classes = tuple(str(name) for name in data["classes"])
        normaliser = Normaliser.from_dict(data)
    except InputError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"{run / 'config.json'} is damaged: {error!r}") from error
    net = models.get_model(config.model, len(classes), **config.model_options())
    set_parameters(net, checkpoint.arrays(file), checkpoint.path / file, ctx)
    return Trained(net, classes, normaliser, facts, config.data_dir)
