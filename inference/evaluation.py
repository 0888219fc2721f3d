"""Measure classifiers, alone and as an ensemble, on images that they were not trained on."""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np

import datasets
from datasets import Dataset, Split
from errors import InputError, expected_form
from inference.classifiers import Classifier, open_classifier
from inference.metrics import measure


def choose_split(
    classifier: Classifier, source: str, data: Dataset, name: str, other_data: bool = False
) -> Split:
    """Return the images of a split to measure a classifier on, if its data and split are these.

    With `other_data` the test images of other data than it was trained on will do.

    Raises
    ------
    InputError
        If classes, data, or the division into train and val differ from those of its training.
    """
    if classifier.classes != data.classes:
        raise InputError(
            f"{source} tells other classes apart ({', '.join(classifier.classes[:3])} …) than "
            f"{data.name} has ({', '.join(data.classes[:3])} …): choose its data by --dataset"
        )
    with expected_form(f"{source} does not say what it was trained on"):
        facts = dict(classifier.facts["data"])
        val_size, seed = int(facts["val_size"]), int(facts["seed"])
        train_size = int(facts.get("train_size", 0))
        if not 0 <= seed < 2**32:
            raise ValueError(f"seed {seed}")
        same_data = facts["fingerprint"] == data.fingerprint
    if not same_data and not (other_data and name == "test"):
        raise InputError(
            f"{source} was trained on other data than these (fingerprints differ), so test images "
            "may be among those it knows: choose its data by --dataset and --data-dir"
            + ("; --other-data allows it" if name == "test" else "")
        )
    if name == "test":
        return data.test
    train, val, fingerprint = datasets.split_validation(data.train, val_size, seed, train_size)
    if fingerprint != facts.get("split"):
        raise InputError(f"{source} was trained on another split (fingerprints differ)")
    if name == "val" and not len(val):
        raise InputError(f"{source} was trained without validation images: choose --split test")
    return val if name == "val" else train


def evaluate(
    sources: Sequence[str],
    dataset: str | None = None,
    data_dir: str | None = None,
    split: str = "test",
    flip: bool = False,
    other_data: bool = False,
    ctx: str = "cpu",
) -> dict[str, Any]:
    """Measure classifiers alone and together.

    Parameters
    ----------
    sources : sequence of str
        What `inference.classifiers.open_classifier` opens.
    dataset, data_dir : str, optional
        The data; that of the first classifier's training if omitted.
    split : str
        ``test``, ``val`` or ``train``.
    flip : bool
        Average the probabilities of each image and its mirror image.
    other_data : bool
        See `choose_split`.
    ctx : str
        Where MXNet computes: ``cpu``, ``gpu`` or ``auto``.

    Returns
    -------
    dict
        ``dataset``, ``split``, ``flip``; ``models``, for each ``source``, ``model`` and what
        `inference.metrics.measure` returns; ``ensemble``, the same of the mean of several models'
        probabilities, or None.

    Raises
    ------
    InputError
        If anything cannot be used or was trained on something else.
    """
    members = [open_classifier(source, ctx) for source in sources]
    facts = members[0].facts.get("data")
    learnt = facts.get("name") if isinstance(facts, dict) else None
    dataset = dataset or learnt
    if not isinstance(dataset, str):
        raise InputError(f"{sources[0]} does not say what it was trained on: give --dataset")
    data = datasets.get_dataset(
        dataset, data_dir or (members[0].data_dir if dataset == learnt else None)
    )
    splits = [
        choose_split(member, source, data, split, other_data)
        for member, source in zip(members, sources)
    ]
    images, labels = splits[0].images, splits[0].labels
    if any(not np.array_equal(each.images, images) for each in splits[1:]):
        raise InputError(f"these were trained on different splits: {split} is not the same for all")
    results, total = [], np.zeros((len(labels), len(data.classes)))
    for member, source in zip(members, sources):
        probabilities = member.probabilities(images, flip)
        total += probabilities
        result = measure(probabilities, labels, data.classes)
        results.append({"source": str(source), "model": member.facts.get("model"), **result})
    ensemble = None
    if len(members) > 1:
        ensemble = measure(total / len(members), labels, data.classes)
    about = {"dataset": data.name, "split": split, "flip": flip}
    return {**about, "models": results, "ensemble": ensemble}
