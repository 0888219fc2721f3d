"""A moving average of a net's weights, kept on the devices that train it."""

from __future__ import annotations

from typing import Any

from runtime import mx

from weights.parameters import is_moving, named_parameters


class Average:
    """A second net, whose weights are the moving average of the first one's.

    It is a net of its own so that validation leaves every bit of the one in training alone.

    Running statistics are averaged as weights are: pycls ("all parameters, not just named
    parameters") and timm (``ModelEmaV3`` by default) do so too. They lag behind as far as the
    weights that they belong to. What is frozen is copied once.

    Parameters
    ----------
    net : gluon.HybridBlock
        Initialised, of the same kind and on the same devices as `source`; taken over.
    source : gluon.HybridBlock
        The net in training, as it starts.
    decay : float
        In [0, 1): the share of the average that a step keeps, at most.
    """

    def __init__(self, net: Any, source: Any, decay: float) -> None:
        self.net, self.decay = net, decay
        net.collect_params().setattr("grad_req", "null")
        self._pairs = []
        for mine, theirs in zip(named_parameters(net).values(), named_parameters(source).values()):
            for copy, origin in zip(mine.list_data(), theirs.list_data()):
                origin.copyto(copy)
            if theirs.grad_req != "null" or is_moving(theirs):
                self._pairs.append((mine, theirs))

    def update(self, step: int) -> None:
        """Queue the average's step, on every device; the host waits for nothing.

        Parameters
        ----------
        step : int
            Steps done before this one, of the whole run. The first keep less, (1 + step) /
            (10 + step), as TensorFlow's ``ExponentialMovingAverage`` has it: in a short run the
            initial weights would otherwise be in the average to the end.
        """
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        for mine, theirs in self._pairs:
            for copy, origin in zip(mine.list_data(), theirs.list_data()):
                # copy ← (1 - share) · copy + share · origin, origin ← origin. The second half is
                # there because MXNet's BatchNorm writes running statistics in a backward pass that
                # claims to read them alone: what only reads them too may come before or after.
                mx.nd.multi_sgd_update(
                    *(copy, origin, origin, origin),
                    out=[copy, origin],
                    num_weights=2,
                    lrs=(share, 0.0),
                    wds=(1.0, 0.0),
                    rescale_grad=-1.0,
                )
