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
    number = int(np.flatnonzero(data.test.labels == 2)[0])
    logits = 9 * np.eye(10, dtype=np.float32)[data.test.labels]
    logits[number, 7] = 20  # it is taken for one of class 7, all others for what they are
    batches = iter(np.split(logits, 8))
    net = Classifier(data.classes, {}, lambda images: next(batches))
    monkeypatch.setattr(mistakes, "open_classifier", lambda name: net)
    monkeypatch.setattr(mistakes, "get_dataset", lambda *_: data)
    found = json.loads(to_json(mistakes.measure(None)))
    assert found["images"] == 2000
    assert [each["number"] for each in found["surest"]] == [number]
    rows = mistakes.tabulate(found).splitlines()[2:]
    worst = [cell.strip() for cell in rows[0].split("|")[1:-1]]
    count = (data.test.labels == 2).sum()
    assert worst == ["square", f"{100 / count:.1f}", f"{data.classes[7]} ({100 / count:.1f} %)"]
    assert all("| 0.0 " in " ".join(row.split()) for row in rows[1:])
    figure = mistakes.draw(found, tmp_path / "picture.png")
    pixels = figure.axes[0].images[0].get_array()
    np.testing.assert_array_equal(pixels, data.test.images[number].transpose(1, 2, 0))
    assert figure.axes[0].get_title() == "is: square"
