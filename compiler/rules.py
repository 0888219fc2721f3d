"""What operators become on a processor: a rule for each that can be had faster, or safer.

A rule takes the `Rewriter`, the operator's node in the plain graph and its inputs, and returns a
Tensor, or the reason why the operator is left alone.
"""

from __future__ import annotations

from .chains import concat
from .channels import aligned, pad, padded, strip
from .fuse import is_onednn
from .rewrite import Tensor

IMAGE = 3  # channels for which oneDNN has kernels of its own
# What works in bfloat16, of the operators that work on each number by itself.
_BFLOAT16 = {"Activation", "Pooling", "elemwise_add", "_mul_scalar", "zeros_like"}


def convolution(rewriter, node, x, weight, bias=None):
    """2-D convolution → the same with filters of zeros, so that they fill whole blocks.

    Without them a growth rate of 12 falls from oneDNN's own kernels to a matrix product, here and
    in every layer that reads the features. Each segment of a concatenation is convolved by its own
    channels of the weights, and the results are added.
    """
    (_, channels, *space), kernel = node.inputs[0].shape, node.get("kernel")
    filters = node.get("num_filter")
    if len(kernel) != 2 or not _is_nchw(node):
        return "not 2-D, or of another layout"
    if node.get("num_group", 1) != 1:
        return "in groups"
    if space == [1, 1]:
        return "of one pixel: padding would be most of the work"
    graph, images = rewriter.graph, x.segments
    if not images:
        images = (x.plain,)
        if rewriter.half or not (aligned(channels) or channels == IMAGE):
            # In bfloat16 oneDNN has no kernels for three channels.
            value = pad(graph, x.plain, (channels,), (0, padded(channels), *space), axis=1)
            images = (rewriter.image(rewriter.bfloat16(value), (channels,), space, False),)
    results = []
    for image, part in zip(images, rewriter.split(rewriter.as_plain(weight), images, axis=1)):
        if image.parts:
            part = pad(graph, part, image.parts, (0, padded(*image.parts), *kernel), axis=1)
        part = pad(graph, part, (filters,), (padded(filters), -1, *kernel))
        inputs = [image, rewriter.bfloat16(part)]
        if bias and not results:
            inputs.append(rewriter.bfloat16(pad(graph, rewriter.as_plain(bias), (filters,), (-1,))))
        options = {"num_filter": padded(filters), "no_bias": len(inputs) == 2}
        value = graph.repeat(node, *inputs, **options).outputs[0]
        made = node.outputs[0].shape[2:]
        results.append(rewriter.image(value, (filters,), made, _is_common(node)))
    if len(results) > 1:  # a chain's two segments
        results = [_like(rewriter, rewriter.add("elemwise_add", *results), results[0])]
    return Tensor(segments=results)


def batch_norm(rewriter, node, x, *vectors):
    """BatchNorm over padded channels, or over segments → the same with its vectors padded.

    They are computed then, and MXNet can write running statistics to a variable alone: see `_move`.
    """
    if node.get("output_mean_var", False) or node.get("axis", 1) != 1:
        return "of another axis, or with statistics as outputs"
    if not x.segments:
        return "its input is not a convolution's"
    scale, shift, mean, var = map(rewriter.as_plain, vectors)
    images, momentum, eps = x.segments, node.get("momentum", 0.9), float(node.get("eps", 1e-3))
    if len(images) == 1 and aligned(*images[0].parts):
        value = rewriter.graph.repeat(node, *images, scale, shift, mean, var).outputs[0]
        return Tensor(segments=(_like(rewriter, value, images[0]),))
    batch = rewriter.training and not node.get("use_global_stats", False)
    learnt = [v for v in (scale, shift) if v.node.name in rewriter.learnt]
    if batch and not (learnt and 0 < momentum < 1):
        return "neither its scale nor its shift is learnt, or its momentum is 0 or 1"
    if batch and node not in rewriter.always_learnt:
        return "some output does not depend on it, and its statistics might not have to move"
    rewriter.differs = True
    if node.get("fix_gamma", True):
        scale = rewriter.add("ones_like", scale)
    options = {"output_mean_var": True, "eps": eps}
    if not batch:
        options = {"use_global_stats": True, "eps": 0}
        deviation = rewriter.add("rsqrt", rewriter.add("_plus_scalar", var, scalar=eps))
        scale = rewriter.add("elemwise_mul", scale, deviation)
        shift = rewriter.add("elemwise_sub", shift, rewriter.add("elemwise_mul", scale, mean))
    results, means, variances = [], [], []
    scales, shifts = rewriter.split(scale, images), rewriter.split(shift, images)
    for image, *own in zip(images, scales, shifts):
        shape = (padded(*image.parts),)
        own = [pad(rewriter.graph, vector, image.parts, shape) for vector in own]
        # In training MXNet writes to these, whatever they are.
        use = "batch" if batch else "fixed"
        own += [rewriter.graph.constant(f"{use}_{value}", shape, value) for value in (0, 1)]
        options.update(fix_gamma=False, name=node.name, outputs=3)
        value = rewriter.add("BatchNorm", image, *own, **options)
        results.append(_like(rewriter, value, image))
        if batch:
            for values, moment in zip((means, variances), _moments(rewriter, value, eps)):
                values.append(moment)
    if batch:
        rewriter.trusted.append(learnt[0].node.name)
        for running, values in ((mean, means), (var, variances)):
            _move(rewriter, running, _concat(rewriter, values, 0), learnt[0], momentum)
    return Tensor(segments=results)


def _move(rewriter, running, value, learnt, momentum):
    """Have a running statistic moved towards a batch's in the backward pass, as BatchNorm has it.

    The only other operator that writes to a variable in its backward pass is an identity made for
    sparse activations, of whose input it keeps a moving average. MXNet leaves operators out from
    which no gradient comes to a parameter, so its input is made to depend on one, by `where`, which
    lets nothing through. `Rewriter` adds what it returns, times nothing, to the graph's outputs.
    """
    row = rewriter.add("where", rewriter.add("zeros_like", value), learnt, value)
    before = rewriter.moves.get(running)
    if before:  # a layer that is called twice: MXNet goes backward
        row = rewriter.add("elemwise_add", row, rewriter.add("clip", before, a_min=0, a_max=0))
    options = {"momentum": momentum, "penalty": 0, "sparseness_target": 0.5}
    row = rewriter.add("Reshape", row, shape=(1, -1))
    moved = rewriter.add("IdentityAttachKLSparseReg", row, running, **options)
    rewriter.moves[running] = rewriter.add("Reshape", moved, shape=(-1,))


def _moments(rewriter, image, eps):
    """Return mean and variance of a BatchNorm's batch, of channels that are no padding."""
    _, mean, inverse = image.node.outputs  # MXNet's deviation is 1 / deviation
    variance = rewriter.add("reciprocal", rewriter.add("square", inverse))
    variance, parts = rewriter.add("_minus_scalar", variance, scalar=eps), image.parts
    return [strip(rewriter.graph, vector, parts, (sum(parts),)) for vector in (mean, variance)]


def relu(rewriter, node, x):
    """ReLU → Activation: `F.relu` is not oneDNN's and wants the plain layout, in and out."""
    options = {"op": "Activation", "act_type": "relu"} if node.op == "relu" else {}
    if not x.segments:
        if node.op == "Activation":
            return "is oneDNN's already"
        return Tensor(rewriter.graph.repeat(node, x.plain, **options).outputs[0])
    values = (rewriter.graph.repeat(node, image, **options).outputs[0] for image in x.segments)
    images = [_like(rewriter, v, i) for v, i in zip(values, x.segments)]
    for image in images:
        image.blocked &= is_onednn(image.node)
    return Tensor(segments=images)


def elementwise(rewriter, node, *inputs):
    """Leave channels padded where an operator works on each of them by itself."""
    if not all(x.segments for x in inputs):
        return "its inputs are not convolutions'"
    if rewriter.half and node.op not in _BFLOAT16:
        return "MXNet has it in float32 alone"
    segments = [x.segments for x in inputs]
    one_mask = node.op == "Dropout" and 1 in node.get("axes", ())  # for all channels
    if one_mask or len({tuple(image.parts for image in images) for images in segments}) > 1:
        segments = [(rewriter.join(images),) for images in segments]
    if len({images[0].parts for images in segments}) > 1:
        return "its inputs have other channels"
    results = []
    for images in zip(*segments):
        value = rewriter.graph.repeat(node, *images).outputs[0]
        blocked = is_onednn(node) and all(image.blocked for image in images)
        space = node.outputs[0].shape[2:]
        results.append(rewriter.image(value, images[0].parts, space, blocked))
    return Tensor(segments=results)


def average(rewriter, node, x):
    """Average over space → a product with a row of equal weights.

    Global pooling's gradient comes in a layout for which BatchNorm has only a reference
    implementation, and MXNet's mean sums element by element: it takes four times as long.
    """
    shape = node.inputs[0].shape
    if node.op == "Pooling":
        if node.get("pool_type", "max") != "avg" or not _is_nchw(node):
            return "of another kind"
    elif node.get("axis") not in ((2, 3), (-2, -1)) or node.get("exclude", False):
        return "over other axes"
    if len(shape) != 4:
        return "not of images"
    pixels = shape[2] * shape[3]
    row = rewriter.add("_full", shape=(1, pixels), value=1 / pixels, dtype="float32")
    rows = []
    for image in x.segments or (x.plain,):
        value = rewriter.float32(image) if image.parts else image
        channels = image.shape[1] if image.parts else shape[1]
        flat = rewriter.add("Reshape", value, shape=(-3, -3))
        value = rewriter.add("dot", flat, row, transpose_b=True)
        value = rewriter.add("Reshape", value, shape=(-1, channels))
        if image.parts:
            value = strip(rewriter.graph, value, image.parts, (0, sum(image.parts)), axis=1)
        rows.append(value)
    value = _concat(rewriter, rows, 1)
    if len(node.outputs[0].shape) == 4:
        value = rewriter.add("Reshape", value, shape=(0, 0, 1, 1))
    return Tensor(value)


def scale(rewriter, node, x, factor):
    """Images times (N, C, 1, 1) → times the same spread over space by a matrix product.

    The gradient of broadcasting sums element by element, in five times the time.
    """
    shape = node.inputs[0].shape
    row = rewriter.add("_ones", shape=(1, shape[2] * shape[3]), dtype="float32")
    column = rewriter.add("Reshape", rewriter.as_plain(factor), shape=(-1, 1))
    spread = rewriter.add("Reshape", rewriter.add("dot", column, row), shape=(-1, *shape[1:]))
    return Tensor(rewriter.add("elemwise_mul", rewriter.as_plain(x), spread))


def _like(rewriter, value, image):
    return rewriter.image(value, image.parts, image.shape[2:], image.blocked)


def _concat(rewriter, values, axis):
    if len(values) == 1:
        return values[0]
    return rewriter.add("Concat", *values, dim=axis, num_args=len(values))


def _is_common(node):
    """Whether a convolution is one that oneDNN surely writes in blocks.

    For others, by their dilation, a large kernel, or padding wider than the pixels that it computes
    at a time, it may have no kernel; then MXNet multiplies matrices, in the plain layout.
    """
    kernel, width = node.get("kernel"), node.outputs[0].shape[3]
    pads, steps = node.get("pad") or (0, 0), node.get("dilate") or (1, 1)
    return max(steps) == 1 and all(
        size <= 7 and pad < size and pad <= min(3, width) for size, pad in zip(kernel, pads)
    )


def _is_nchw(node):
    return node.get("layout") in (None, "NCHW")


# By operator: the name of its rule, and the rule. Of those that work on every number by itself,
# zeros may become others, which nothing reads.
RULES = {
    "Convolution": ("pad", convolution),
    "BatchNorm": ("norm", batch_norm),
    "relu": ("relu", relu),
    "Activation": ("relu", relu),
    "Concat": ("concat", concat),
    "Pooling": ("average", average),
    "mean": ("average", average),
    "broadcast_mul": ("scale", scale),
    **dict.fromkeys(
        (
            *("elemwise_add", "elemwise_sub", "elemwise_mul", "broadcast_add", "broadcast_sub"),
            *("_mul_scalar", "_div_scalar", "zeros_like", "Dropout", "sigmoid", "tanh", "_copy"),
        ),
        ("elementwise", elementwise),
    ),
}


def rule_of(node):
    """Return the name of the rule for a node, and the rule; it is None if there is none."""
    name, rule = RULES.get(node.op, ("", None))
    if node.op == "Pooling" and not node.get("global_pool", False):
        rule = elementwise
    if node.op == "broadcast_mul":
        shape, other = (value.shape for value in node.inputs)
        if len(shape) != 4 or other != (*shape[:2], 1, 1) or other == shape:
            rule = elementwise
    return ("elementwise" if rule is elementwise else name), rule


# What `without` may hold: rules, parts of them, and the pass after them.
NAMES = {*(name for name, _ in RULES.values()), "split", "pack", "fuse"}
