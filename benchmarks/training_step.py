"""A training step on a CPU: this project's nets against PyTorch's and against textbook Gluon.

    pip install -r requirements/benchmarks.txt
    python benchmarks/training_step.py                         # seven nets, a quarter of an hour
    python benchmarks/training_step.py resnet20 densenet_bc40_k16 --compile
    python benchmarks/training_step.py --amp                   # both in bfloat16
    python benchmarks/training_step.py resnet20 --without fuse # what a rule of the compiler brings

Batch 64, float32, forward, backward and optimizer (SGD with Nesterov momentum and weight decay);
random images. One validation pass comes first, as a run has it, and counts in the memory. PyTorch
runs at its best: ReLUs in place, fused optimizer, an allocator that keeps its pages; in its default
layout, in channels_last, and with --compile through torch.compile as well; the best of them counts.
Textbook Gluon has the threads that MXNet takes by itself: half of the processors. With --amp our
nets compute in bfloat16 and PyTorch's under torch.autocast; textbook Gluon has no such form and
stays away. GFLOP/s count three forward passes' multiply-adds a step; the peak is the best of a few
large matrix products in float32.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any, Callable, Sequence

from contest import compete, cores, describe_machine, serve, spread

from errors import command_line
from utils import table

BATCH = 64


def _densenet(depth: int, growth_rate: int, bottleneck: bool) -> dict[str, Any]:
    compression = 0.5 if bottleneck else 1.0
    return {
        "depth": depth,
        "growth_rate": growth_rate,
        "bottleneck": bottleneck,
        "compression": compression,
    }


NETS: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet20": ("resnet", {"depth": 20}),
    "resnet110": ("resnet", {"depth": 110}),
    "densenet40_k12": ("densenet", _densenet(40, 12, False)),
    "densenet_bc40_k12": ("densenet", _densenet(40, 12, True)),
    "densenet_bc40_k16": ("densenet", _densenet(40, 16, True)),
    "densenet_bc40_k48": ("densenet", _densenet(40, 48, True)),
    "densenet_bc100_k12": ("densenet", _densenet(100, 12, True)),
}
LAYOUTS = ("PyTorch", "PyTorch channels_last", "PyTorch compiled")
# glibc's allocator gives large arrays back to the system and faults them in again in each step.
KEEP_PAGES = {"MALLOC_MMAP_THRESHOLD_": str(2**34), "MALLOC_TRIM_THRESHOLD_": str(2**34)}
ENVIRONMENTS = dict.fromkeys(LAYOUTS, KEEP_PAGES)


def ours(
    family: str, options: dict[str, Any], amp: bool, without: Sequence[str] = ()
) -> Callable[[], None]:
    """Return a step of this project's training, without some rules of the compiler."""
    import compiler
    import models

    net = models.get_model(family, **options)
    compiler.hybridize(net, bfloat16=amp, without=without)
    return _validated(net)


def textbook(family: str, options: dict[str, Any]) -> Callable[[], None]:
    """Return a step of the same net as a tutorial writes it."""
    import textbook_nets

    net = getattr(textbook_nets, family)(**options)
    net.hybridize(static_alloc=True, static_shape=True)
    return _validated(net)


def _validated(net: Any) -> Callable[[], None]:
    from runtime import mx

    images = mx.nd.random.normal(shape=(BATCH, 3, 32, 32))
    return after_validation(gluon_step(net), lambda: net(images).wait_to_read())


def after_validation(step: Callable[[], None], validate: Callable[[], None]) -> Callable[[], None]:
    """Take a step and a validation pass, so that the memory is a run's, and return the step."""
    step()
    validate()
    return step


def gluon_step(
    net: Any, batch: int = BATCH, workers: Any = None, devices: int = 1
) -> Callable[..., None]:
    """Return a step of a hybridized net's training, by the project's own code.

    Parameters
    ----------
    net : HybridBlock
        Without weights.
    batch : int
        Images, over all workers and devices together.
    workers : training.distributed.Workers, optional
        This process alone if omitted.
    devices : int
        CPU contexts.

    Returns
    -------
    callable
        Takes this worker's images and targets, or random ones if called without; returns when the
        step is computed.
    """
    from runtime import mx

    import numpy as np

    import models
    from training.config import make_config
    from training.distributed import Workers
    from training.optimisation import make_trainer, train_step
    from utils import Normaliser

    workers = workers or Workers("device")
    config = make_config(model="densenet", batch_size=batch, lr=0.001)
    ctx = [mx.cpu(number) for number in range(devices)]
    models.initialize(net, ctx, seed=0)
    trainer = make_trainer(net, config, ctx, workers)
    rng = np.random.RandomState(workers.rank)
    share = batch // workers.count
    random_images = rng.randint(0, 256, (share, 3, 32, 32)).astype(np.uint8)
    random_targets = np.eye(10, dtype=np.float32)[rng.randint(0, 10, share)]
    normaliser = Normaliser((120, 120, 120), (60, 60, 60))
    count = itertools.count()

    def step(images: Any = random_images, targets: Any = random_targets) -> None:
        models.draw_gates(net, 0, next(count))
        train_step(net, trainer, images, targets, normaliser, ctx, config)
        mx.nd.waitall()

    return step


def pytorch(layout: str, family: str, options: dict[str, Any], amp: bool) -> Callable[[], None]:
    """Return a step of the same net in PyTorch."""
    import pytorch_nets
    import torch

    torch.set_num_threads(cores())
    net, form = pytorch_nets.build(family, options, layout)
    optimizer = torch.optim.SGD(
        net.parameters(), 0.001, momentum=0.9, nesterov=True, weight_decay=1e-4, fused=True
    )
    if "compiled" in layout:
        net = torch.compile(net)
    criterion = torch.nn.CrossEntropyLoss()
    images = torch.randn(BATCH, 3, 32, 32).to(memory_format=form)
    labels = torch.randint(0, 10, (BATCH,))

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=amp):
            loss = criterion(net(images), labels)
        loss.backward()
        optimizer.step()

    def validate() -> None:
        net.eval()
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=amp):
            net(images)
        net.train()

    return after_validation(step, validate)


def sgemm_peak() -> float:
    """Measure GFLOP/s of large float32 matrix products: the best of MXNet's and PyTorch's."""
    from runtime import mx

    import torch

    torch.set_num_threads(cores())
    size = 3072
    a, b = mx.nd.ones((size, size)), torch.ones(size, size)

    def by_mxnet() -> None:
        mx.nd.FullyConnected(a, a, num_hidden=size, no_bias=True).wait_to_read()

    best = float("inf")
    for product in (by_mxnet, lambda: torch.mm(b, b)):
        product()
        for _ in range(3):
            start = time.perf_counter()
            product()
            best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e9


def gigaflops(family: str, options: dict[str, Any]) -> float:
    """Count a training step's operations for one image, in 10⁹."""
    import models

    net = models.get_model(family, **options)
    return 3 * 2 * models.count_multiply_accumulates(net) / 1e9


def contender(name: str, net: str, amp: bool) -> None:
    """Be the contender of a name."""
    family, options = NETS[net]
    if name in LAYOUTS:
        serve(pytorch(name, family, options, amp))
    else:
        mine, *without = name.split(" without ")
        serve(ours(family, options, amp, without) if mine == "ours" else textbook(family, options))


@command_line
def main() -> None:
    """Compare, or, with ``--contender``, be one of those compared."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("nets", nargs="*", default=list(NETS), metavar="NET", help=", ".join(NETS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2, help="a round")
    parser.add_argument("--compile", action="store_true", help="torch.compile too; takes minutes")
    parser.add_argument("--amp", action="store_true", help="compute in bfloat16")
    parser.add_argument(
        "--without", nargs="+", default=[], metavar="RULE", help="ours alone, without each of these"
    )
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    unknown = [name for name in arguments.nets if name not in NETS]
    if unknown:
        parser.error(f"unknown net {unknown[0]}: choose from {', '.join(NETS)}")
    if arguments.contender:
        contender(arguments.contender, arguments.nets[0], arguments.amp)
        return
    peak = sgemm_peak()
    print(f"{describe_machine()}; sgemm {peak:.0f} GFLOP/s")
    print(
        f"batch {BATCH}, {arguments.rounds} rounds of {arguments.steps} steps in turn", flush=True
    )
    layouts: Sequence[str] = LAYOUTS[: 3 if arguments.compile else 2]
    names = ["ours", *layouts, *([] if arguments.amp else ["textbook Gluon"])]
    if arguments.without:
        layouts, names = ["ours"], ["ours", *(f"ours without {r}" for r in arguments.without)]
    amp = ["--amp"] if arguments.amp else []
    rows = []
    half = max(1, len(os.sched_getaffinity(0)) // 2)  # of the processors: MXNet's own choice
    environments = {**ENVIRONMENTS, "textbook Gluon": {"OMP_NUM_THREADS": str(half)}}
    for net in arguments.nets:
        commands = {name: [str(Path(__file__)), net, *amp, "--contender", name] for name in names}
        results = compete(commands, arguments.rounds, arguments.steps, environments)
        rival = min(layouts, key=lambda name: results[name].median)
        for name in names:
            result = results[name]
            if result.fault:
                rows.append([net, name, result.fault[:40], "", "", "", ""])
                continue
            rates = result.rates(BATCH)
            flops = gigaflops(*NETS[net]) * statistics.median(rates)
            rows.append(
                [
                    *(net, name, spread(rates)),
                    *(f"{flops:.0f}", f"{100 * flops / peak:.0f} %", f"{result.peak_mb:.0f}"),
                    result.against(results[rival]),
                ]
            )
        print(table(HEADER, [row for row in rows if row[0] == net]), flush=True)
    print()
    print(table(HEADER, rows))


HEADER = ("net", "form", "images/s", "GFLOP/s", "of peak", "peak MB", "× the rival")

if __name__ == "__main__":
    sys.exit(main())
