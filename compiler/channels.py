"""Channels padded with zeros to multiples of 16.

oneDNN's fast layouts keep 8 or 16 channels of a pixel together (nChw16c). A tensor of another
number of channels, such as the 12 new features of a layer in the papers' DenseNets, sends every
convolution and BatchNorm that reads it to an implementation several times slower, and some
concatenations of such tensors crash. So each part of a concatenation is padded, by filters of
zeros.
"""

from __future__ import annotations

import itertools

from runtime import mx

F = mx.sym
MULTIPLE = 16  # channels kept together with AVX-512; with AVX2 they are 8
# For reshape_like: spreads the last of three axes over the space of another tensor.
AS_SPACE = {"lhs_begin": 2, "lhs_end": 3, "rhs_begin": 2, "rhs_end": 4}


def aligned(*widths):
    """Whether all these channel counts are multiples of 16."""
    return all(width % MULTIPLE == 0 for width in widths)


def padded(parts):
    """Count the channels of a concatenation whose parts, of these widths, are padded."""
    return sum(-(-width // MULTIPLE) * MULTIPLE for width in parts)


def pad(x, parts):
    """Put zeros behind each part of an axis: (A, sum(parts), B) → (A, padded(parts), B)."""

    def widen(piece, width):
        missing = (0, 0, 0, 0, 0, padded([width]) - width, 0, 0)
        return F.pad(piece, mode="constant", pad_width=missing) if missing[5] else piece

    return x if aligned(*parts) else _by_runs(x, parts, lambda width: width, widen)


def strip(x, parts):
    """Take the zeros of `pad` away again: (A, padded(parts), B) → (A, sum(parts), B)."""

    def narrow(piece, width):
        return F.slice_axis(piece, axis=2, begin=0, end=width)

    return x if aligned(*parts) else _by_runs(x, parts, lambda width: padded([width]), narrow)


def _by_runs(x, parts, width_in, change):
    """Change an axis of x, (A, C, B), run by run of equal parts: each comes as (A, n, width, B)."""
    results, start = [], 0
    for width, run in itertools.groupby(parts):
        count, held = len(list(run)), width_in(width)
        piece = F.slice_axis(x, axis=1, begin=start, end=start + count * held)
        start += count * held
        piece = change(F.reshape(piece, shape=(0, count, held, -1)), width)
        results.append(F.reshape(piece, shape=(0, -3, -1)))
    return results[0] if len(results) == 1 else F.concat(*results, dim=1)


def in_space(change, x, parts):
    """Apply `pad` or `strip` to the channels of images, (N, C, H, W)."""
    if aligned(*parts):
        return x
    return F.reshape_like(change(F.reshape(x, shape=(0, 0, -1)), parts), x, **AS_SPACE)


def in_vectors(change, parts, *vectors):
    """Apply `pad` or `strip` to vectors of one number a channel."""
    if aligned(*parts):
        return vectors
    if len(vectors) == 1:
        rows = [change(F.reshape(vectors[0], shape=(1, -1, 1)), parts)]
    else:  # together, which takes fewer operators
        rows = change(F.expand_dims(F.stack(*vectors), axis=2), parts)
        rows = F.split(rows, num_outputs=len(vectors), axis=0)
    return [F.reshape(row, shape=(-1,)) for row in rows]


def pad_weight(weight, parts, filters, kernel):
    """Pad a convolution's weight: its filters, and their channels as those of the input are."""
    if not aligned(*parts):
        weight = pad(F.reshape(weight, shape=(0, 0, -1)), parts)
    if not aligned(filters):
        weight = pad(F.reshape(weight, shape=(1, filters, -1)), (filters,))
    if aligned(filters, *parts):
        return weight
    return F.reshape(weight, shape=(padded([filters]), -1, *kernel))
