"""The input pipeline: augmented images a second, and how long training waits for them.

    python benchmarks/input_pipeline.py
    python benchmarks/input_pipeline.py --torchvision-python OTHER/bin/python

Pad, crop, flip and normalise 50,000 random images in batches of 128, until they are float32 arrays
on the device: this project's loader; GluonCV's transforms through `gluon.data.DataLoader`; and
torchvision's, through PyTorch's, by another interpreter if need be (torchvision has no build for
every torch). Then training steps of a net with this project's loader: the share of their time that
passes in waiting for the next batch.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Iterator

from contest import cores, describe_machine, spread
from training_step import gluon_step

from errors import command_line
from utils import table

BATCH = 128
MEAN, STD = (125.3, 123.0, 113.9), (63.0, 62.1, 66.7)


def _images(count: int) -> Any:
    import numpy as np

    return np.random.RandomState(0).randint(0, 256, (count, 3, 32, 32)).astype(np.uint8)


def our_loader(images: Any) -> Any:
    """Return this project's loader of the images."""
    import numpy as np

    from datasets import Augmentation, Split, TrainLoader

    labels = np.arange(len(images), dtype=np.int32) % 10
    fill = np.array(MEAN).astype(np.uint8)
    return TrainLoader(Split(images, labels), 10, BATCH, 0, Augmentation(), fill)


def ours(images: Any, workers: int) -> Iterator[Any]:
    """Yield this project's batches, normalised, on the device."""
    from runtime import mx

    from utils import Normaliser, to_device

    normaliser = Normaliser(MEAN, STD)
    for batch, targets in our_loader(images).epoch(0):
        to_device(targets, mx.cpu())
        to_device(normaliser.arrays(batch), mx.cpu()).wait_to_read()
        yield batch


def by_gluoncv(images: Any, workers: int) -> Iterator[Any]:
    """Yield batches of GluonCV's transforms."""
    from runtime import gluoncv, mx

    import numpy as np
    from mxnet import gluon
    from mxnet.gluon.data.vision import transforms

    steps = transforms.Compose(
        [
            gluoncv.data.transforms.RandomCrop(32, pad=4),
            transforms.RandomFlipLeftRight(),
            transforms.ToTensor(),
            transforms.Normalize([m / 255 for m in MEAN], [s / 255 for s in STD]),
        ]
    )
    pixels = mx.nd.array(images.transpose(0, 2, 3, 1), dtype=np.uint8)
    data = gluon.data.ArrayDataset(pixels, np.arange(len(images)) % 10).transform_first(steps)
    loader = gluon.data.DataLoader(data, BATCH, shuffle=True, num_workers=workers)
    for batch, _ in loader:
        batch.wait_to_read()
        yield batch


def by_torchvision(images: Any, workers: int) -> Iterator[Any]:
    """Yield batches of torchvision's transforms."""
    import torch
    from PIL import Image
    from torchvision import transforms

    steps = transforms.Compose(
        [
            transforms.RandomCrop(32, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize([m / 255 for m in MEAN], [s / 255 for s in STD]),
        ]
    )
    pixels = images.transpose(0, 2, 3, 1)

    class Images(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(pixels)

        def __getitem__(self, number: int) -> tuple[Any, int]:
            return steps(Image.fromarray(pixels[number])), number % 10

    loader = torch.utils.data.DataLoader(Images(), BATCH, shuffle=True, num_workers=workers)
    for batch, _ in loader:
        yield batch


PIPELINES: dict[str, Callable[[Any, int], Iterator[Any]]] = {
    "ours": ours,
    "GluonCV": by_gluoncv,
    "torchvision": by_torchvision,
}


def rate(pipeline: str, workers: int, count: int) -> float:
    """Return images a second, from the second batch on to the last."""
    batches = PIPELINES[pipeline](_images(count), workers)
    next(batches)
    seen, start = 0, time.perf_counter()
    for batch in batches:
        seen += len(batch)
    return seen / (time.perf_counter() - start)


def waiting(model: str, steps: int) -> float:
    """Return the share of training that passes in waiting for batches."""
    import compiler
    import models

    net = models.get_model(model)
    compiler.hybridize(net)
    train = gluon_step(net, BATCH)
    batches = our_loader(_images(BATCH * (steps + 3))).epoch(0)
    waited = start = 0.0
    for step in range(steps + 3):
        if step == 3:
            waited, start = 0.0, time.perf_counter()
        before = time.perf_counter()
        images, targets = next(batches)
        waited += time.perf_counter() - before
        train(images, targets)  # to its end: the queue, which is short, would hide the wait
    return waited / (time.perf_counter() - start)


@command_line
def main() -> None:
    """Compare, or, with ``--pipeline``, be one of those compared."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default="resnet20", help="to train while data is loaded")
    parser.add_argument("--torchvision-python", default=sys.executable)
    parser.add_argument("--pipeline", choices=[*PIPELINES, "waiting"], help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.pipeline == "waiting":
        print(waiting(arguments.model, 40))
        return
    if arguments.pipeline:
        # Slow pipelines are measured on fewer images.
        count = 50_000 if arguments.pipeline == "ours" else 6_400
        print(rate(arguments.pipeline, arguments.workers, count))
        return
    print(describe_machine(), flush=True)
    ways = [("ours", 0), *((name, n) for name in ("GluonCV", "torchvision") for n in (0, cores()))]
    rates: dict[tuple[str, int], list[float]] = {way: [] for way in ways}
    for _ in range(arguments.rounds):
        for way in list(rates):
            interpreter = arguments.torchvision_python if way[0] == "torchvision" else None
            output = _run(["--pipeline", way[0], "--workers", str(way[1])], interpreter)
            if output is None:
                del rates[way]
                print(f"{way[0]} cannot be run by this Python and is left out", flush=True)
            else:
                rates[way].append(output)
    slowest = statistics.median(rates["ours", 0])
    rows = [
        [name, workers or "none", spread(values, 0), f"{slowest / statistics.median(values):.0f}"]
        for (name, workers), values in rates.items()
    ]
    print(table(("pipeline", "worker processes", "images/s", "ours is × faster"), rows))
    shares = [_run(["--pipeline", "waiting", "--model", arguments.model]) for _ in range(3)]
    percent = spread([100 * share for share in shares if share is not None], 2)
    print(f"{arguments.model} at batch {BATCH} waits {percent} % of its time for data")


def _run(flags: list[str], interpreter: str | None = None) -> float | None:
    command = [interpreter or sys.executable, str(Path(__file__)), *flags]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return float(done.stdout.split()[-1]) if done.returncode == 0 else None


if __name__ == "__main__":
    sys.exit(main())
