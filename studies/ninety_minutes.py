"""What ninety minutes of two cores can do; run it with ``--jobs 1``, since two runs share them."""

from __future__ import annotations

from studies.study import Study

_RECIPE = {"preset": "cpu-90min", "ema": 0.999}

STUDY = Study(
    question="How low is the error after ninety minutes on two cores?",
    recipes={
        # With AVX2 the narrow net takes that long, the others with AVX512-BF16.
        "pooled-sd": {
            **_RECIPE,
            "width": 1,
            "cutout": 0,
            "epochs": 30,
            "final_survival_prob": 0.9,
        },
        "pooled-wide-sd": {**_RECIPE, "epochs": 32, "final_survival_prob": 0.8},
        "densenet": {
            **_RECIPE,
            "model": "densenet_bc40_k16",
            "depth": 22,
            "width": None,
            "pool": False,
            "growth_rate": 24,
        },
    },
    seeds=(0,),
)
