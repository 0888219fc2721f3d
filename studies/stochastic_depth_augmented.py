"""The same question, of images that crop and flip make many of."""

from __future__ import annotations

from studies.stochastic_depth import recipes
from studies.study import Study

STUDY = Study(
    question="Does stochastic depth regularise where crop and flip do already?",
    recipes=recipes(1.0, 0.5, epochs=120),
    seeds=(0,),
)
