"""Dense blocks that compute again in the backward pass what would take the most memory to keep.

Pleiss, Chen, Huang, Li, van der Maaten, Weinberger: Memory-Efficient Implementation of DenseNets,
https://arxiv.org/abs/1707.06990.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading

from runtime import mx

from mxnet import autograd

from models.layers import concat
from models.tracing import Graph


def return_freed_memory():
    """Let glibc give memory back to the system when an array of a megabyte or more is freed.

    Left to itself it learns to keep such arrays, and holes between those that a backward pass still
    needs are too small for the next, larger, concatenation: half of what is saved would be lost.
    """
    mmap_threshold = -3  # M_MMAP_THRESHOLD of malloc.h
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library
        ctypes.CDLL(None).mallopt(mmap_threshold, 1 << 20)


class RecomputedDenseNet:
    """A DenseNet's training pass, piece by piece.

    Parameters
    ----------
    net : DenseNet
    **options
        Of `Graph`: ``pads`` and ``fuses``.
    """

    def __init__(self, net, **options):
        return_freed_memory()
        *body, norm = net.features
        self.pieces = [
            RecomputedDenseBlock(piece, **options)
            if hasattr(piece, "layers")
            else Graph(piece, piece.collect_params(), **options)
            for piece in body
        ]
        parameters = norm.collect_params()
        parameters.update(net.output.collect_params())
        self.pieces.append(Graph(lambda x: net.classify(mx.sym, norm(x)), parameters, **options))

    def __call__(self, x):
        """Return the logits of x, under `autograd.record`."""
        for piece in self.pieces:
            x = piece(x)
        return x


class RecomputedDenseBlock:
    """A dense block that keeps no concatenation, and no BatchNorm or ReLU of one.

    Its activation memory grows with the number of layers instead of its square: a layer keeps its
    first convolution's output and what follows (`DenseLayer.expand`); what comes before is computed
    again, from the features, when its gradient is due. Dropout comes after the first convolution,
    so its masks are never drawn twice.

    Parameters
    ----------
    block : DenseBlock
    **options
        Of `Graph`: ``pads`` and ``fuses``.
    """

    def __init__(self, block, **options):
        def graph(sequence):
            parameters = sequence.collect_params()
            return Graph(sequence, parameters, reruns=True, **options) if len(sequence) else None

        self.layers = [(graph(layer.reduce), graph(layer.expand)) for layer in block.layers]
        self.parameters = block.collect_params().values()
        self.blocked = block.fills_blocks or options["pads"]

    def __call__(self, x):
        """Map x, (N, C, H, W), to the block's output, under `autograd.record`."""
        trained = [p for p in self.parameters if p.grad_req != "null"]
        # A Function cannot add to a gradient (grad_req 'add'), but the copy's own backward can. It
        # forgets the gradients after the first that nobody needs, such as that of x may be.
        return _Pass(self, trained)(*[mx.nd.identity(p.data(x.ctx)) for p in trained], x)


def leaf(x):
    """Return x as a variable of its own, whose gradient `autograd.grad` can be asked for."""
    x = x.detach()
    autograd.mark_variables([x], [mx.nd.empty(x.shape, ctx=x.ctx, dtype=x.dtype)])  # never written
    return x


_one_backward = threading.Lock()


class _Pass(autograd.Function):
    """One forward and backward pass of a `RecomputedDenseBlock`.

    MXNet runs `backward` in a thread of its own, while the caller may go on to update the
    parameters and begin the next forward pass. So both passes compute on copies of parameters and
    running statistics: an operator that waited here for one under update, which waits for this
    gradient, would wait for ever.
    """

    def __init__(self, block, trained):
        super().__init__()
        self.block = block
        self.names = [parameter.name for parameter in trained]

    def forward(self, *inputs):
        *copies, x = inputs
        self.trained = {name: leaf(copy) for name, copy in zip(self.names, copies)}
        rest = (p for p in self.block.parameters if p.name not in self.trained)
        self.copies = {**self.trained, **{p.name: mx.nd.identity(p.data(x.ctx)) for p in rest}}
        self.features, self.tapes = [x], []
        for reduce, expand in self.block.layers:
            reduced = leaf(reduce(self._concat(), self.copies))
            with autograd.record():
                new = expand(reduced, self.copies) if expand else reduced
            self.tapes.append((reduced, new))
            self.features.append(new.detach())
        return self._concat()

    def backward(self, grad):
        with _one_backward:  # devices' threads would otherwise share the graphs' state
            return self._backward(grad)

    def _backward(self, grad):
        gradients = {}
        for reduce, expand in reversed(self.block.layers):
            self.features.pop()
            x = leaf(self._concat())
            width = x.shape[1]
            grad_new = mx.nd.slice_axis(grad, axis=1, begin=width, end=None)
            grad = mx.nd.slice_axis(grad, axis=1, begin=0, end=width)
            reduced, new = self.tapes.pop()
            if expand:
                grad_new = self._grad(new, grad_new, reduced, expand, gradients)
            with autograd.record():
                reduced = reduce(x, self.copies, update=False)
            grad += self._grad(reduced, grad_new, x, reduce, gradients)
        result = (*(gradients[name] for name in self.names), grad)
        for array in result:
            array.wait_to_read()  # MXNet may otherwise go on before they are written
        return result

    def _concat(self):
        with self.features[0].ctx:
            return concat(mx.nd, self.features, self.block.blocked)

    def _grad(self, head, grad_head, x, graph, gradients):
        """Return the gradient of x, and put those of the graph's parameters into `gradients`."""
        names = [name for name in graph.parameters if name in self.trained]
        variables = [x, *(self.trained[name] for name in names)]
        grad_x, *rest = autograd.grad([head], variables, head_grads=[grad_head])
        gradients.update(zip(names, rest))
        return grad_x
