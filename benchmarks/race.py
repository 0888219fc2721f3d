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
form ``PyTorch compiled`` is torch.compile's. Plain Gluon is the same net by Gluon's `hybridize` and
with the threads that MXNet takes by itself: half of the processors. With --amp our nets compute in
bfloat16, and PyTorch's under torch.autocast.

Each contender has a process of its own, which is this script with ``--contender``. Rounds alternate
between them: a machine whose speed drifts treats all alike. Who does not have the turn is stopped,
since threads that wait by spinning would disturb the others.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Mapping, NamedTuple, Sequence

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
FAMILIES = {
    "resnet": {"depth"},
    "densenet": {"depth", "growth_rate", "bottleneck", "compression"},
}
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
    settings.intra_op_num_threads = cores()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        normaliser = Normaliser((0,) * 3, (1,) * 3)
        export_onnx(
            _initialized(task.net), path, [str(n) for n in range(10)], normaliser, normalise=False
        )
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
    return {"ours": ours, "plain Gluon": plain, "onnxruntime": onnx}[name](task, *without)


def default_forms(task: Task) -> list[str]:
    """Return what a net is compared with."""
    if task.net.endswith("_sd"):
        return ["ours", "constant depth"]
    _paper(task.net)
    others = ["onnxruntime"] if task.inference else ["plain Gluon"]
    return ["ours", *LAYOUTS[:2], *([] if task.amp else others)]


def serve(step: Callable[[], Any], warm_up: int) -> None:
    """Be a contender: warm up, then take a round of steps for each number read from standard input.

    One more step comes first and does not count: to a process that was stopped, caches are cold.
    """
    for _ in range(warm_up):
        step()
    _answer(0.0)
    for line in sys.stdin:
        step()
        start = time.perf_counter()
        for _ in range(int(line)):
            step()
        _answer(time.perf_counter() - start)


def _answer(seconds: float) -> None:
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print("contest " + json.dumps([seconds, peak_mb]), flush=True)


class Contender:
    """A contender's process, and what it did; started in turn, it warms up with nobody beside it.

    Attributes
    ----------
    seconds : list of float
        A step's, one a round; empty if it failed.
    peak_mb : float
        Largest resident memory of its process.
    fault : str
        The last line that it printed before it failed, or "".
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.seconds: list[float] = []
        self.peak_mb, self.fault = 0.0, ""
        self._process = subprocess.Popen(
            [sys.executable, __file__, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**_ENVIRONMENT, **environment},
        )
        self._listen()

    @property
    def median(self) -> float:
        """The median step, in seconds; infinite if it failed."""
        return statistics.median(self.seconds) if self.seconds else float("inf")

    def take(self, steps: int) -> None:
        """Have it take a round of steps, unless it has failed."""
        if not self.fault:
            assert self._process.stdin is not None
            self._process.send_signal(signal.SIGCONT)
            print(steps, file=self._process.stdin, flush=True)
            seconds = self._listen()
            self.seconds += [] if self.fault else [seconds / steps]

    def end(self) -> None:
        """Let its process end."""
        self._process.send_signal(signal.SIGCONT)
        self._process.communicate()

    def _listen(self) -> float:
        """Wait for its answer and stop it; return the seconds that it took."""
        assert self._process.stdout is not None
        line = ""
        for text in self._process.stdout:
            line = text.strip() or line
            if line.startswith("contest "):
                seconds, self.peak_mb = json.loads(line[len("contest ") :])
                self._process.send_signal(signal.SIGSTOP)
                return float(seconds)
        code, self.seconds = self._process.wait(), []
        self.fault = f"ended by signal {-code}" if code < 0 else line or "ended without a word"
        return 0.0


def race(task: Task, forms: list[str], rounds: int, steps: int) -> list[list[Any]]:
    """Measure forms in turn; return a row for each. The rival is the best of PyTorch's."""
    half = max(1, len(os.sched_getaffinity(0)) // 2)  # of the processors: MXNet's own choice
    environments = {
        **dict.fromkeys(LAYOUTS, KEEP_PAGES),
        "plain Gluon": {"OMP_NUM_THREADS": str(half)},
    }
    flags = ["--batch", str(task.batch), *["--inference"] * task.inference, *["--amp"] * task.amp]
    results = {}
    for form in forms:
        environment = {"OMP_NUM_THREADS": str(cores()), **environments.get(form, {})}
        results[form] = Contender([task.net, *flags, "--contender", form], environment)
    for _ in range(rounds):
        for contender in results.values():
            contender.take(steps)
    for contender in results.values():
        contender.end()
    rivals = [form for form in forms if form in LAYOUTS] or forms[-1:]
    rival = results[min(rivals, key=lambda form: results[form].median)]
    rows: list[list[Any]] = []
    for form, result in results.items():
        cells: list[Any] = [result.fault[:40], "", ""]
        if not result.fault:
            ratios = [b / a for a, b in zip(result.seconds, rival.seconds)]
            speed = median_and_range([task.batch / seconds for seconds in result.seconds])
            ratio = median_and_range(ratios, 2) if ratios else ""
            cells = [speed, round(result.peak_mb), ratio]
        rows.append([task.net, task.batch, form, *cells])
    return rows


def median_and_range(values: Sequence[float], digits: int = 1) -> str:
    """Return the median and the extremes."""
    median, least, most = statistics.median(values), min(values), max(values)
    return f"{median:.{digits}f} ({least:.{digits}f}–{most:.{digits}f})"


def cores() -> int:
    """Return the number of threads to give: that of physical cores."""
    from runtime import physical_cores

    return physical_cores()


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

    from runtime import processor_name

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
    print(f"{processor_name()}, {cores()} threads, {arguments.rounds} rounds", flush=True)
    for task, chosen in zip(tasks, forms):
        steps = arguments.steps or max(2, 64 // task.batch)
        print(table(HEADER, race(task, chosen, arguments.rounds, steps)), flush=True)


if __name__ == "__main__":
    sys.exit(main())
