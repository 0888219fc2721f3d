"""Mistakes are those of the net and the images at hand, the surest first."""

from __future__ import annotations

import json

import numpy as np

from datasets import get_dataset
from inference.classifiers import Classifier
from studies import mistakes
from utils import to_json


def test_what_a_net_is_sure_and_wrong_of_is_shown(tmp_path, monkeypatch):
    data = get_dataset("shapes")
    labels = iter(np.array_split(data.test.labels, 8))

    def run(images):
        """Take the first image of class 2 for one of 7, all others for what they are."""
        right = next(labels)
        logits = np.eye(10, dtype=np.float32)[right] * np.float32(9)
        if len(images) and not run.erred:
            run.erred = [int(np.flatnonzero(right == 2)[0])]
            logits[run.erred[0], 7] = 20
        return logits

    run.erred = []
    facts = {"name": "shapes", "val_size": 0, "seed": 0, "fingerprint": data.fingerprint}
    net = Classifier(data.classes, {"data": facts}, run)
    monkeypatch.setattr(mistakes, "open_classifier", lambda name: net)
    monkeypatch.setattr(mistakes, "get_dataset", lambda *_: data)
    found = json.loads(to_json(mistakes.measure(None)))
    assert found["images"] == 2000
    assert [each["number"] for each in found["surest"]] == run.erred
    rows = mistakes.tabulate(found).splitlines()[2:]
    worst = [cell.strip() for cell in rows[0].split("|")[1:-1]]
    count = (data.test.labels == 2).sum()
    assert worst == ["square", f"{100 / count:.1f}", f"{data.classes[7]} ({100 / count:.1f} %)"]
    assert all("| 0.0 " in " ".join(row.split()) for row in rows[1:])
    figure = mistakes.draw(found, tmp_path / "picture.png")
    pixels = figure.axes[0].images[0].get_array()
    np.testing.assert_array_equal(pixels, data.test.images[run.erred[0]].transpose(1, 2, 0))
    assert figure.axes[0].get_title() == "is: square"
