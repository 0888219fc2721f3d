"""Channels padded with zeros to whole blocks of oneDNN's, for speed on a CPU.

oneDNN keeps images in blocks of 16 channels. A tensor that does not fill its blocks, such as the 12
new features of a layer in the papers' DenseNets, sends every convolution and BatchNorm that reads
it to an implementation several times slower. So on a CPU such a net is traced with each part of a
concatenation padded to whole blocks, by filters of zeros; what follows from zeros is zero. The
parameters are the net's own: padding them is part of the graph, hence their gradients come back in
their own shapes, and nothing outside `models/` can tell.
"""

from __future__ import annotations

import itertools

BLOCK = 16  # channels in a oneDNN block with AVX-512; a multiple of the 8 of AVX2


def aligned(*channels):
    """Whether all these channel counts fill whole oneDNN blocks."""
    return all(count % BLOCK == 0 for count in channels)


def padded(parts):
    """Count the channels of a concatenation whose parts, of these widths, fill whole blocks."""
    return sum(-(-width // BLOCK) * BLOCK for width in parts)


def _by_runs(F, x, parts, widths_in, change):
    """Change an axis of x, (A, C, B), run by run of equal parts: each comes as (A, n, width, B)."""
    results, start = [], 0
    for width, run in itertools.groupby(parts):
        count, held = len(list(run)), widths_in(width)
        piece = F.slice_axis(x, axis=1, begin=start, end=start + count * held)
        start += count * held
        piece = change(F.reshape(piece, (0, count, held, -1)), width)
        results.append(F.reshape(piece, (0, -3, -1)))
    return results[0] if len(results) == 1 else F.concat(*results, dim=1)


def pad(F, x, parts):
    """Put zeros behind each part of an axis, so that it fills whole blocks.

    Parameters
    ----------
    F : module
        `mxnet.sym` or `mxnet.nd`.
    x : Symbol or NDArray
        Shape (A, C, B).
    parts : tuple of int
        The parts' widths, C together.

    Returns
    -------
    Symbol or NDArray
        Shape (A, padded(parts), B).
    """

    def widen(piece, width):
        missing = (0, 0, 0, 0, 0, padded([width]) - width, 0, 0)
        return F.pad(piece, mode="constant", pad_width=missing) if missing[5] else piece

    return x if aligned(*parts) else _by_runs(F, x, parts, lambda width: width, widen)


def strip(F, x, parts):
    """Take the zeros of `pad` away again: (A, padded(parts), B) → (A, C, B)."""

    def narrow(piece, width):
        return F.slice_axis(piece, axis=2, begin=0, end=width)

    return x if aligned(*parts) else _by_runs(F, x, parts, lambda width: padded([width]), narrow)
