"""Several processes that train one net: who they are, and what they have to agree on.

MXNet's parameter server adds up gradients; everything else that workers share goes through here:
weights and momentum at the start, the sums of a step's metrics, running statistics at a checkpoint.
A process alone is one worker, and sends nothing.
"""

from __future__ import annotations

import os
from typing import Any, Sequence

from runtime import mx

import numpy as np

from errors import InputError
from weights.parameters import current_value, is_moving, named_parameters

# Above the keys that gluon.Trainer gives to parameters; they are numbers, so names are refused.
_FIRST_KEY = 1_000_000
# Names of sums: a step's metrics have 0.
_BROADCAST, _STATISTICS = 1, 100_000


class Workers:
    """The processes that train one net, as one of them sees them.

    Parameters
    ----------
    kvstore : str
        ``dist_sync``, or anything else for one process alone.

    Attributes
    ----------
    rank, count : int
        This worker's number, from 0, and how many there are.
    kvstore : mxnet.kv.KVStore or str
        For `gluon.Trainer`.

    Raises
    ------
    InputError
        If ``dist_sync`` is asked for without a launcher, or a launcher is used without it.
    """

    def __init__(self, kvstore: str) -> None:
        self.kvstore: Any = kvstore
        self.rank, self.count = 0, 1
        self._known: set[int] = set()
        launched = os.environ.get("DMLC_ROLE") == "worker"
        if kvstore != "dist_sync":
            if launched:
                raise InputError(
                    "training.launch starts a run with --kvstore dist_sync only: without it, its "
                    "workers would not share their work"
                )
            return
        if not launched:
            raise InputError(
                "--kvstore dist_sync needs a launcher: python -m training.launch --workers 2 -- "
                "train_cifar10.py --kvstore dist_sync ..."
            )
        self.kvstore = mx.kv.create(kvstore)
        self.rank, self.count = self.kvstore.rank, self.kvstore.num_workers

    def sum(self, array: Any, name: int = 0) -> None:
        """Replace an array, of the same shape on all workers, by its sum, in the background.

        Arrays of different shapes need different names. The last sum of the same name must be read
        before the next is asked for: MXNet may send the second before it has received the first.
        """
        if self.count == 1:
            return
        key = _FIRST_KEY + name
        if key not in self._known:
            self.kvstore.init(key, mx.nd.zeros(array.shape, dtype=array.dtype))
            self._known.add(key)
        self.kvstore.pushpull(key, array)

    def broadcast(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return worker 0's arrays on every worker; of the others' arrays only the shapes are used.

        They are float32, of the same shapes and order on every worker. Once in a run.
        """
        received = []
        for key, array in enumerate(arrays, _FIRST_KEY + _BROADCAST):
            value = mx.nd.array(array)
            self.kvstore.broadcast(key, value, out=value)
            received.append(value.asnumpy())
        return received

    def average_statistics(self, net: Any) -> None:
        """Give every device of every worker the mean of their running statistics.

        Each keeps its own while it trains, as is usual, since the training step does not use them.
        """
        mx.nd.waitall()  # a backward pass writes them behind MXNet's back: see `averaging`
        statistics = [p for p in named_parameters(net).values() if is_moving(p)]
        for number, parameter in enumerate(statistics):
            mean = current_value(parameter)
            if self.count > 1:
                mean = mean.as_in_context(mx.cpu()) / self.count
                self.sum(mean, _STATISTICS + number)
            if self.count > 1 or len(parameter.list_data()) > 1:
                parameter.set_data(mean)
        mx.nd.waitall()

    def wait(self) -> None:
        """Wait until every worker is here."""
        if self.count > 1:
            mx.nd.waitall()
            self.kvstore._barrier()
