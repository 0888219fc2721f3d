"""A net as a graph for inference, and the check that an export computes the same.

All formats start from this graph. It includes normalisation, and its operators are those that
MXNet's CPU and GPU builds and ONNX share.
"""

from __future__ import annotations

from typing import Any

from runtime import mx

import numpy as np

from compiler.graph import Graph
from errors import InputError
from exports.description import Loaded
from utils import Normaliser, to_device
from weights.parameters import get_parameters, named_parameters

# Largest difference allowed between an export and its net: a share of the largest logit (or of 1,
# where all logits are smaller). Float32 sums in another order differ by 1e-6, in nets of some
# hundred layers by 1e-5; any wrong operator or weight by more than this.
TOLERANCE = 1e-4


def inference_graph(
    net: Any, normaliser: Normaliser, normalise: bool
) -> tuple[Any, dict[str, Any]]:
    """Return a net as a symbol of operators that every device has, and its parameters.

    With `normalise` the graph starts from pixels (0 to 255) instead of normalised images.

    Returns
    -------
    symbol : Symbol
        From ``data``, float32 (N, 3, 32, 32), to logits (N, classes).
    arrays : dict of str to numpy.ndarray
        By names that start with ``arg:`` or ``aux:``.
    """
    data = mx.sym.var("data")
    constants: dict[str, np.ndarray] = {}
    if normalise:
        data, constants = normaliser.graph(data)
    symbol = rewrite(net(data))
    names = {name: parameter.name for name, parameter in named_parameters(net).items()}
    values = {names[name]: value for name, value in get_parameters(net).items()}
    values.update(constants)
    kinds = [("arg", name) for name in symbol.list_arguments() if name != "data"]
    kinds += [("aux", name) for name in symbol.list_auxiliary_states()]
    return symbol, {f"{kind}:{name}": values[name] for kind, name in kinds}


def rewrite(symbol: Any) -> Any:
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


def difference(logits: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference of two arrays of logits, as `TOLERANCE` has it."""
    return float(np.abs(logits - expected).max() / max(1.0, np.abs(expected).max()))


def check_agreement(what: str, loaded: Loaded, net: Any, normaliser: Normaliser) -> None:
    """Raise an `InputError` unless what has been `loaded` gives its net's logits.

    For 1 and for 64 images; the message names `what` was exported, and by how much they differ.
    """
    run, device = loaded[2], device_of(net)
    for batch in (1, 64):
        pixels = np.random.RandomState(0).randint(0, 256, (batch, 3, 32, 32)).astype(np.uint8)
        expected = net(to_device(normaliser.arrays(pixels), device)).asnumpy()
        found = difference(run(pixels), expected)
        if not found <= TOLERANCE:  # written so that NaN is refused
            raise InputError(
                f"{what} does not agree with the net and was not written: its logits differ by "
                f"{found:.2g} of the largest, {TOLERANCE:g} is allowed"
            )


def device_of(net: Any) -> Any:
    """Return the first device that a net is on."""
    return next(iter(net.collect_params().values())).list_ctx()[0]
