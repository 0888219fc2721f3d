"""Chains of concatenations, such as a dense block's: the rules concat, split and pack."""

from __future__ import annotations

from .channels import aligned, pad
from .rewrite import Tensor

# A chain's new images become old ones when they are so many, if together they fill whole blocks; at
# the latest when they are twice as many.
GROUP = 4
SPLIT = 64  # channels of old images from which on they are read apart from the new ones


def concat(rewriter, node, *inputs):
    """Concatenation of channels → of padded parts; of a chain the old and the new by themselves.

    ``concat(concat(a, b), c)`` copies a and b again at every layer, and splits their gradient. So
    a chain's old images, which `GROUP` layers have in common, are one segment, joined once, and the
    new ones are another. Readers read both, and nothing is copied for one reader but the new ones.

    A 4-D concatenation of parts that fill no whole blocks dies in its backward pass, so what is not
    padded is joined as (N, C, H · W).
    """
    shape = node.outputs[0].shape
    if node.get("dim", 1) != 1 or len(shape) != 4:
        return "not of images' channels"
    if not all(x.segments for x in inputs):
        if aligned(*(value.shape[1] for value in node.inputs)):
            return "its parts fill whole blocks"
        flat = [rewriter.add("Reshape", rewriter.as_plain(x), shape=(0, 0, -1)) for x in inputs]
        joined = rewriter.graph.repeat(node, *flat).outputs[0]
        return Tensor(rewriter.add("Reshape", joined, shape=(0, 0, *shape[2:])))
    pieces = tuple(piece for x in inputs for piece in x.pieces)
    old, new = _arrange(rewriter, pieces)
    segments = [old, new] if new else [old]
    if "split" in rewriter.without or sum(width for image in old for width in image.parts) < SPLIT:
        segments = [old + new]
    return Tensor(segments=[rewriter.join(images) for images in segments], pieces=pieces)


def _arrange(rewriter, pieces):
    """Return the old and the new images that a chain of concatenations consists of."""

    def make():
        if len(pieces) == 1:
            return pieces, ()
        if len(pieces) > 2 and ("chain", pieces[:-1]) not in rewriter.memo:
            return pieces, ()
        old, new = _arrange(rewriter, pieces[:-1])
        new += pieces[-1:]
        fits = aligned(sum(width for image in new for width in image.parts))
        if (len(new) >= GROUP and fits) or len(new) >= 2 * GROUP:
            return (*old, _pack(rewriter, rewriter.join(new))) if fits else old + new, ()
        return old, new

    return rewriter.once(("chain", pieces), make)


def _pack(rewriter, image):
    """Take the zeros out of an image, if that leaves whole blocks: by a convolution, within them.

    It is done once for all readers, which saves them, here, a quarter of their work.
    """
    if aligned(*image.parts) or "pack" in rewriter.without:
        return image
    rewriter.taken["pack"] += 1
    width = sum(image.parts)
    eye = rewriter.add("_eye", N=width, dtype="float32")
    eye = rewriter.add("Reshape", eye, shape=(0, 0, 1, 1))
    weight = pad(rewriter.graph, eye, image.parts, (0, -1, 1, 1), axis=1)
    weight = rewriter.bfloat16(rewriter.add("BlockGrad", weight))
    options = {"kernel": (1, 1), "num_filter": width, "no_bias": True}
    packed = rewriter.add("Convolution", image, weight, **options)
    return rewriter.image(packed, (width,), image.shape[2:], True)
