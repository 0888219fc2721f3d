"""Channels padded with zeros to whole blocks.

oneDNN's fast layouts keep 8 or 16 channels of a pixel together (nChw16c). A tensor of another
number of channels, such as the 12 new features of a layer in the papers' DenseNets, sends every
convolution and BatchNorm that reads it to an implementation several times slower, and some
concatenations of such tensors crash. So each part of a concatenation is padded, by filters of
zeros.
"""

from __future__ import annotations

import itertools

from .processor import block

BLOCK = block()


def aligned(*widths):
    """Whether all these channel counts fill whole blocks."""
    return all(width % BLOCK == 0 for width in widths)


def padded(*widths):
    """Count the channels of a concatenation whose parts, of these widths, are padded."""
    return sum(-(-width // BLOCK) * BLOCK for width in widths)


def pad(graph, x, parts, target, axis=0):
    """Put zeros behind each part of an axis, 0 or 1: sum(parts) → padded(parts).

    The result has the shape `target`, as MXNet's ``reshape`` takes it.
    """

    def widen(piece, width):
        missing = (0, 0, 0, 0, 0, padded(width) - width, 0, 0)
        return graph.add("Pad", piece, mode="constant", pad_width=missing) if missing[5] else piece

    return _by_runs(graph, x, parts, target, axis, lambda width: width, widen)


def strip(graph, x, parts, target, axis=0):
    """Take the zeros of `pad` away again: padded(parts) → sum(parts)."""

    def narrow(piece, width):
        return graph.add("slice_axis", piece, axis=2, begin=0, end=width)

    return _by_runs(graph, x, parts, target, axis, padded, narrow)


def _by_runs(graph, x, parts, target, axis, held, change):
    """Change an axis of x, run by run of equal parts: each comes as (A, n, width, B)."""
    if aligned(*parts):
        return x
    results, start = [], 0
    runs = [(width, len(list(run))) for width, run in itertools.groupby(parts)]
    for width, count in runs:
        end = start + count * held(width)
        piece = x
        if len(runs) > 1:
            piece = graph.add("slice_axis", x, axis=axis, begin=start, end=end)
        start = end
        piece = graph.add("Reshape", piece, shape=(0 if axis else 1, count, held(width), -1))
        piece = piece if aligned(width) else change(piece, width)
        results.append(piece)
    if len(results) > 1:
        flat = [graph.add("Reshape", piece, shape=(0, -3, -1)) for piece in results]
        results = [graph.add("Concat", *flat, dim=1, num_args=len(flat))]
    return graph.add("Reshape", *results, shape=target)


def tidy(parts):
    """Return parts with neighbours that fill whole blocks as one."""
    runs = itertools.groupby(parts, aligned)
    return tuple(w for whole, run in runs for w in ([sum(run)] if whole else run))
