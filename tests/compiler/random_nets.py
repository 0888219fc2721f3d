"""Small random nets.

python tests/compiler/random_nets.py 0 300      # seeds; prints each net that is compiled wrong
"""

from __future__ import annotations

import sys

# Before MXNet, which it prepares this process for.
from oracle import check, compiler  # isort: skip

import numpy as np
from mxnet.gluon import nn, rnn

WIDTHS = (4, 5, 8, 12, 16, 16, 20, 24, 32, 32, 48)
KINDS = (
    *("conv", "norm", "preact", "residual", "dense", "se", "pool", "group", "twice", "fork"),
    *("constant", "split", "where", "transpose", "foreach", "squeeze"),
)


class RandomNet(nn.HybridBlock):
    """A few random layers over images (N, 3, 16, 16) and, for some seeds, a second input.

    Convolutions of all widths, strides and groups; BatchNorm in each position; residual and dense
    wiring; squeeze-and-excitation; pooling; layers that are called twice, and tensors read twice;
    operators without inputs, with several outputs, with graphs of their own; recurrent cells.
    """

    def __init__(self, seed):
        super().__init__()
        self.rng = np.random.RandomState(seed)
        self.steps, self.dtype = [], "float32"
        self.inputs = 1 + (self.rng.rand() < 0.2)
        with self.name_scope():
            width = self._add("conv", 3, stride=1)
            size = 16
            for _ in range(self.rng.randint(2, 6)):
                kind = KINDS[self.rng.randint(len(KINDS))]
                stride = 2 if size > 4 and self.rng.rand() < 0.3 else 1
                width = self._add(kind, width, stride)
                size //= 2 if kind in ("conv", "residual", "pool") and stride == 2 else 1
            if self.inputs == 2:
                self.steps.append(("input", self._conv(3, width, 1, 1)))
            self.head = self.rng.randint(4)
            self.cell = rnn.LSTMCell(6) if self.head == 3 else None
            self.output = nn.Dense(7)
        if self.rng.rand() < 0.2:  # a part that is not trained
            self.steps[0][1].collect_params().setattr("grad_req", "null")

    def _keep(self, block):
        self.register_child(block)
        return block

    def _conv(self, width, filters, kernel, stride, groups=1):
        bias = self.rng.rand() < 0.2
        options = {"groups": groups, "use_bias": bias, "in_channels": width}
        return self._keep(nn.Conv2D(filters, kernel, stride, kernel // 2, **options))

    def _norm(self):
        return self._keep(nn.BatchNorm(scale=self.rng.rand() < 0.9, momentum=0.7))

    def _add(self, kind, width, stride):
        choose = self.rng.choice
        filters, kernel = int(choose(WIDTHS)), int(choose((1, 3, 3)))
        if kind == "conv":
            self.steps.append((kind, self._conv(width, filters, kernel, stride), self._norm()))
            return filters
        if kind == "norm":
            self.steps.append((kind, self._norm()))
        elif kind == "preact":
            self.steps.append((kind, self._norm(), self._conv(width, filters, kernel, 1)))
            return filters
        elif kind == "residual":
            filters = width if stride == 1 and self.rng.rand() < 0.5 else filters
            branch = (self._conv(width, filters, 3, stride), self._norm())
            branch += (self._conv(filters, filters, 3, 1), self._norm())
            plain = filters == width and stride == 1
            shortcut = None if plain else self._conv(width, filters, 1, stride)
            self.steps.append((kind, branch, shortcut, int(choose(3))))
            return filters
        elif kind == "dense":
            layers, growth = [], int(choose((5, 8, 12, 16, 24)))
            for _ in range(self.rng.randint(1, 7)):
                layers.append((self._norm(), self._conv(width, growth, 3, 1)))
                width += growth
            self.steps.append((kind, layers))
        elif kind == "se":
            hidden, scale = nn.Dense(4, activation="tanh"), nn.Dense(width)
            self.steps.append((kind, self._keep(hidden), self._keep(scale)))
        elif kind == "squeeze":
            hidden = self._conv(width, 4, 1, 1)
            self.steps.append((kind, hidden, self._conv(4, width, 1, 1)))
        elif kind == "pool":
            self.steps.append((kind, str(choose(("max", "avg"))), stride))
        elif kind == "group":
            groups = int(choose([g for g in (1, 2, 4, width) if width % g == 0]))
            self.steps.append((kind, self._conv(width, width, 3, 1, groups), self._norm()))
        elif kind == "twice":
            self.steps.append((kind, self._conv(width, width, 3, 1), self._norm()))
        elif kind == "fork":
            conv = self._conv(width, filters, kernel, 1)
            self.steps.append((kind, conv, self._norm(), int(choose(4))))
            return filters
        elif kind == "constant":
            self.steps.append((kind, width))
        elif kind != "split" or width % 2 == 0:
            self.steps.append((kind,))
        return width

    def hybrid_forward(self, F, x, *others):
        for kind, *parts in self.steps:
            x = getattr(self, f"_{kind}_step")(F, x, *parts, *(others if kind == "input" else ()))
        if self.head in (0, 3):
            x = F.mean(x, axis=(2, 3))
        elif self.head == 1:
            x = F.Pooling(x, pool_type="avg", global_pool=True)
        if self.cell:
            state = F.tanh(F.slice_axis(F.tile(x, reps=(1, 6)), axis=1, begin=0, end=6))
            x, _ = self.cell(x, [state, state * 0.5])
        out = self.output(x)
        return out if self.inputs == 1 else [out, F.softmax(out)]

    def _conv_step(self, F, x, conv, norm):
        return F.relu(norm(conv(x)))

    def _norm_step(self, F, x, norm):
        return F.Activation(norm(x), act_type="relu")

    def _preact_step(self, F, x, norm, conv):
        return conv(F.relu(norm(x)))

    def _residual_step(self, F, x, branch, shortcut, form):
        conv1, norm1, conv2, norm2 = branch
        y = norm2(conv2(F.relu(norm1(conv1(x)))))
        x = x if shortcut is None else shortcut(x)
        x = (x + y, F.broadcast_add(x, y * 0.5), x * 1.5 - y)[form]
        return F.relu(x)

    def _dense_step(self, F, x, layers):
        for norm, conv in layers:
            x = F.concat(x, conv(F.relu(norm(x))), dim=1)
        return x

    def _se_step(self, F, x, hidden, scale):
        scale = F.sigmoid(scale(hidden(F.mean(x, axis=(2, 3)))))
        return F.broadcast_mul(x, F.reshape(scale, (0, 0, 1, 1)))

    def _pool_step(self, F, x, kind, stride):
        kernel = (stride, stride)
        return F.Pooling(x, kernel=kernel, stride=kernel, pool_type=kind)

    def _group_step(self, F, x, conv, norm):
        return F.relu(norm(conv(x)))

    def _fork_step(self, F, x, conv, norm, form):
        x = conv(x)
        y = norm(x)
        z = F.relu(y)
        return (z + F.sigmoid(x), z + y, F.broadcast_mul(z, x), z - F.tanh(y))[form]

    def _twice_step(self, F, x, conv, norm):
        for _ in range(2):
            x = F.relu(norm(conv(x)))
        return x

    def _squeeze_step(self, F, x, hidden, scale):
        average = F.Pooling(x, pool_type="avg", global_pool=True)
        return F.broadcast_mul(x, F.sigmoid(scale(F.relu(hidden(average)))))

    def _constant_step(self, F, x, width):
        numbers = F.arange(width, dtype=self.dtype) * 0.1 + F.ones((width,), dtype=self.dtype)
        return F.broadcast_mul(x, F.reshape(numbers, shape=(1, -1, 1, 1)))

    def _split_step(self, F, x):
        first, second = F.split(x, num_outputs=2, axis=1)
        return F.concat(second, first * 2, dim=1)

    def _where_step(self, F, x):
        return F.where(x > 0.1, x, x * 0.3)

    def _transpose_step(self, F, x):
        return F.transpose(F.transpose(x, axes=(0, 2, 3, 1)) * 1.5, axes=(0, 3, 1, 2))

    def _foreach_step(self, F, x):
        def body(image, state):
            state = image + state * 0.5
            return state, state

        return F.contrib.foreach(body, x, F.BlockGrad(F.mean(x, axis=0)))[0]

    def _input_step(self, F, x, conv, other):
        small = F.mean(conv(other), axis=(2, 3), keepdims=True)
        return F.broadcast_add(x, small)


def main():
    """Check the nets of a range of seeds."""
    first, last = map(int, sys.argv[1:])
    bad = 0
    for seed in range(first, last):
        net = RandomNet(seed)
        wrong = check(lambda s=seed: RandomNet(s), compiler.hybridize, inputs=net.inputs)
        if wrong:
            bad += 1
            name, size = max(wrong.items(), key=lambda item: item[1])
            steps = [kind for kind, *_ in net.steps]
            print(f"{seed}: {len(wrong)} wrong, {name} by {size:.2g}: {steps}", flush=True)
    print(f"{bad} of {last - first} nets wrong")


if __name__ == "__main__":
    main()
