"""All that a run's next step depends on: saved, loaded, and shared with the other workers.

The arrays of a state are those that the run computes with, by the names that checkpoints give
them. A checkpoint is their values, and loading one writes into them.
"""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from runtime import mx

import numpy as np

from errors import InputError
from records.checkpoints import Checkpoint, Checkpoints, Progress
from training.distributed import Workers
from training.trainer import loss_scaler
from weights.parameters import (
    current_value,
    get_parameters,
    is_moving,
    named_parameters,
    set_parameters,
)

_LOSS_SCALE = ("_loss_scale", "_next_loss_scale", "_unskipped")


class State:
    """The state of a run.

    Parameters
    ----------
    net, trainer : gluon.Block, gluon.Trainer
        As `training.trainer.make_trainer` leaves them.
    average : gluon.Block, optional
        The net that holds the moving average.
    """

    def __init__(self, net: Any, trainer: Any, average: Any = None) -> None:
        self._net, self._trainer, self._average = net, trainer, average
        self.progress = Progress(epoch=0, step=0)

    def arrays(self) -> dict[str, list[Any]]:
        """Return all arrays of the state but the net's own: momentum, statistics, the average.

        Each name has a list. An array that is equal on all devices has one copy a device. Running
        statistics differ from device to device, so each device's have a name of their own.
        """
        arrays = {}
        number = {parameter.name: n for n, parameter in enumerate(self._trainer._params)}
        for name, parameter in named_parameters(self._net).items():
            states = [u.states.get(number[parameter.name]) for u in self._trainer._updaters]
            if states[0] is not None:
                arrays[f"momentum/{name}"] = states
            copies = parameter.list_data()
            if is_moving(parameter) and len(copies) > 1:
                arrays.update({f"device{n}/{name}": [copy] for n, copy in enumerate(copies)})
        for name, parameter in named_parameters(self._average).items() if self._average else ():
            copies = parameter.list_data()
            shared = [[copy] for copy in copies] if is_moving(parameter) else [copies]
            arrays.update({f"average{n}/{name}": same for n, same in enumerate(shared)})
        return arrays

    def set_arrays(self, values: Mapping[str, np.ndarray], source: object) -> None:
        """Give the arrays of some names these values.

        Raises
        ------
        InputError
            If one does not belong to the net on these devices, or has another shape.
        """
        arrays = self.arrays()
        for name, value in values.items():
            if name not in arrays or arrays[name][0].shape != value.shape:
                raise InputError(
                    f"{source} does not fit the net and its devices: {name} {value.shape}"
                )
            for copy in arrays[name]:
                copy[:] = mx.nd.array(value, dtype=value.dtype)

    @property
    def loss_scale(self) -> list[float]:
        """The loss scaler's numbers; none where there is no such thing."""
        scaler = loss_scaler(self._trainer)
        return [getattr(scaler, name) for name in _LOSS_SCALE] if scaler else []

    @loss_scale.setter
    def loss_scale(self, values: Sequence[float]) -> None:
        scaler = loss_scaler(self._trainer)
        for name, value in zip(_LOSS_SCALE, values if scaler else ()):
            setattr(scaler, name, int(value) if name == "_unskipped" else value)

    def save(self, checkpoints: Checkpoints, best: bool) -> None:
        """Write a checkpoint; `best`: the net, or its average, is the best so far.

        Before the first epoch's end the newest one counts as the best.
        """
        self.progress.loss_scale = self.loss_scale
        checkpoints.save(
            _values(self._net),
            {name: copies[0] for name, copies in self.arrays().items()},
            self.progress,
            _values(self._average or self._net) if best or not self.progress.best_epoch else None,
        )

    def load(self, checkpoint: Checkpoint) -> None:
        """Take on what a checkpoint holds.

        Raises
        ------
        InputError
            If it does not fit.
        """
        path = checkpoint.path
        self.progress = checkpoint.progress
        set_parameters(self._net, checkpoint.arrays("net.params"), path / "net.params")
        self.set_arrays(checkpoint.arrays("state.params"), path / "state.params")
        self.loss_scale = self.progress.loss_scale

    def share(self, workers: Workers, *others: np.ndarray) -> list[np.ndarray]:
        """Give every worker the state of worker 0; return its `others`, which are float32 too."""
        progress = self.progress
        # Seconds too: a run may have been stopped when only the validation of an epoch was left.
        numbers = [progress.epoch, progress.step, progress.seconds, *self.loss_scale]
        net = get_parameters(self._net)
        rest = {name: copies[0].asnumpy() for name, copies in self.arrays().items()}
        sent = [np.array(numbers, np.float32), *others, *net.values(), *rest.values()]
        received = iter(workers.broadcast(sent))
        epoch, step, progress.seconds, *self.loss_scale = next(received).tolist()
        progress.epoch, progress.step = int(epoch), int(step)
        shared = [next(received) for _ in others]
        set_parameters(self._net, dict(zip(net, received)), "worker 0")
        self.set_arrays(dict(zip(rest, received)), "worker 0")
        return shared


def _values(net: Any) -> dict[str, Any]:
    mx.nd.waitall()  # see `save_arrays`: the mean of several devices is taken here
    return {name: current_value(parameter) for name, parameter in named_parameters(net).items()}
