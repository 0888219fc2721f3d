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

import compiler
from models.layers import concat


def return_freed_memory():
    """Let glibc give memory back to the system when an array of a megabyte or more is freed.

    Left to itself it learns to keep such arrays, and holes between those that a backward pass still
    needs are too small for the next, larger, concatenation: half of what is saved would be lost.
    """
    mmap_threshold = -3  # M_MMAP_THRESHOLD of malloc.h
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library
        ctypes.CDLL(None).mallopt(mmap_threshold, 1 << 20)


class _Block:
    """A dense block's halves of layers as operators, and its parameters."""

    def __init__(self, block):
        self.layers = [(_operator(layer.reduce), _operator(layer.expand)) for layer in block.layers]
        self.parameters = list(block.collect_params().values())


def _operator(sequence):
    if not len(sequence):
        return None
    return compiler.Compiled(sequence(mx.sym.var("data")), ["data"], reruns=True)


def recomputed(block, x):
    """Map x, (N, C, H, W), to a `DenseBlock`'s output, under `autograd.record`.

    Its activation memory grows with the number of layers instead of its square: a layer keeps its
    first convolution's output and what follows (`DenseLayer.expand`); what comes before is computed
    again, from the features, when its gradient is due. Dropout comes after the first convolution,
    so its masks are never drawn twice.
    """
    if not hasattr(block, "_recomputed"):
        return_freed_memory()
        block._recomputed = _Block(block)
    trained = [p for p in block._recomputed.parameters if p.grad_req != "null"]
    # A Function cannot add to a gradient (grad_req 'add'), but the copy's own backward can. It
    # forgets the gradients after the first that nobody needs, such as that of x may be.
    return _Pass(block._recomputed, trained)(*[mx.nd.identity(p.data(x.ctx)) for p in trained], x)


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
        rest = {p.name: p.data(x.ctx) for p in self.block.parameters if p.name not in self.trained}
        statistics = {name: mx.nd.identity(array) for name, array in rest.items()}
        self.copies = {**self.trained, **statistics}
        self.features, self.tapes = [x], []
        for reduce, expand in self.block.layers:
            reduced = leaf(self._run(reduce, self._concat()))
            with autograd.record():
                new = self._run(expand, reduced) if expand else reduced
            self.tapes.append((reduced, new))
            self.features.append(new.detach())
        for name, array in rest.items():  # moved on here, and not when a layer runs again
            statistics[name].copyto(array)
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
                reduced = self._run(reduce, x)
            grad += self._grad(reduced, grad_new, x, reduce, gradients)
        result = (*(gradients[name] for name in self.names), grad)
        for array in result:
            array.wait_to_read()  # MXNet may otherwise go on before they are written
        return result

    def _concat(self):
        return concat(mx.nd, *self.features)

    def _run(self, operator, x):
        return operator(*[x if name == "data" else self.copies[name] for name in operator.names])

    def _grad(self, head, grad_head, x, operator, gradients):
        """Return the gradient of x, and put those of the operator's weights into `gradients`."""
        names = [name for name in operator.names if name in self.trained]
        variables = [x, *(self.trained[name] for name in names)]
        grad_x, *rest = autograd.grad([head], variables, head_grads=[grad_head])
        gradients.update(zip(names, rest))
        return grad_x
