"""A net's parameters as arrays and as files: never pickled."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping, Sequence

from runtime import mx

import numpy as np

from errors import InputError, listed
from utils import one_line, write_synced
from weights.params_file import write_params


def named_parameters(net: Any) -> dict[str, Any]:
    """Return a net's parameters under the names that its files use, as ``features.0.weight``."""
    return dict(net._collect_params_with_prefix())  # what Block.save_parameters itself calls


def is_moving(parameter: Any) -> bool:
    """Whether training changes a parameter without a gradient: running statistics, if not frozen.

    Each device has its own.
    """
    return not (parameter._differentiable or getattr(parameter, "frozen", False))


def current_value(parameter: Any) -> Any:
    """Return a parameter's value: devices differ in nothing but running statistics."""
    copies = parameter.list_data()
    if len(copies) == 1 or not is_moving(parameter):
        return copies[0]
    return sum(copy.as_in_context(copies[0].context) for copy in copies) / len(copies)


def save_arrays(path: Path, arrays: Mapping[str, Any]) -> bytes:
    """Write NDArrays to a file that MXNet loads, and return its bytes.

    Raises
    ------
    FloatingPointError
        If a number is not finite.
    InputError
        If the file cannot be written; it may then be there in part.
    """
    # Without this wait MXNet 1.9.1 hands out running statistics from before the last step.
    mx.nd.waitall()
    values = {name: array.asnumpy() for name, array in arrays.items()}
    for name, value in values.items():
        if not np.isfinite(value).all():
            raise FloatingPointError(f"{name} is not finite")
    data = write_params(values)
    with one_line(f"cannot write {path}"):
        write_synced(path, data)
    return data


def get_parameters(net: Any) -> dict[str, np.ndarray]:
    """Return a net's parameters and running statistics: what `set_parameters` takes."""
    mx.nd.waitall()  # see `save_arrays`
    return {name: current_value(p).asnumpy() for name, p in named_parameters(net).items()}


def set_parameters(
    net: Any, arrays: Mapping[str, np.ndarray], source: object, ctx: Sequence[Any] | None = None
) -> None:
    """Give a net the values of arrays, all of which must fit.

    Parameters
    ----------
    net : gluon.Block
        Initialised or not.
    arrays : mapping of str to numpy.ndarray
        By the names of `named_parameters`.
    source : object
        Where they come from, for the message.
    ctx : list of mxnet.Context, optional
        Where to put a net that is not initialised (default: the CPU); else left where it is.

    Raises
    ------
    InputError
        Naming entries that are missing, not in the net, or of another shape.
    """
    parameters = named_parameters(net)
    faults = [f"missing {name}" for name in parameters if name not in arrays]
    faults += [f"extra {name}" for name in arrays if name not in parameters]
    for name in (name for name in parameters if name in arrays):
        # A dimension of 0 is one that the net learns from its first input.
        wanted, found = parameters[name].shape, arrays[name].shape
        if len(wanted) != len(found) or any(w not in (0, f) for w, f in zip(wanted, found)):
            faults.append(f"{name} is {found} instead of {wanted}")
    if faults:
        raise InputError(f"{source} does not fit the net: {listed(faults)}")
    for name, parameter in parameters.items():
        value = mx.nd.array(arrays[name], dtype=parameter.dtype)
        parameter._load_init(value, parameter.list_ctx() if parameter._data else ctx or mx.cpu())
