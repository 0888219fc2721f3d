"""Loss, errors and intervals are what their names say."""

from __future__ import annotations

import numpy as np
import pytest

from inference.metrics import cross_entropy, measure, softmax, wilson


def test_softmax_bears_logits_that_would_overflow():
    probabilities = softmax(np.array([[1000.0, 1000.0, -1000.0]], np.float32))
    np.testing.assert_allclose(probabilities, [[0.5, 0.5, 0]])


def test_cross_entropy_is_in_nats_and_finite():
    probabilities = np.array([[0.5, 0.5], [1.0, 0.0]])
    assert cross_entropy(probabilities, np.array([0, 0])) == pytest.approx(np.log(2) / 2)
    assert np.isfinite(cross_entropy(probabilities, np.array([0, 1])))


def test_wilson_interval_has_the_published_values():
    # Newcombe, Statistics in Medicine 17 (1998), table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    for wrong, total, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson(wrong, total) == pytest.approx((low, high), abs=5e-5)


def test_top5_counts_a_class_among_the_five_most_probable():
    probabilities = np.array([[0.3, 0.25, 0.2, 0.1, 0.08, 0.07]] * 4)
    classes = list("abcdef")
    result = measure(probabilities, np.array([0, 4, 5, 5]), classes)
    assert result["top1_error"] == 0.75
    assert result["top5_error"] == 0.5
    assert result["class_errors"] == {"a": 0, "b": None, "c": None, "d": None, "e": 1, "f": 1}
    assert result["images"] == 4
    assert result["confusion"][4] == [1, 0, 0, 0, 0, 0]  # what it is, and what it was taken for
    assert measure(np.full((2, 5), 0.2), np.array([0, 1]), [*"abcde"])["top5_error"] is None
