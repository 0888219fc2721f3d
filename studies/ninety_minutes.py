"""What ninety minutes of two cores can do; run it with ``--jobs 1``, since two runs share them."""

from __future__ import annotations

from studies.study import Study

# The preset's net takes so long with AVX2; with AVX512-BF16 one that is twice as wide does.
STUDY = Study(
    question="How low is the error after ninety minutes on two cores?",
    recipes={
        "resnet11_pooled_sd": {"preset": "cpu-90min"},
        "wide-sd": {
            "preset": "cpu-90min",
            "width": 2,
            "cutout": 8,
            "epochs": 32,
            "final_survival_prob": 0.8,
        },
        "densenet": {
            "preset": "cpu-90min",
            "model": "densenet_bc40_k16",
            "final_survival_prob": None,
            "depth": 22,
            "growth_rate": 24,
            "cutout": 8,
            "epochs": 28,
        },
    },
    seeds=(0,),
)
