"""Small random nets."""

from __future__ import annotations

import numpy as np
from mxnet.gluon import nn, rnn

WIDTHS = (4, 5, 8, 12, 16, 16, 20, 24, 32, 32, 48)


def _split(F, x):
    first, second = F.split(x, num_outputs=2, axis=1)
    return F.concat(second, first * 2, dim=1)


def _transpose(F, x):
    return F.transpose(F.transpose(x, axes=(0, 2, 3, 1)) * 1.5, axes=(0, 3, 1, 2))


def _foreach(F, x):
    def body(image, state):
        state = image + state * 0.5
        return state, state

    return F.contrib.foreach(body, x, F.BlockGrad(F.mean(x, axis=0)))[0]


# Layers that hold nothing, and all kinds of layers.
FIXED = {
    "split": _split,
    "transpose": _transpose,
    "foreach": _foreach,
    "where": lambda F, x: F.where(x > 0.1, x, x * 0.3),
}
KINDS = (
    *("conv", "norm", "preact", "residual", "dense", "se", "pool", "group", "twice", "fork"),
    *("constant", "split", "where", "transpose", "foreach", "squeeze"),
)


class RandomNet(nn.HybridBlock):
    """A few random layers over images (N, 3, 16, 16) and, for some seeds, a second input.

    Convolutions of all widths, strides and groups; BatchNorm in each position; residual and dense
    wiring; squeeze-and-excitation; pooling; layers that are called twice, and tensors read twice;
    operators without inputs, with several outputs, with graphs of their own; recurrent cells.

    `kinds` are those of its layers, which are functions of F and images. The method of a kind
    draws one that reads so many channels, and returns how many it gives, too.
    """

    def __init__(self, seed):
        super().__init__()
        self.rng = np.random.RandomState(seed)
        self.kinds, self.layers, self.dtype = [], [], "float32"
        self.inputs = 1 + (self.rng.rand() < 0.2)
        with self.name_scope():
            width = self._add("conv", 3, stride=1)
            size = 16
            for _ in range(self.rng.randint(2, 6)):
                kind = KINDS[self.rng.randint(len(KINDS))]
                stride = 2 if size > 4 and self.rng.rand() < 0.3 else 1
                width = self._add(kind, width, stride)
                size //= 2 if kind in ("conv", "residual", "pool") and stride == 2 else 1
            self.seconds = [self._conv(3, width)] if self.inputs == 2 else []
            self.head = self.rng.randint(4)
            self.cell = rnn.LSTMCell(6) if self.head == 3 else None
            self.output = nn.Dense(7)
        if self.rng.rand() < 0.2:  # a part that is not trained
            next(iter(self._children.values())).collect_params().setattr("grad_req", "null")

    def _add(self, kind, width, stride):
        filters, kernel = int(self.rng.choice(WIDTHS)), int(self.rng.choice((1, 3, 3)))
        if kind == "split" and width % 2:
            return width
        self.kinds.append(kind)
        if kind in FIXED:
            self.layers.append(FIXED[kind])
            return width
        given, layer = getattr(self, f"_draw_{kind}")(width, filters, kernel, stride)
        self.layers.append(layer)
        return given

    def hybrid_forward(self, F, x, *others):
        for layer in self.layers:
            x = layer(F, x)
        for conv, other in zip(self.seconds, others):
            x = F.broadcast_add(x, F.mean(conv(other), axis=(2, 3), keepdims=True))
        if self.head in (0, 3):
            x = F.mean(x, axis=(2, 3))
        elif self.head == 1:
            x = F.Pooling(x, pool_type="avg", global_pool=True)
        if self.cell:
            state = F.tanh(F.slice_axis(F.tile(x, reps=(1, 6)), axis=1, begin=0, end=6))
            x, _ = self.cell(x, [state, state * 0.5])
        out = self.output(x)
        return out if self.inputs == 1 else [out, F.softmax(out)]

    def _keep(self, block):
        self.register_child(block)
        return block

    def _conv(self, width, filters, kernel=1, stride=1, groups=1):
        bias = self.rng.rand() < 0.2
        options = {"groups": groups, "use_bias": bias, "in_channels": width}
        return self._keep(nn.Conv2D(filters, kernel, stride, kernel // 2, **options))

    def _norm(self):
        return self._keep(nn.BatchNorm(scale=self.rng.rand() < 0.9, momentum=0.7))

    def _draw_conv(self, width, filters, kernel, stride, groups=1):
        conv, norm = self._conv(width, filters, kernel, stride, groups), self._norm()
        return filters, lambda F, x: F.relu(norm(conv(x)))

    def _draw_group(self, width, *_):
        groups = int(self.rng.choice([g for g in (1, 2, 4, width) if width % g == 0]))
        return self._draw_conv(width, width, 3, 1, groups)

    def _draw_twice(self, width, *_):
        _, layer = self._draw_conv(width, width, 3, 1)
        return width, lambda F, x: layer(F, layer(F, x))

    def _draw_norm(self, width, *_):
        norm = self._norm()
        return width, lambda F, x: F.Activation(norm(x), act_type="relu")

    def _draw_preact(self, width, filters, kernel, _):
        norm, conv = self._norm(), self._conv(width, filters, kernel)
        return filters, lambda F, x: conv(F.relu(norm(x)))

    def _draw_residual(self, width, filters, _, stride):
        filters = width if stride == 1 and self.rng.rand() < 0.5 else filters
        conv1, norm1 = self._conv(width, filters, 3, stride), self._norm()
        conv2, norm2 = self._conv(filters, filters, 3), self._norm()
        plain = filters == width and stride == 1
        shortcut = None if plain else self._conv(width, filters, 1, stride)
        form = int(self.rng.choice(3))

        def layer(F, x):
            y = norm2(conv2(F.relu(norm1(conv1(x)))))
            x = shortcut(x) if shortcut else x
            return F.relu((x + y, F.broadcast_add(x, y * 0.5), x * 1.5 - y)[form])

        return filters, layer

    def _draw_dense(self, width, *_):
        layers, growth = [], int(self.rng.choice((5, 8, 12, 16, 24)))
        for _ in range(self.rng.randint(1, 7)):
            layers.append((self._norm(), self._conv(width, growth, 3)))
            width += growth

        def layer(F, x):
            for norm, conv in layers:
                x = F.concat(x, conv(F.relu(norm(x))), dim=1)
            return x

        return width, layer

    def _draw_se(self, width, *_):
        hidden, scale = self._keep(nn.Dense(4, activation="tanh")), self._keep(nn.Dense(width))

        def layer(F, x):
            factor = F.sigmoid(scale(hidden(F.mean(x, axis=(2, 3)))))
            return F.broadcast_mul(x, F.reshape(factor, (0, 0, 1, 1)))

        return width, layer

    def _draw_squeeze(self, width, *_):
        hidden, scale = self._conv(width, 4), self._conv(4, width)

        def layer(F, x):
            average = F.Pooling(x, pool_type="avg", global_pool=True)
            return F.broadcast_mul(x, F.sigmoid(scale(F.relu(hidden(average)))))

        return width, layer

    def _draw_pool(self, width, _, __, stride):
        options = {"kernel": (stride, stride), "stride": (stride, stride)}
        kind = str(self.rng.choice(("max", "avg")))
        return width, lambda F, x: F.Pooling(x, pool_type=kind, **options)

    def _draw_fork(self, width, filters, kernel, _):
        conv, norm, form = self._conv(width, filters, kernel), self._norm(), self.rng.choice(4)

        def layer(F, x):
            x = conv(x)
            y = norm(x)
            z = F.relu(y)
            return (z + F.sigmoid(x), z + y, F.broadcast_mul(z, x), z - F.tanh(y))[form]

        return filters, layer

    def _draw_constant(self, width, *_):
        def layer(F, x):
            options = {"dtype": self.dtype}
            numbers = F.arange(width, **options) * 0.1 + F.ones((width,), **options)
            return F.broadcast_mul(x, F.reshape(numbers, shape=(1, -1, 1, 1)))

        return width, layer
