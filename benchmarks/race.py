"""Steps of training or inference on a CPU: this project's nets beside their rivals, in turn.

    pip install -r requirements/benchmarks.txt
    python benchmarks/race.py                                 # six nets, a quarter of an hour
    python benchmarks/race.py --inference --batch 1 64        # beside PyTorch, onnxruntime
    python benchmarks/race.py resnet110_sd                    # beside its constant depth
    python benchmarks/race.py densenet --forms ours --amp     # what a net needs here
    python benchmarks/race.py resnet20 --forms ours "ours without fuse"

Random images, initial weights, batch 64. A training step is forward, backward and optimizer (SGD
with Nesterov momentum and weight decay), and one validation pass comes first, as a run has it, and
counts in the memory. PyTorch runs at its best: ReLUs and additions in place, fused optimizer, an
allocator that keeps its pages, in both layouts; in inference frozen, with BatchNorms folded. The
form ``PyTorch compiled`` is torch.compile's. Textbook Gluon has the threads that MXNet takes by
itself: half of the processors. With --amp our nets compute in bfloat16, and PyTorch's under
torch.autocast. GFLOP/s count two operations for each multiply-add, three forward passes a step.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
from pathlib import Path
from typing import Any, Callable, NamedTuple

from contest import Contender, cores, describe_machine, median_and_range, serve

from errors import InputError, Parser, command_line
from utils import table, to_json, write_atomically

NETS = (
    *("resnet20", "resnet110", "densenet40_k12"),
    *("densenet_bc40_k16", "densenet_bc40_k48", "densenet_bc100_k12"),
)
LAYOUTS = ("PyTorch", "PyTorch channels_last", "PyTorch compiled")
FORMS = ("ours", *LAYOUTS, "textbook Gluon", "onnxruntime", "constant depth")
# glibc's allocator gives large arrays back to the system and faults them in again in each step.
KEEP_PAGES = {"MALLOC_MMAP_THRESHOLD_": str(2**34), "MALLOC_TRIM_THRESHOLD_": str(2**34)}
ENVIRONMENTS = dict.fromkeys(LAYOUTS, KEEP_PAGES)
# What the rivals' nets can be told.
FAMILIES = {
    "resnet": {"depth"},
    "densenet": {"depth", "growth_rate", "bottleneck", "compression"},
}
HEADER = ("net", "batch", "form", "images/s", "GFLOP/s", "peak MB", "× the rival")


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
    import models

    net = models.get_model(task.net)
    compiler.hybridize(net, bfloat16=task.amp, without=without)
    if not task.inference:
        return _gluon_training(net, task.batch)
    models.initialize(net, seed=0)
    if not task.amp:
        net = compiler.freeze(net, [mx.cpu()])
    images = mx.nd.random.normal(shape=(task.batch, 3, 32, 32))
    return lambda: net(images).wait_to_read()


def textbook(task: Task) -> Callable[[], Any]:
    """Return a step of the same net as a tutorial writes it."""
    import textbook_nets

    family, options = _paper(task.net)
    net = getattr(textbook_nets, family)(**options)
    net.hybridize(static_alloc=True, static_shape=True)
    return _gluon_training(net, task.batch)


def _gluon_training(net: Any, batch: int) -> Callable[[], None]:
    from runtime import mx

    import numpy as np

    import models
    from records.config import make_config
    from training.distributed import Workers
    from training.step import train_step
    from training.trainer import make_trainer
    from utils import Normaliser

    config = make_config(model="densenet", batch_size=batch, lr=0.001)
    ctx = [mx.cpu()]
    models.initialize(net, ctx, seed=0)
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
    net(mx.nd.zeros((batch, 3, 32, 32))).wait_to_read()
    return step


def onnx(task: Task) -> Callable[[], Any]:
    """Return one pass of what ``export.py --format onnx`` writes."""
    import tempfile

    import numpy as np
    import onnxruntime

    import models
    from exports.onnx import export_onnx
    from utils import Normaliser

    net = models.get_model(task.net)
    models.initialize(net, seed=0)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = cores()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        normaliser = Normaliser((0,) * 3, (1,) * 3)
        export_onnx(net, path, [str(n) for n in range(10)], normaliser, normalise=False)
        session = onnxruntime.InferenceSession(str(path), settings, ["CPUExecutionProvider"])
    images = np.random.RandomState(0).randn(task.batch, 3, 32, 32).astype(np.float32)
    name = session.get_inputs()[0].name
    return lambda: session.run(None, {name: images})


def _paper(name: str) -> tuple[str, dict[str, Any]]:
    """Return a net's family, and the options that papers give it.

    Raises
    ------
    InputError
        If the rivals have no such net.
    """
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
    return {"ours": ours, "textbook Gluon": textbook, "onnxruntime": onnx}[name](task, *without)


def default_forms(task: Task) -> list[str]:
    """Return what a net is compared with."""
    if task.net.endswith("_sd"):
        return ["ours", "constant depth"]
    _paper(task.net)
    others = ["onnxruntime"] if task.inference else ["textbook Gluon"]
    return ["ours", *LAYOUTS[:2], *([] if task.amp else others)]


def race(task: Task, forms: list[str], rounds: int, steps: int) -> list[dict[str, Any]]:
    """Measure forms in turn; return a row for each, the best of PyTorch's the rival."""
    import models

    half = max(1, len(os.sched_getaffinity(0)) // 2)  # of the processors: MXNet's own choice
    environments = {**ENVIRONMENTS, "textbook Gluon": {"OMP_NUM_THREADS": str(half)}}
    flags = ["--batch", str(task.batch), *["--inference"] * task.inference, *["--amp"] * task.amp]
    command = [str(Path(__file__).resolve()), task.net, *flags, "--contender"]
    results = {form: Contender([*command, form], environments.get(form, {})) for form in forms}
    for _ in range(rounds):
        for contender in results.values():
            contender.take(steps)
    for contender in results.values():
        contender.end()
    rivals = [form for form in forms if form in LAYOUTS] or forms[-1:]
    rival = results[min(rivals, key=lambda form: results[form].median)]
    work = (1 if task.inference else 3) * 2e-9
    work *= models.count_multiply_accumulates(models.get_model(task.net))
    rows = []
    for form, result in results.items():
        row = {**task._asdict(), "form": form, "fault": result.fault}
        rows.append(row)
        if not result.fault:
            row["images_per_second"] = [task.batch / seconds for seconds in result.seconds]
            row["gigaflops"] = work * statistics.median(row["images_per_second"])
            row["peak_mb"] = round(result.peak_mb)
            row["against_rival"] = [b / a for a, b in zip(result.seconds, rival.seconds)]
    return rows


def line(row: dict[str, Any]) -> list[Any]:
    """Return a row of the table."""
    start = [row["net"], row["batch"], row["form"]]
    if row["fault"]:
        return [*start, row["fault"][:40], "", "", ""]
    ratio = median_and_range(row["against_rival"], 2) if row["against_rival"] else ""
    speed = [median_and_range(row["images_per_second"]), f"{row['gigaflops']:.0f}"]
    return [*start, *speed, row["peak_mb"], ratio]


def positive(text: str) -> int:
    """Read a whole number from 1 on."""
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


@command_line
def main(argv: list[str] | None = None) -> None:
    """Compare, or, with ``--contender``, be one of those compared."""
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("nets", nargs="*", default=NETS, metavar="NET", help="[six of the papers']")
    parser.add_argument("--inference", action="store_true", help="instead of training")
    parser.add_argument("--batch", type=positive, nargs="+", default=[64], help="[64]")
    parser.add_argument("--amp", action="store_true", help="compute in bfloat16")
    parser.add_argument("--forms", nargs="+", metavar="FORM", help="[ours and its rivals]")
    parser.add_argument("--rounds", type=positive, default=5, help="[5]")
    parser.add_argument("--steps", type=positive, help="a round [2, or for 64 images]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there, too")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    tasks = [
        Task(net, batch, arguments.inference, arguments.amp)
        for net, batch in itertools.product(arguments.nets, arguments.batch)
    ]
    if arguments.contender:
        warm_up = 12 if tasks[0].net.endswith("_sd") else 2  # graphs for all gates
        serve(prepare(arguments.contender, tasks[0]), warm_up)
        return

    import models

    for net in arguments.nets:
        models.get_model(net)
    for form in arguments.forms or ():
        if form.split(" without ")[0] not in FORMS:
            raise InputError(f"unknown form {form}: choose from {', '.join(FORMS)}")

    import compiler

    if arguments.amp and not compiler.has_bfloat16():
        raise InputError("this processor has no AVX512-BF16: leave --amp out")
    forms = [arguments.forms or default_forms(task) for task in tasks]
    machine, rows = describe_machine(), []
    print(f"{machine}; {arguments.rounds} rounds", flush=True)
    for task, chosen in zip(tasks, forms):
        steps = arguments.steps or max(2, 64 // task.batch)
        found = race(task, chosen, arguments.rounds, steps)
        rows += found
        print(table(HEADER, [line(row) for row in found]), flush=True)
    if arguments.json:
        write_atomically(arguments.json, to_json({"machine": machine, "rows": rows}, indent=1))


if __name__ == "__main__":
    sys.exit(main())
