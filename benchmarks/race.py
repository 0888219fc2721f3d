"""Steps of training or inference on a CPU: this project's nets beside their rivals, in turn.

    pip install -r requirements/benchmarks.txt
    python benchmarks/race.py                                 # six nets, about half an hour
    python benchmarks/race.py --inference --batch 1 64        # beside PyTorch, onnxruntime
    python benchmarks/race.py resnet110_sd                    # beside its constant depth
    python benchmarks/race.py densenet --forms ours --amp     # what a net needs here
    python benchmarks/race.py resnet20 --forms ours "ours without fuse"

Random images, initial weights, batch 64. A training step is forward, backward and optimizer (SGD
with Nesterov momentum and weight decay); a validation pass before it counts in the memory, as in a
run. PyTorch runs at its best: ReLUs and additions in place, fused optimizer, pages kept by the
allocator, in both layouts; in inference frozen, with BatchNorms folded. ``PyTorch compiled`` is
torch.compile's. Plain Gluon is the same net by Gluon's `hybridize`. All contenders compute on all
cores. With --amp our nets compute in bfloat16, PyTorch's under torch.autocast.

Each round of a contender is a process of its own, this script with ``--contender``. They take
turns, so that a machine whose speed drifts treats all alike.
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, NamedTuple, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

# Before runtime prepares this process for MXNet: rivals prepare theirs as they do by themselves.
_ENVIRONMENT = dict(os.environ)

from errors import InputError, Parser, command_line  # noqa: E402
from utils import table  # noqa: E402

NETS = (
    *("resnet20", "resnet110", "densenet40_k12"),
    *("densenet_bc40_k16", "densenet_bc40_k48", "densenet_bc100_k12"),
)
LAYOUTS = ("PyTorch", "PyTorch channels_last", "PyTorch compiled")
FORMS = ("ours", *LAYOUTS, "plain Gluon", "onnxruntime", "constant depth")
# glibc's allocator gives large arrays back to the system and faults them in again in each step.
KEEP_PAGES = {"MALLOC_MMAP_THRESHOLD_": str(2**34), "MALLOC_TRIM_THRESHOLD_": str(2**34)}
# What the rivals' nets can be told.
FAMILIES = {"resnet": {"depth"}, "densenet": {"depth", "growth_rate", "bottleneck", "compression"}}
HEADER = ("net", "batch", "form", "images/s", "peak MB", "× the rival")


class Task(NamedTuple):
    """What a contender does in a step: with a net by name, with so many images."""

    net: str
    batch: int
    inference: bool = False
    amp: bool = False


def ours(task: Task, *without: str) -> Callable[[], Any]:
    """Return a step of this project's net, without some rules of the compiler."""
    from runtime import mx

    import compiler

    net = _initialized(task.net)
    compiler.hybridize(net, bfloat16=task.amp, without=without)
    if task.inference and not task.amp:
        net = compiler.freeze(net, [mx.cpu()])
    return _gluon_step(net, task)


def plain(task: Task) -> Callable[[], Any]:
    """Return a step of the same net as Gluon runs it by itself."""
    net = _initialized(task.net)
    net.hybridize(static_alloc=True, static_shape=True)
    return _gluon_step(net, task)


def _initialized(name: str) -> Any:
    import models

    net = models.get_model(name)
    models.initialize(net, seed=0)
    return net


def _gluon_step(net: Any, task: Task) -> Callable[[], Any]:
    from runtime import mx

    import numpy as np

    import models
    from records.config import make_config
    from training.distributed import Workers
    from training.step import train_step
    from training.trainer import make_trainer
    from utils import Normaliser

    batch, ctx = task.batch, [mx.cpu()]
    inputs = mx.nd.random.normal(shape=(batch, 3, 32, 32))
    if task.inference:
        return lambda: net(inputs).wait_to_read()
    config = make_config(model="densenet", batch_size=batch, lr=0.001)
    trainer = make_trainer(net, config, ctx, Workers("device"))
    rng = np.random.RandomState(0)
    images = rng.randint(0, 256, (batch, 3, 32, 32)).astype(np.uint8)
    targets = np.eye(10, dtype=np.float32)[rng.randint(0, 10, batch)]
    normaliser = Normaliser((120, 120, 120), (60, 60, 60))
    count = itertools.count()

    def step() -> None:
        models.draw_gates(net, 0, next(count))
        train_step(net, trainer, images, targets, normaliser, ctx, config)
        mx.nd.waitall()

    step()
    net(inputs).wait_to_read()
    return step


def onnx(task: Task) -> Callable[[], Any]:
    """Return one pass of what ``export.py --format onnx`` writes."""
    import tempfile

    import numpy as np
    import onnxruntime

    from exports.onnx import export_onnx
    from utils import Normaliser

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = int(os.environ["OMP_NUM_THREADS"])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        about = (list("0123456789"), Normaliser((0,) * 3, (1,) * 3))
        export_onnx(_initialized(task.net), path, *about, normalise=False)
        session = onnxruntime.InferenceSession(str(path), settings, ["CPUExecutionProvider"])
    images = np.random.RandomState(0).randn(task.batch, 3, 32, 32).astype(np.float32)
    name = session.get_inputs()[0].name
    return lambda: session.run(None, {name: images})


def _paper(name: str) -> tuple[str, dict[str, Any]]:
    """Return a net's family and the options that papers give it, if the rivals have such a net."""
    import models

    name = models.ALIASES.get(name, name)
    _, options, _ = models.REGISTRY.get(name, (None, {}, None))
    for family, known in FAMILIES.items():
        if name.startswith(family) and options.keys() <= known:
            return family, options
    raise InputError(f"{name} has no rival here: choose --forms ours")


def prepare(form: str, task: Task) -> Callable[[], Any]:
    """Return a step of a form."""
    name, *without = form.split(" without ")
    if name in LAYOUTS:
        import pytorch_nets

        return pytorch_nets.prepare(*_paper(task.net), name, *task[1:])
    if name == "constant depth":
        return ours(task._replace(net=task.net.replace("_sd", "")))
    return {"ours": ours, "plain Gluon": plain, "onnxruntime": onnx}[name](task, *without)


def default_forms(task: Task) -> list[str]:
    """Return what a net is compared with."""
    if task.net.endswith("_sd"):
        return ["ours", "constant depth"]
    _paper(task.net)
    others = ["onnxruntime"] if task.inference else ["plain Gluon"]
    return ["ours", *LAYOUTS[:2], *([] if task.amp else others)]


def contend(form: str, task: Task, steps: int) -> None:
    """Be a contender: warm up, take some steps, print the seconds of one and the memory in MB."""
    step = prepare(form, task)
    for _ in range(12 if task.net.endswith("_sd") else 2):  # graphs for all gates
        step()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    seconds = (time.perf_counter() - start) / steps
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


class Round(NamedTuple):
    """What a contender did: the seconds of a step and its largest memory, or why it failed."""

    seconds: float = float("inf")
    peak_mb: float = 0.0
    fault: str = ""


def take_round(form: str, task: Task, steps: int) -> Round:
    """Let a contender take some steps in a process of its own."""
    environment = {**_ENVIRONMENT, **(KEEP_PAGES if form in LAYOUTS else {})}
    flags = [*["--inference"] * task.inference, *["--amp"] * task.amp, "--batch", str(task.batch)]
    command = [__file__, task.net, *flags, "--steps", str(steps), "--contender", form]
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = subprocess.run([sys.executable, *command], env=environment, text=True, **streams)
    if done.returncode < 0:
        return Round(fault=f"ended by signal {-done.returncode}")
    last = (done.stdout.strip().splitlines() or ["ended without a word"])[-1]
    if done.returncode:
        return Round(fault=last)
    seconds, peak_mb = map(float, last.split())
    return Round(seconds, peak_mb)


def race(task: Task, forms: list[str], rounds: int, steps: int) -> list[list[Any]]:
    """Measure forms in turn; return a row for each. The rival is the best of PyTorch's."""
    found: dict[str, list[Round]] = {form: [take_round(form, task, steps)] for form in forms}
    for _ in range(rounds - 1):
        for form, done in found.items():
            if not done[-1].fault:
                done.append(take_round(form, task, steps))
    rivals = [form for form in forms if form in LAYOUTS] or forms[-1:]
    rival = min(
        (found[form] for form in rivals),
        key=lambda done: statistics.median(each.seconds for each in done),
    )
    rows: list[list[Any]] = []
    for form, done in found.items():
        cells: list[Any] = [done[-1].fault[:40], "", ""]
        if not done[-1].fault:
            speed = median_and_range([task.batch / each.seconds for each in done])
            ratios = [other.seconds / each.seconds for each, other in zip(done, rival)]
            ratio = "" if rival[-1].fault else median_and_range(ratios, 2)
            cells = [speed, round(max(each.peak_mb for each in done)), ratio]
        rows.append([task.net, task.batch, form, *cells])
    return rows


def median_and_range(values: Sequence[float], digits: int = 1) -> str:
    """Return the median and the extremes."""
    median, least, most = statistics.median(values), min(values), max(values)
    return f"{median:.{digits}f} ({least:.{digits}f}–{most:.{digits}f})"


@command_line
def main(argv: list[str] | None = None) -> None:
    """Compare, or, with ``--contender``, be one of those compared."""
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("nets", nargs="*", default=NETS, metavar="NET", help="[six nets]")
    parser.add_argument("--inference", action="store_true", help="instead of training")
    parser.add_argument("--batch", type=int, nargs="+", default=[64], help="[64]")
    parser.add_argument("--amp", action="store_true", help="compute in bfloat16")
    parser.add_argument("--forms", nargs="+", metavar="FORM", help="[ours and its rivals]")
    parser.add_argument("--rounds", type=int, default=5, help="[5]")
    parser.add_argument("--steps", type=int, help="in a round [enough for 64 images, at least 2]")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    tasks = [
        Task(net, batch, arguments.inference, arguments.amp)
        for net, batch in itertools.product(arguments.nets, arguments.batch)
    ]
    if min(*arguments.batch, arguments.rounds, arguments.steps or 1) < 1:
        raise InputError("--batch, --rounds and --steps: from 1 on")
    if arguments.contender:
        contend(arguments.contender, tasks[0], arguments.steps)
        return

    from runtime import physical_cores, processor_name

    import compiler
    import models

    for net in arguments.nets:
        models.get_model(net)
    for form in arguments.forms or ():
        if form.split(" without ")[0] not in FORMS:
            raise InputError(f"unknown form {form}: choose from {', '.join(FORMS)}")
    if arguments.amp and not compiler.has_bfloat16():
        raise InputError("this processor has no AVX512-BF16: leave --amp out")
    forms = [arguments.forms or default_forms(task) for task in tasks]
    threads = _ENVIRONMENT["OMP_NUM_THREADS"] = str(physical_cores())
    print(f"{processor_name()}, {threads} threads, {arguments.rounds} rounds", flush=True)
    for task, chosen in zip(tasks, forms):
        steps = arguments.steps or max(2, 64 // task.batch)
        print(table(HEADER, race(task, chosen, arguments.rounds, steps)), flush=True)


if __name__ == "__main__":
    sys.exit(main())
