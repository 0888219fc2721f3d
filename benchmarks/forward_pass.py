"""Inference on a CPU: this project's nets against PyTorch's, and against their own ONNX files.

    pip install -r requirements/benchmarks.txt
    python benchmarks/forward_pass.py                 # seven nets, batch 1 and 256; ten minutes
    python benchmarks/forward_pass.py resnet20 --batch 256

Float32 logits of random images; initial weights. PyTorch runs in inference mode, frozen with its
BatchNorms folded, in its default layout and in channels_last, with an allocator that keeps its
pages; onnxruntime runs what `export.py --format onnx` writes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any, Callable

from contest import compete, cores, describe_machine, serve, spread
from training_step import ENVIRONMENTS, LAYOUTS, NETS

from errors import command_line
from utils import table


def ours(batch: int, family: str, options: dict[str, Any], amp: bool = False) -> Callable[[], None]:
    """Return one pass of this project's net; in bfloat16, as training validates it, if `amp`."""
    from runtime import mx

    import compiler

    net, images = _net(family, options), mx.nd.random.normal(shape=(batch, 3, 32, 32))
    compiler.hybridize(net, bfloat16=amp)
    if not amp:
        net = compiler.freeze(net, [mx.cpu()])
    return lambda: net(images).wait_to_read()


def _net(family: str, options: dict[str, Any]) -> Any:
    import models

    net = models.get_model(family, **options)
    models.initialize(net, seed=0)
    return net


def onnx(batch: int, family: str, options: dict[str, Any]) -> Callable[[], None]:
    """Return one pass of the net's ONNX file."""
    import numpy as np
    import onnxruntime

    from formats.onnx_export import export_onnx
    from utils import Normaliser

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = cores()
    with tempfile.TemporaryDirectory() as folder:
        classes = [str(number) for number in range(10)]
        path = Path(folder) / "model.onnx"
        export_onnx(
            _net(family, options), path, classes, Normaliser((0,) * 3, (1,) * 3), normalise=False
        )
        providers = ["CPUExecutionProvider"]
        session = onnxruntime.InferenceSession(str(path), settings, providers=providers)
    images = np.random.RandomState(0).randn(batch, 3, 32, 32).astype(np.float32)
    name = session.get_inputs()[0].name
    return lambda: session.run(None, {name: images})


def pytorch(layout: str, batch: int, family: str, options: dict[str, Any]) -> Callable[[], None]:
    """Return one pass of the same net in PyTorch."""
    import pytorch_nets
    import torch

    torch.set_num_threads(cores())
    net, form = pytorch_nets.build(family, options, layout)
    net.eval()
    images = torch.randn(batch, 3, 32, 32).to(memory_format=form)
    with torch.inference_mode():
        net = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(net, images)))

    def step() -> None:
        with torch.inference_mode():
            net(images)

    return step


def contender(name: str, net: str, batch: int) -> None:
    """Be the contender of a name."""
    family, options = NETS[net]
    if name in LAYOUTS:
        serve(pytorch(name, batch, family, options))
    else:
        serve({"ours": ours, "onnxruntime": onnx}[name](batch, family, options))


@command_line
def main() -> None:
    """Compare, or, with ``--contender``, be one of those compared."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("nets", nargs="*", default=list(NETS), metavar="NET", help=", ".join(NETS))
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 256])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contender:
        contender(arguments.contender, arguments.nets[0], arguments.batch[0])
        return
    print(describe_machine(), flush=True)
    names = ["ours", *LAYOUTS[:2], "onnxruntime"]
    rows = []
    for net in arguments.nets:
        for batch in arguments.batch:
            commands = {
                name: [str(Path(__file__)), net, "--batch", str(batch), "--contender", name]
                for name in names
            }
            results = compete(commands, arguments.rounds, max(1, 64 // batch), ENVIRONMENTS)
            rival = min(LAYOUTS[:2], key=lambda name: results[name].median)
            for name in names:
                result = results[name]
                row = [net, batch, name]
                if result.fault:
                    rows.append([*row, result.fault[:40], "", ""])
                    continue
                rates, ratio = spread(result.rates(batch)), result.against(results[rival])
                rows.append([*row, rates, f"{result.peak_mb:.0f}", ratio])
    print(table(("net", "batch", "form", "images/s", "peak MB", "× best PyTorch"), rows))


if __name__ == "__main__":
    sys.exit(main())
