"""A net as a portable graph, and the check that an export computes the same.

All exports start from this graph. It includes normalisation, and its operators are those that
MXNet's CPU and GPU builds and ONNX share.
"""

from __future__ import annotations

import contextlib
import warnings
from typing import Any, Callable, Iterator, Mapping

from runtime import mx

import numpy as np

from compiler.graph import Graph
from errors import InputError
from utils import Normaliser, to_device
from weights.parameters import current_values

# Largest difference allowed between an export and its net: a share of the largest logit (or of 1,
# where all logits are smaller). Float32 sums in another order differ by about a tenth of this.
TOLERANCE = 1e-5
# Rounding alone can be more in nets of some hundred layers: resnet164 with initial weights differs
# by 1.1e-5 from float64. So this many times the net's own rounding error is allowed, up to a limit
# that any wrong operator or weight exceeds.
_ROUNDINGS, _LIMIT = 4, 1e-4


def portable_graph(net: Any, normaliser: Normaliser, normalise: bool) -> tuple[Any, dict[str, Any]]:
    """Return a net as a symbol of operators that every device has, and its parameters.

    Parameters
    ----------
    net : gluon.HybridBlock
        Takes normalised images.
    normaliser : Normaliser
        The training images'.
    normalise : bool
        Whether the graph starts from pixels (0 to 255) instead of normalised images.

    Returns
    -------
    symbol : Symbol
        From ``data``, float32 (N, 3, 32, 32), to logits (N, classes).
    arrays : dict of str to NDArray
        On the CPU, by names that start with ``arg:`` or ``aux:``.
    """
    data = mx.sym.var("data")
    constants: dict[str, np.ndarray] = {}
    if normalise:
        data, constants = normaliser.graph(data)
    symbol = _rewritten(net(data))
    values = {**current_values(net), **{k: mx.nd.array(v) for k, v in constants.items()}}
    kinds = [("arg", name) for name in symbol.list_arguments() if name != "data"]
    kinds += [("aux", name) for name in symbol.list_auxiliary_states()]
    arrays = {f"{kind}:{name}": values[name].as_in_context(mx.cpu()) for kind, name in kinds}
    return symbol, arrays


def _rewritten(symbol: Any) -> Any:
    """Return a graph of the same logits, without what only training or one device needs."""
    graph = Graph.read(symbol)
    dropped: dict[Any, Any] = {}  # a dropout's output to its input: the same when not training
    for node in graph.nodes:
        node.inputs = [dropped.get(value, value) for value in node.inputs]
        if node.op == "Dropout":
            dropped[node.outputs[0]] = node.inputs[0]
        if node.op == "elemwise_add":
            # On a CPU, Module fuses a convolution with this addition, and then overwrites what
            # another operator has yet to read: GluonCV's cifar_resnet20_v2 was wrong by 17 %.
            node.op = "broadcast_add"
        node.attrs.pop("use_global_stats", None)  # of layers frozen in training
    graph.heads = [dropped.get(value, value) for value in graph.heads]
    return graph.write()


def make_pixels(count: int) -> np.ndarray:
    """Return random images to compare nets on: float32 (count, 3, 32, 32), 0 to 255."""
    return np.random.RandomState(0).randint(0, 256, (count, 3, 32, 32)).astype(np.float32)


def difference(logits: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference of two arrays of logits, in the unit of `TOLERANCE`."""
    return float(np.abs(logits - expected).max() / max(1.0, np.abs(expected).max()))


def check_agreement(
    what: str, logits: np.ndarray, expected: np.ndarray, rounding: Callable[[], float]
) -> None:
    """Raise unless an export's logits are its net's.

    Parameters
    ----------
    what : str
        The export, for the message.
    logits, expected : numpy.ndarray
        Its logits and the net's.
    rounding : callable
        Returns the net's own rounding error (`rounding_error`); called only where it is needed.

    Raises
    ------
    InputError
        Saying by how much they differ.
    """
    found, allowed = difference(logits, expected), TOLERANCE
    if not found <= allowed:  # written so that NaN is refused
        allowed = max(TOLERANCE, min(_LIMIT, _ROUNDINGS * rounding()))
    if not found <= allowed:
        raise InputError(
            f"{what} does not agree with the net and was deleted: its logits differ by {found:.2g} "
            f"of the largest, {allowed:.2g} is allowed"
        )


def rounding_error(
    net: Any, symbol: Any, arrays: Mapping[str, Any], normaliser: Normaliser
) -> float:
    """Return how far a net is from what its graph gives in float64, in the unit of `TOLERANCE`.

    Parameters
    ----------
    net : gluon.HybridBlock
    symbol, arrays
        What `portable_graph` returned for it.
    normaliser : Normaliser
        The training images'.
    """
    pixels = make_pixels(4)
    inputs = pixels.astype(np.float64)
    if "arg:pixel_mean" not in arrays:
        mean, std = (each.reshape(3, 1, 1) for each in (normaliser.mean, normaliser.std))
        inputs = (inputs - mean) / std
    values = {name.partition(":")[2]: value.astype("float64") for name, value in arrays.items()}
    values["data"] = mx.nd.array(inputs, dtype="float64")
    exact = symbol.bind(mx.cpu(), values, aux_states=values, grad_req="null")
    logits = exact.forward(is_train=False)[0].asnumpy()
    return difference(net_logits(net, pixels, normaliser), logits)


def net_logits(net: Any, pixels: np.ndarray, normaliser: Normaliser) -> np.ndarray:
    """Return a net's own logits of pixels, from the first device that it is on."""
    return net(to_device(normaliser.arrays(pixels), device_of(net))).asnumpy()


def device_of(net: Any) -> Any:
    """Return the first device that a net is on."""
    return next(iter(net.collect_params().values())).list_ctx()[0]


@contextlib.contextmanager
def without_warnings() -> Iterator[None]:
    """Hide warnings that no user can act on: MXNet's loader and its ONNX module raise them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
