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
_DEPTHS = (1, 0.8, 0.5)


def recipes(**settings: Any) -> dict[str, dict[str, Any]]:
    """Return one recipe for each survival probability of the last block."""
    return {f"p{p}": {**_COMMON, **settings, "final_survival_prob": float(p)} for p in _DEPTHS}


STUDY = Study(
    question="Does stochastic depth regularise?",
    recipes=recipes(no_augment=True, epochs=100),
    seeds=(0, 1, 2),
)
