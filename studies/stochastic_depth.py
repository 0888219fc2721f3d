"""Does stochastic depth regularise? Few images, a deep net, and time to learn them by heart."""

from __future__ import annotations

from typing import Any

from studies.study import Study

_COMMON = {
    "model": "resnet56",
    "preset": "stochastic-depth",
    "train_size": 5000,
    "val_size": 2000,
    "batch_size": 128,
    "amp": True,  # bfloat16, where the processor has it
}


def recipes(*probabilities: float, **settings: Any) -> dict[str, dict[str, Any]]:
    """Return one recipe for each survival probability of the last block."""
    return {f"p{p:g}": {**_COMMON, **settings, "final_survival_prob": p} for p in probabilities}


STUDY = Study(
    question="Does stochastic depth regularise?",
    recipes=recipes(1.0, 0.8, 0.5, no_augment=True, epochs=100),
    seeds=(0, 1, 2),
)
