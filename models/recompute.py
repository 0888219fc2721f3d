"""Dense blocks that compute again in the backward pass what would take the most memory to keep.

Pleiss, Chen, Huang, Li, van der Maaten, Weinberger: Memory-Efficient Implementation of DenseNets,
https://arxiv.org/abs/1707.06990.
"""

from __future__ import annotations

import threading

from runtime import mx

from mxnet import autograd

from models.layers import concat


def recomputes(block, x):
    """Whether this forward pass of a block or net is one that its gradient will recompute."""
    return block.memory_efficient and autograd.is_recording() and isinstance(x, mx.nd.NDArray)


class Segment:
    """A block as a function of its input and of given arrays in place of its parameters.

    Parameters
    ----------
    block : HybridSequential
        One input, one output, both on the same device; if empty, the identity.
    """

    def __init__(self, block):
        self.block = block
        self.parameters = block.collect_params()
        self.traces = {}  # of a device type: the graph, and the names of its inputs

    def __call__(self, x, arrays):
        """Run the block on x.

        Parameters
        ----------
        x : NDArray
        arrays : dict of str to NDArray
            By name; a parameter that is not in it takes part with its own data.
        """
        if not len(self.block):
            return x
        graph, names = self._trace(x.ctx)
        given = {"data": x, **arrays}
        return graph(*[given[n] if n in given else self.parameters[n].data(x.ctx) for n in names])

    def _trace(self, ctx):
        if ctx.device_type not in self.traces:
            with ctx:
                symbol = self.block(mx.sym.var("data"))
            self.traces[ctx.device_type] = (mx.nd.CachedOp(symbol), symbol.list_inputs())
        return self.traces[ctx.device_type]


def leaf(x):
    """Return x as a variable of its own, whose gradient `autograd.grad` can be asked for."""
    x = x.detach()
    autograd.mark_variables([x], [mx.nd.empty(x.shape, ctx=x.ctx, dtype=x.dtype)])  # never written
    return x


_one_backward = threading.Lock()


class RecomputedDenseBlock(autograd.Function):
    """A dense block that keeps no concatenation, and no BatchNorm or ReLU of one.

    Its activation memory grows with the number of layers instead of its square: a layer keeps its
    first convolution's output and what follows (`DenseLayer.expand`); what comes before is computed
    again, from the features, when its gradient is due. Dropout comes after the first convolution,
    so its masks are never drawn twice.

    MXNet runs `backward` in a thread of its own, while the caller may go on to update the
    parameters. So both passes compute on copies of them: an operator that waited here for a
    parameter under update, which waits for this gradient, would wait for ever.

    Parameters
    ----------
    block : DenseBlock
    """

    def __init__(self, block):
        super().__init__()
        self.segments = block.segments
        self.trainable = [p for p in block.collect_params().values() if p.grad_req != "null"]
        self.blocked = block.blocked

    def __call__(self, x):
        """Map x, (N, C, H, W), to the block's output, under `autograd.record`."""
        # Function cannot add to a gradient (grad_req 'add'), but the copy's own backward can.
        return super().__call__(x, *[mx.nd.identity(p.data(x.ctx)) for p in self.trainable])

    def forward(self, x, *copies):
        self.copies = {p.name: leaf(copy) for p, copy in zip(self.trainable, copies)}
        self.features, self.tapes = [x], []
        for reduce, expand in self.segments:
            reduced = leaf(reduce(self._concat(), self.copies))
            with autograd.record():
                new = expand(reduced, self.copies)
            self.tapes.append((reduced, new))
            self.features.append(new.detach())
        return self._concat()

    def backward(self, grad):
        with _one_backward:  # devices' threads would otherwise share the graphs' state
            return self._backward(grad)

    def _backward(self, grad):
        gradients = {}
        for reduce, expand in reversed(self.segments):
            self.features.pop()
            x = leaf(self._concat())
            width = x.shape[1]
            grad_new = mx.nd.slice_axis(grad, axis=1, begin=width, end=None)
            grad = mx.nd.slice_axis(grad, axis=1, begin=0, end=width)
            reduced, new = self.tapes.pop()
            grad_reduced = self._grad(new, grad_new, reduced, expand, gradients)
            with autograd.record():
                reduced = reduce(x, self.copies)
            grad = grad + self._grad(reduced, grad_reduced, x, reduce, gradients)
        result = (grad, *(gradients[p.name] for p in self.trainable))
        for array in result:
            array.wait_to_read()  # MXNet may otherwise go on before they are written
        return result

    def _concat(self):
        return concat(mx.nd, self.features, self.blocked)

    def _grad(self, head, grad_head, x, segment, gradients):
        """Return the gradient of x, and put those of the segment's parameters into `gradients`."""
        if head is x:  # an empty segment
            return grad_head
        names = [name for name in segment.parameters if name in self.copies]
        variables = [x, *(self.copies[name] for name in names)]
        grad_x, *rest = autograd.grad([head], variables, head_grads=[grad_head])
        gradients.update(zip(names, rest))
        return grad_x
