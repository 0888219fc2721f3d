"""A plain symbol rewritten, operator by operator, into those that oneDNN runs fast and safely.

The symbol is walked once. A rule (`RULES`) returns what an operator becomes, or None; what has no
rule stays as it is, and reads its inputs as the plain net has them.
"""

from __future__ import annotations

from runtime import mx

from mxnet.contrib.amp.amp import bfloat16

from compiler.channels import (
    AS_SPACE,
    F,
    aligned,
    in_space,
    in_vectors,
    pad,
    pad_weight,
    padded,
    strip,
)
from compiler.fuse import BLOCKED, ONEDNN
from compiler.graph import read

IMAGE = 3  # channels for which oneDNN has kernels of its own


class Tensor:
    """What a tensor of the plain net is in the rewritten one.

    Attributes
    ----------
    symbol : Symbol
    parts : tuple of int or None
        Of images, (N, C, H, W): the widths of the parts that the channels consist of, each padded
        to a multiple of 16; in bfloat16, if that is wanted. None: as in the plain net.
    blocked : bool
        Whether oneDNN has written it in its blocked layout.
    pieces : tuple of Tensor
        What it is a concatenation of.
    """

    def __init__(self, symbol, parts=None, blocked=False, pieces=None):
        self.symbol = symbol
        self.parts = (sum(parts),) if parts and aligned(*parts) else parts
        self.blocked = blocked
        self.pieces = pieces or (self,)


class Rewrite:
    """One walk over a plain symbol.

    Parameters
    ----------
    symbol : Symbol
    shapes : dict of str to tuple of int
        Of all inputs.
    rules : dict of str to callable
        `RULES`, which need all inputs to be float32 and on a CPU, or some of them.
    training : bool
        BatchNorm over padded channels differs between training and inference.
    half : bool
        Whether to compute in bfloat16 from the first convolution to the average over space.
    isolate : bool
        Whether to leave every running statistic to the caller. MXNet moves them on in the backward
        pass, which does not do for a graph that runs again.

    Attributes
    ----------
    outputs : list of Symbol
    statistics : dict of str to Symbol
        Variables that the symbol cannot write itself, with their values after the step.
    constants : dict of str to (str, int, float)
        Variables that are new: whose type they have, their length, and what fills them.
    """

    def __init__(self, symbol, shapes, rules, training, half=False, isolate=False):
        self.training = training
        self.half = half
        self.isolate = isolate
        self.statistics = {}
        self._moves = []  # running statistics, old and new, in the order of their BatchNorms
        self.constants = {}
        self._joined = {}  # pieces to the Tensor that is their concatenation
        self.nodes, heads = read(symbol, shapes)
        made = []
        for node in self.nodes:
            inputs = [made[i][number] for i, number in node.inputs]
            tensor = rules[node.op](self, node, *inputs) if node.op in rules else None
            symbol = node.emit(*map(self.plain, inputs)) if tensor is None else tensor.symbol
            first = tensor or Tensor(symbol if len(node.shapes) == 1 else symbol[0])
            made.append([first, *(Tensor(symbol[n]) for n in range(1, len(node.shapes)))])
        self.outputs = [self.plain(made[i][number]) for i, number in heads]
        for name, old, momentum, new in reversed(self._moves):  # MXNet does it going backward
            old = self.statistics.get(name, old)
            self.statistics[name] = momentum * old + (1 - momentum) * new

    def plain(self, x):
        """Return a tensor's symbol as it is in the plain net."""
        return x.symbol if x.parts is None else in_space(strip, self._float32(x.symbol), x.parts)

    def _float32(self, symbol):
        return F.amp_cast(symbol, dtype="float32") if self.half else symbol

    def _bfloat16(self, symbol):
        return F.amp_cast(symbol, dtype=bfloat16) if self.half else symbol

    def _shape(self, node, number):
        source, output = node.inputs[number]
        return self.nodes[source].shapes[output]

    def convolution(self, node, x, weight, bias=None):
        """2-D convolution → the same with filters of zeros, so that it has a multiple of 16.

        Without them a growth rate of 12 falls from oneDNN's own kernels to a matrix product, here
        and in every layer that reads the features.
        """
        plain_2d = len(node.get("kernel")) == 2 and node.get("num_group", 1) == 1
        if not (plain_2d and _is_nchw(node)):
            return None
        channels, filters = self._shape(node, 0)[1], node.get("num_filter")
        parts = x.parts or (channels,)
        if x.parts is None and (self.half or not (aligned(channels) or channels == IMAGE)):
            # In bfloat16 oneDNN has no kernels for three channels.
            x = Tensor(self._bfloat16(in_space(pad, x.symbol, parts)), parts)
        symbols = [pad_weight(weight.symbol, x.parts or (), filters, node.get("kernel"))]
        if bias:
            symbols += in_vectors(pad, (filters,), bias.symbol)
        y = node.emit(x.symbol, *map(self._bfloat16, symbols), num_filter=padded([filters]))
        return Tensor(y, (filters,), blocked=True)

    def batch_norm(self, node, x, *vectors):
        """BatchNorm over padded channels → the same with its vectors padded.

        They are computed then, and MXNet can write running statistics to a variable alone, so what
        they become is an output of the graph, which `Graph` stores.
        """
        if node.get("output_mean_var", False) or node.get("axis", 1) != 1:
            return None
        symbols = [vector.symbol for vector in vectors]
        if self.isolate or not aligned(*(x.parts or ())):
            y = self._computed_norm(node, x, *symbols)
        else:
            y = node.emit(x.symbol, *symbols, **_blocked(x))
        return Tensor(y, x.parts, x.blocked)

    def _computed_norm(self, node, x, scale, shift, mean, var):
        eps, momentum = float(node.get("eps", 1e-3)), float(node.get("momentum", 0.9))
        parts = x.parts or ()
        channels = padded(parts) or self._shape(node, 0)[1]
        names = [self.nodes[i].name for i, _ in node.inputs]
        if node.get("fix_gamma", True):
            scale = F.ones_like(scale)
            self.statistics[names[1]] = scale  # as MXNet's own writes it
        batch = self.training and not node.get("use_global_stats", False)
        if batch:
            options = {"output_mean_var": True}
        else:
            options = {"eps": 0, "use_global_stats": True}
            scale = scale * F.rsqrt(var + eps)
            shift = shift - scale * mean
        scale, shift = in_vectors(pad, parts, scale, shift)
        # A block that is called twice has one name, hence the number.
        rest = [f"{node.name}_{len(self.constants)}_{value}" for value in ("zeros", "ones")]
        self.constants.update(
            (name, (names[3], channels, value)) for value, name in enumerate(rest)
        )
        variables = [mx.sym.var(name, shape=(channels,)) for name in rest]
        options.update(fix_gamma=False, **_blocked(x))
        y = node.emit(x.symbol, scale, shift, *variables, **options)
        if batch:
            # MXNet's deviation is 1 / deviation.
            news = in_vectors(strip, parts, y[1], F.reciprocal(F.square(y[2])))
            for name, old, new in zip(names[3:], (mean, var), (news[0], news[1] - eps)):
                self._moves.append((name, old, momentum, new))
            y = y[0]
        return y

    def activation(self, node, x):
        """ReLU → Activation: `F.relu` is not oneDNN's and wants the plain layout, in and out."""
        if node.op == "Activation":
            return self.elementwise(node, x)
        y = node.emit(x.symbol, op="Activation", act_type="relu")
        return Tensor(y, x.parts, x.blocked)

    def concat(self, node, *inputs):
        """Concatenation along channels → of all pieces at once, or of a chain's last two.

        `concat(concat(a, b), c)` would copy a and b again, and split its gradient, at every layer.
        Where no part is padded a chain is as fast, and takes up to a twelfth less memory: each
        gradient is freed once the next is added to it. In bfloat16 it is slower.

        A 4-D concatenation of parts that are no multiples of 16 dies in its backward pass, so what
        is not padded is joined as (N, C, H · W).
        """
        if node.get("dim", 1) != 1 or len(node.shapes[0]) != 4:
            return None
        if any(x.parts is None for x in inputs):
            symbols = [self.plain(x) for x in inputs]
            if aligned(*(self._shape(node, number)[1] for number in range(len(inputs)))):
                return None
            flat = node.emit(*[F.reshape(x, shape=(0, 0, -1)) for x in symbols])
            return Tensor(F.reshape_like(flat, symbols[0], **AS_SPACE))
        pieces = tuple(piece for x in inputs for piece in x.pieces)
        parts = tuple(width for piece in pieces for width in piece.parts)
        chain = self._joined.get(pieces[:-1])
        grows = chain and aligned(*parts) and not self.half
        inputs = (chain, pieces[-1]) if grows else pieces
        y = node.emit(*[x.symbol for x in inputs], num_args=len(inputs))
        self._joined[pieces] = Tensor(y, parts, all(x.blocked for x in pieces), pieces)
        return self._joined[pieces]

    def elementwise(self, node, *inputs):
        """Leave channels padded where an operator works on each of them by itself."""
        parts = inputs[0].parts
        if parts is None or any(x.parts != parts for x in inputs):
            return None
        if self.half and node.op not in ONEDNN | {"_mul_scalar"}:
            return None  # MXNet has it in float32 alone
        y = node.emit(*[x.symbol for x in inputs])
        return Tensor(y, parts, node.op in ONEDNN and all(x.blocked for x in inputs))

    def pooling(self, node, x):
        """Global average pooling → a matrix product: see `_average`."""
        if not _is_nchw(node):
            return None
        if not node.get("global_pool", False):
            return self.elementwise(node, x)
        if node.get("pool_type", "max") != "avg" or len(self._shape(node, 0)) != 4:
            return None
        return Tensor(F.reshape(self._average(x), shape=(0, 0, 1, 1)))

    def mean(self, node, x):
        """Mean over space → a matrix product: see `_average`."""
        is_image = len(self._shape(node, 0)) == 4 and not node.get("exclude", False)
        if not is_image or node.get("axis") not in ((2, 3), (-2, -1)):
            return None
        average = self._average(x)
        keep = node.get("keepdims", False)
        return Tensor(F.reshape(average, shape=(0, 0, 1, 1)) if keep else average)

    def _average(self, x):
        """Average over space, (N, C, H, W) → (N, C), by a product with a row of equal weights.

        Global pooling's gradient comes in a layout for which BatchNorm has only a reference
        implementation, and MXNet's mean sums element by element: it takes four times as long.
        """
        images = x.symbol if x.parts is None else self._float32(x.symbol)
        rows = F.reshape(images, shape=(-3, -3))
        means = F.dot(rows, F.softmax(_zero_row(rows)), transpose_b=True)  # weights 1 / (H · W)
        means = F.reshape_like(means, images, rhs_begin=0, rhs_end=2)
        if x.parts is None or aligned(*x.parts):
            return means
        return F.reshape(strip(F.expand_dims(means, axis=2), x.parts), shape=(0, -1))

    def multiply(self, node, x, scale):
        """Images times (N, C, 1, 1) → times the same spread over space by a matrix product.

        The gradient of broadcasting sums element by element, in five times the time.
        """
        shape, other = self._shape(node, 0), self._shape(node, 1)
        if len(shape) != 4 or other != (*shape[:2], 1, 1) or other == shape:
            return self.elementwise(node, x, scale)
        images = self.plain(x)
        ones = _zero_row(F.reshape(images, shape=(-3, -3))) + 1
        spread = F.dot(F.reshape(self.plain(scale), shape=(-1, 1)), ones)
        return Tensor(images * F.reshape_like(spread, images))


def _zero_row(rows):
    return F.zeros_like(F.slice_axis(rows, axis=0, begin=0, end=1))


def _is_nchw(node):
    return node.get("layout") in (None, "None", "NCHW")


def _blocked(x):
    return {BLOCKED: True} if x.blocked else {}


# Each works on every number by itself; zeros may become others, which nothing reads.
ELEMENTWISE = (
    *("elemwise_add", "elemwise_sub", "elemwise_mul", "broadcast_add", "broadcast_sub"),
    *("_mul_scalar", "_div_scalar", "zeros_like", "Dropout", "sigmoid", "tanh", "_copy"),
)
RULES = {
    **dict.fromkeys(ELEMENTWISE, Rewrite.elementwise),
    "Convolution": Rewrite.convolution,
    "BatchNorm": Rewrite.batch_norm,
    "Activation": Rewrite.activation,
    "relu": Rewrite.activation,
    "Concat": Rewrite.concat,
    "Pooling": Rewrite.pooling,
    "mean": Rewrite.mean,
    "broadcast_mul": Rewrite.multiply,
}
ISOLATING = {"BatchNorm": Rewrite.batch_norm}  # right on any device and for any type
