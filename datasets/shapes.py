"""The embedded data set: ten kinds of shapes and textures, drawn in about a second.

Colours, place and size say nothing about the class, and rotation only tells the two kinds of
stripes apart. So no linear classifier of pixels can tell the classes apart; a small convolutional
net can. Mirroring and cropping do not change the class. Everything is integer arithmetic on a
random stream that NumPy never changes, so the pixels are the same on every machine.

Lengths are in 64ths of a pixel, angles in 256ths of a turn, and a shape is a signed distance:
negative inside, positive outside, exact enough near the edge to smooth it over one pixel.
"""

from __future__ import annotations

import math
from typing import Callable

import numpy as np

from datasets.base import IMAGE_SHAPE, Dataset, Split, make_dataset

TRAIN_SIZE, TEST_SIZE = 10_000, 2_000
PIXEL = 64
SIDE = 32
# 1024 times the cosine; rounding removes the last digit, in which C libraries may differ.
_COSINE = np.array([round(1024 * math.cos(2 * math.pi * i / 256)) for i in range(256)], np.int32)

# (N, 32, 32) coordinates along and across the shape, (N, 1, 1) radius -> (N, 32, 32) distance
Shape = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def _along(u: np.ndarray, v: np.ndarray, angle: float) -> np.ndarray:
    """Return the coordinate in the direction of an angle, a fraction of a turn."""
    turn = round(256 * angle)
    return (u * _COSINE[turn % 256] + v * _COSINE[(turn - 64) % 256]) >> 10


def _circle(u: np.ndarray, v: np.ndarray, radius: np.ndarray) -> np.ndarray:
    return (u * u + v * v - radius * radius) // (2 * radius)


def _ring(u: np.ndarray, v: np.ndarray, radius: np.ndarray) -> np.ndarray:
    return np.maximum(_circle(u, v, radius), -_circle(u, v, radius * 9 // 16))


def _square(u: np.ndarray, v: np.ndarray, radius: np.ndarray) -> np.ndarray:
    return np.maximum(abs(u), abs(v)) - radius * 7 // 8


def _triangle(u: np.ndarray, v: np.ndarray, radius: np.ndarray) -> np.ndarray:
    sides = [_along(u, v, turn / 3) for turn in range(3)]
    return np.maximum(np.maximum(sides[0], sides[1]), sides[2]) - radius * 10 // 16


def _cross(u: np.ndarray, v: np.ndarray, radius: np.ndarray) -> np.ndarray:
    long, short = radius * 17 // 16, radius * 5 // 16
    upright = np.maximum(abs(u) - short, abs(v) - long)
    return np.minimum(upright, np.maximum(abs(u) - long, abs(v) - short))


def _star(u: np.ndarray, v: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Five points: what lies inside of at least four of the five lines through them."""
    sides = np.stack([_along(u, v, turn / 5) for turn in range(5)])
    return np.partition(sides, 3, axis=0)[3] - radius * 6 // 16


def _crescent(u: np.ndarray, v: np.ndarray, radius: np.ndarray) -> np.ndarray:
    bitten = _circle(u - radius * 10 // 16, v, radius * 14 // 16)
    return np.maximum(_circle(u, v, radius), -bitten)


def _wave(u: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Bands as wide as the gaps between them."""
    return abs(u % radius - radius // 2) - radius // 4


def _checkerboard(u: np.ndarray, v: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Inside one of two kinds of bands but not both."""
    bands, others = _wave(u, radius * 5 // 4), _wave(v, radius * 5 // 4)
    return np.maximum(np.minimum(bands, others), -np.maximum(bands, others))


# class name: what draws it, and by how many 256ths of a turn it may be rotated either way
SHAPES: dict[str, tuple[Shape, int]] = {
    "circle": (_circle, 128),
    "ring": (_ring, 128),
    "square": (_square, 128),
    "triangle": (_triangle, 128),
    "cross": (_cross, 128),
    "star": (_star, 128),
    "crescent": (_crescent, 128),
    "horizontal stripes": (lambda u, v, radius: _wave(v, radius), 9),
    "vertical stripes": (lambda u, v, radius: _wave(u, radius), 9),
    "checkerboard": (_checkerboard, 128),
}


def load_shapes() -> Dataset:
    """Draw the data set: 10,000 training and 2,000 test images, as many of each class."""
    rng = np.random.RandomState([0, 0x54A9E5])
    parts = [rng.permutation(size) % len(SHAPES) for size in (TRAIN_SIZE, TEST_SIZE)]
    labels = np.concatenate(parts).astype(np.int32)
    images = np.empty((len(labels), *IMAGE_SHAPE), np.uint8)
    for label, (shape, rotation) in enumerate(SHAPES.values()):
        chosen = np.flatnonzero(labels == label)
        images[chosen] = _draw(shape, rotation, len(chosen), rng)
    train = Split(images[:TRAIN_SIZE], labels[:TRAIN_SIZE])
    test = Split(images[TRAIN_SIZE:], labels[TRAIN_SIZE:])
    return make_dataset("shapes", train, test, tuple(SHAPES))


def _draw(shape: Shape, rotation: int, count: int, rng: np.random.RandomState) -> np.ndarray:
    """Draw `count` images of one class, uint8 (count, 3, 32, 32)."""

    def uniform(low: int, high: int, *size: int) -> np.ndarray:
        return rng.randint(low, high + 1, (count, *size, 1, 1), dtype=np.int32)

    centres = np.arange(SIDE, dtype=np.int32) * PIXEL + PIXEL // 2 - SIDE * PIXEL // 2
    x = centres[None, None, :] - uniform(-3 * PIXEL, 3 * PIXEL)
    y = centres[None, :, None] - uniform(-3 * PIXEL, 3 * PIXEL)
    angle = uniform(-rotation, rotation) % 256
    cosine, sine = _COSINE[angle], _COSINE[(angle - 64) % 256]
    u, v = (x * cosine + y * sine) >> 10, (y * cosine - x * sine) >> 10
    distance = shape(u, v, uniform(7 * PIXEL, 10 * PIXEL))
    coverage = np.clip(PIXEL // 2 - distance, 0, PIXEL)[:, None]

    # The ground shades from one colour to another; the shape differs from it in every channel.
    ground, shade = uniform(0, 255, 3), uniform(-40, 40, 3)
    angle = uniform(0, 255)
    slope = (centres[None, None, :] * _COSINE[angle] + centres[:, None] * _COSINE[angle - 64]) >> 10
    ground_there = np.clip(ground + ((shade * slope[:, None]) >> 10), 0, 255)
    colour = (ground + 128 + uniform(-40, 40, 3)) % 256
    picture = ground_there + (((colour - ground_there) * coverage) >> 6)
    noise = np.frombuffer(rng.bytes(picture.size), np.uint8).reshape(picture.shape)
    return np.clip(picture + (noise >> 3).astype(np.int32) - 16, 0, 255).astype(np.uint8)
