"""The embedded data set is the same everywhere, and worth a convolutional net."""

from __future__ import annotations

import numpy as np
import pytest

import datasets


@pytest.fixture(scope="module")
def shapes():
    return datasets.get_dataset("shapes")


def test_the_pixels_are_the_same_under_every_numpy_and_python(shapes):
    assert shapes.fingerprint == "16327c7b502ddc30fd3a96bc1f72c218b4fd5b801a7f7f2a58e7f4f1752ea4d4"


def test_every_class_has_as_many_images(shapes):
    assert np.bincount(shapes.train.labels).tolist() == [1000] * 10
    assert np.bincount(shapes.test.labels).tolist() == [200] * 10


def test_no_image_comes_twice(shapes):
    images = {image.tobytes() for split in (shapes.train, shapes.test) for image in split.images}
    assert len(images) == len(shapes.train) + len(shapes.test)


def test_another_seed_draws_other_images(shapes):
    other = datasets.get_dataset("shapes", seed=1)
    assert other.fingerprint != shapes.fingerprint
    assert other.classes == shapes.classes


def accuracy_of_a_linear_model(train, train_labels, test, test_labels):
    """Fit one-against-all weights by ridge regression and return the best test accuracy."""
    mean = train.mean(axis=0)
    train, test = train - mean, test - mean
    gram, moment = train.T @ train, train.T @ np.eye(10, dtype=np.float32)[train_labels]
    accuracies = []
    for ridge in (1e-3, 1e-1, 10):
        weights = np.linalg.solve(gram + ridge * len(train) * np.eye(len(gram)), moment)
        accuracies.append(((test @ weights).argmax(axis=1) == test_labels).mean())
    return max(accuracies)


def test_a_linear_model_cannot_tell_the_classes_apart(shapes):
    # Every second pixel each way, all three colours: neighbours say nearly the same.
    train, test = (
        split.images[:, :, ::2, ::2].reshape(len(split), -1).astype(np.float32) / 255
        for split in (shapes.train, shapes.test)
    )
    accuracy = accuracy_of_a_linear_model(train, shapes.train.labels, test, shapes.test.labels)
    assert accuracy < 0.35


def test_colours_say_nothing_about_the_class(shapes):
    train, test = (
        np.concatenate(
            [split.images.mean(axis=(2, 3)), split.images.std(axis=(2, 3))], axis=1
        ).astype(np.float32)
        / 64
        for split in (shapes.train, shapes.test)
    )
    accuracy = accuracy_of_a_linear_model(train, shapes.train.labels, test, shapes.test.labels)
    assert accuracy < 0.4
