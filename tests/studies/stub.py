"""Runs of a study of the smallest net on a few of the embedded images."""

from __future__ import annotations

import json
from typing import Any

from records.config import make_config
from studies.study import Entry

NAME = "stub"
TINY: dict[str, Any] = {
    "model": "resnet20",
    "depth": 8,
    "dataset": "shapes",
    "train_size": 20,
    "val_size": 20,
    "batch_size": 20,
    "no_augment": True,
}


def entry(epochs: int = 1, seed: int = 0, **settings: Any) -> Entry:
    """Return a run of the study."""
    return Entry(NAME, "a", make_config(**{**TINY, **settings, "epochs": epochs}, seed=seed))


def keep(made: Entry, test_error: float = 0.25, **described: Any) -> Entry:
    """Write what a finished run leaves, without training it."""
    made.kept.mkdir(parents=True)
    facts = {
        "config": made.config.to_dict(),
        "parameters": 7,
        "precision": "float32",
        "data": {"fingerprint": "a" * 64, "train": 20, "val": 20, "test": 2000},
        "git": {"commit": "b" * 40},
        **described,
    }
    (made.kept / "config.json").write_text(json.dumps(facts))
    lines = ["epoch,lr,train_acc,train_loss,val_acc,val_loss"]
    lines += [f"{epoch},0.1,{0.6 + 0.1 * epoch},1,{0.3 + 0.1 * epoch},2" for epoch in (1, 2)]
    (made.kept / "metrics.csv").write_text("\n".join(lines))
    results = {"test_acc_best": 1 - test_error, "train_seconds": 90, "cpu_seconds": 60}
    results["epochs"] = made.config.epochs
    (made.kept / "results.json").write_text(json.dumps(results))
    return made
