"""Compare every model of the registry with what an export makes of it.

    python benchmarks/exports.py                       # all, an hour or so on two cores
    python benchmarks/exports.py resnet20_sd se_resnet20

Exports each model as a symbol and as ONNX and prints by how much the logits of random images differ
from the net's: the symbol in Gluon and in Module, ONNX in onnxruntime at batch 1 and 64. The unit
is the largest logit (or 1, where that is smaller); 1e-5 is allowed, more
where the net's own rounding error is large (portable.py), and in Module, which multiplies BatchNorm
into the weights. Weights are initial ones and running statistics those of a batch, so that logits
are of an ordinary size.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from runtime import mx

import numpy as np
from mxnet import autograd
from mxnet.gluon import nn

import compiler
import models
from errors import InputError, command_line
from formats import onnx_export, portable, symbol_export
from inference.metrics import softmax
from utils import Normaliser

NORMALISER = Normaliser((125.3, 123.0, 113.9), (63.0, 62.1, 66.7))
_CLASSES = [f"class {number}" for number in range(10)]


def make_net(name: str) -> Any:
    """Return a net whose running statistics are those of a batch of random images."""
    net = models.get_model(name)
    models.initialize(net, mx.cpu(), seed=1)
    # Without momentum the statistics of one pass are the running ones.
    net.apply(_drop_momentum)
    if hasattr(net, "survival_probs"):
        net.gates = np.ones(len(net.survival_probs), bool)
    with autograd.record():
        logits = net(mx.nd.random.normal(shape=(8, 3, 32, 32)))
    logits.backward()  # it is the backward pass that writes them
    mx.nd.waitall()
    compiler.hybridize(net)
    return net


def _drop_momentum(block: Any) -> None:
    if isinstance(block, nn.BatchNorm):
        block._kwargs["momentum"] = 0.0


def module_logits(folder: Path, pixels: np.ndarray) -> np.ndarray:
    """Return what `mx.mod.Module` makes of an exported symbol."""
    symbol, arguments, statistics = mx.model.load_checkpoint(str(folder / "model"), 0)
    module = mx.mod.Module(symbol, ["data"], label_names=None)
    module.bind([("data", pixels.shape)], for_training=False)
    module.set_params(arguments, statistics)
    module.forward(mx.io.DataBatch([mx.nd.array(pixels)]))
    return module.get_outputs()[0].asnumpy()


def compare(name: str) -> str:
    """Export a model in every form; return a line of differences."""
    found = []

    def note(logits: np.ndarray, expected: np.ndarray) -> None:
        worst = np.abs(softmax(logits) - softmax(expected)).max()
        found.append((portable.difference(logits, expected), worst, np.abs(expected).max()))

    def record(what: str, logits: np.ndarray, expected: np.ndarray, rounding: Any) -> None:
        note(logits, expected)
        check(what, logits, expected, rounding)

    check = portable.check_agreement
    symbol_export.check_agreement = onnx_export.check_agreement = record
    try:
        net = make_net(name)
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "export"
            symbol_export.export_symbol(net, folder, _CLASSES, NORMALISER)
            pixels = portable.make_pixels(4)
            note(module_logits(folder, pixels), portable.net_logits(net, pixels, NORMALISER))
            onnx_export.export_onnx(net, folder / "model.onnx", _CLASSES, NORMALISER)
    except InputError as error:
        return f"{name:32} FAILED: {error}"
    finally:
        symbol_export.check_agreement = onnx_export.check_agreement = check
    differences = " ".join(f"{difference:9.1e}" for difference, _, _ in found)
    worst, largest = max(row[1] for row in found), max(row[2] for row in found)
    return f"{name:32} {differences} {worst:13.1e} {largest:13.3g}"


@command_line
def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Compare every model with its exports.")
    parser.add_argument("models", nargs="*", metavar="MODEL", help="[all]")
    names = parser.parse_args().models or models.list_models()
    print(f"{'model':32} {'symbol':>9} {'Module':>9} {'ONNX, 1':>9} {'ONNX, 64':>9}", end=" ")
    print(f"{'probabilities':>13} {'largest logit':>13}")
    failed = 0
    for name in names:
        line = compare(name)
        failed += "FAILED" in line
        print(line, flush=True)
    print(f"{len(names)} models, {failed} failed")


if __name__ == "__main__":
    sys.exit(main())
