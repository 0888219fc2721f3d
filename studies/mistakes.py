"""What does a trained net get wrong? The errors of each class, and those it is surest of."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, Mapping

import matplotlib.figure as figures
import numpy as np

from datasets import get_dataset
from figures.pictures import draw_predictions
from inference.classifiers import open_classifier
from inference.metrics import measure as measure_errors
from studies.feature_reuse import MODEL, kept_net
from studies.study import Measurement
from utils import table

SHOWN = 6


def measure(data_dir: str | None) -> dict[str, Any]:
    """Measure the kept net on the test images of CIFAR-10, which it has learnt."""
    net, data = open_classifier(MODEL), get_dataset("cifar10", data_dir)
    test, probabilities = data.test, net.probabilities(data.test.images)
    wrong = probabilities.argmax(axis=1) != test.labels
    surest = np.argsort(np.where(wrong, -probabilities.max(axis=1), 1), kind="stable")[:SHOWN]
    return {
        **kept_net(data),
        "classes": data.classes,
        **measure_errors(probabilities, test.labels, data.classes),
        "surest": [
            {
                "number": int(number),
                "class": data.classes[test.labels[number]],
                "probabilities": probabilities[number].tolist(),
                "pixels": base64.b64encode(test.images[number].tobytes()).decode(),
            }
            for number in surest[: wrong.sum()]
        ],
    }


def tabulate(results: Mapping[str, Any]) -> str:
    """Return each class's error, the largest first, and what its images are taken for most."""
    classes, rows = results["classes"], []
    for number, counts in enumerate(np.array(results["confusion"])):
        others = np.where(np.arange(len(classes)) == number, -1, counts)
        taken = f"{classes[others.argmax()]} ({100 * others.max() / counts.sum():.1f} %)"
        rows.append((100 * (1 - counts[number] / counts.sum()), classes[number], taken))
    rows.sort(reverse=True)
    header = ("images of", "test error, %", "most often taken for")
    return table(header, [[name, f"{error:.1f}", taken] for error, name, taken in rows])


def draw(results: Mapping[str, Any], path: Path | None = None) -> figures.Figure:
    """Draw the mistakes that the net is surest of; the picture goes to `path`."""
    found = results["surest"]
    pixels = b"".join(base64.b64decode(each["pixels"]) for each in found)
    return draw_predictions(
        np.frombuffer(pixels, np.uint8).reshape(-1, 3, 32, 32),
        [f"is: {each['class']}" for each in found],
        np.array([each["probabilities"] for each in found]),
        results["classes"],
        path,
        top=5,
    )


STUDY = Measurement("What does a trained net get wrong?", measure, tabulate, draw)
