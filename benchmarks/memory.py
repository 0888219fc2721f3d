"""Memory and time of plain and memory-efficient DenseNets over their depth.

    python benchmarks/memory.py --out results               # ten minutes; writes memory.json, .png
    python benchmarks/memory.py --model densenet_bc190_k40 --depths 190 --forms efficient --steps 1

DenseNet-BC, k=12, batch 64, a few training steps with the optimizer; every depth and form in a
process of its own. Activation memory is the peak of the process less what it had before the first
step: activations, gradients and momentum. A straight line and a parabola through the points tell
whether it grows with the depth or with its square. The authors' own comparison (PyTorch, GPU):
1,605 of 2,863 MB, 56 %, for 125 % of the time (gpleiss/efficient_densenet_pytorch, BC-100, k=12).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from contest import compete, describe_machine, serve
from training_step import BATCH, gluon_step

from errors import command_line
from utils import table

FORMS = ("plain", "efficient")


def contender(model: str, depth: int, form: str) -> None:
    """Take training steps when told to."""
    import compiler
    import models

    net = models.get_model(model, depth=depth, memory_efficient=form == "efficient")
    compiler.hybridize(net)
    serve(gluon_step(net))


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw activation memory and time over the depth."""
    import matplotlib.figure as figures

    from figures.style import COLOURS, STYLES

    figure = figures.Figure(figsize=(9, 3.6), layout="constrained")
    for axes, key, title in zip(
        figure.subplots(1, 2),
        ("activation_mb", "step_seconds"),
        ("activations, MB", "seconds a step"),
    ):
        for number, form in enumerate(FORMS):
            points = [(row["depth"], row[key]) for row in rows if row["form"] == form]
            axes.plot(*zip(*points), STYLES[number], color=COLOURS[number], marker="o", label=form)
        axes.set_title(title)
        axes.set_xlabel("depth")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=150)


def fit(rows: list[dict[str, Any]], form: str) -> str:
    """Return the parabola through a form's points, and the share of its square term at the end."""
    import numpy as np

    depths, memory = zip(*[(r["depth"], r["activation_mb"]) for r in rows if r["form"] == form])
    square, line, rest = np.polyfit(depths, memory, 2)
    share = square * depths[-1] ** 2 / memory[-1]
    return (
        f"{form}: {square:.4f} L² + {line:.2f} L + {rest:.0f} MB; the square term is "
        f"{100 * share:.0f} % at L = {depths[-1]}"
    )


@command_line
def main() -> None:
    """Measure every depth and form, or, with ``--form``, one of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="densenet_bc100_k12")
    parser.add_argument("--depths", type=int, nargs="+", default=[40, 70, 100, 130, 160])
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--out", type=Path, help="folder for memory.json and memory.png")
    parser.add_argument("--form", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.form:
        contender(arguments.model, arguments.depths[0], arguments.form)
        return
    print(f"{describe_machine()}; {arguments.model}, batch {BATCH}", flush=True)
    rows = []
    for depth in arguments.depths:
        for form in (form for form in FORMS if form in arguments.forms):
            flags = ["--model", arguments.model, "--depths", str(depth), "--form", form]
            command = [str(Path(__file__)), *flags]
            result = compete({form: command}, rounds=arguments.steps, steps=1)[form]
            if result.fault:
                raise SystemExit(f"{form} at depth {depth}: {result.fault}")
            rows.append(
                {
                    "depth": depth,
                    "form": form,
                    "peak_mb": round(result.peak_mb),
                    "activation_mb": round(result.peak_mb - result.start_mb),
                    "step_seconds": round(result.median, 3),
                }
            )
            print(rows[-1], flush=True)
    if len(arguments.forms) < 2:
        return
    print(table(("depth", "plain MB", "efficient MB", "memory", "time"), _ratios(rows)))
    if len(arguments.depths) > 2:
        print("\n".join(fit(rows, form) for form in FORMS))
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "memory.json").write_text(json.dumps(rows, indent=1) + "\n")
        plot(rows, arguments.out / "memory.png")


def _ratios(rows: list[dict[str, Any]]) -> list[list[str]]:
    table_rows = []
    for plain, lean in zip(rows[::2], rows[1::2]):
        memory = lean["activation_mb"] / plain["activation_mb"]
        time_ratio = lean["step_seconds"] / plain["step_seconds"]
        both = [str(row["activation_mb"]) for row in (plain, lean)]
        table_rows.append(
            [str(plain["depth"]), *both, f"{100 * memory:.0f} %", f"{100 * time_ratio:.0f} %"]
        )
    return table_rows


if __name__ == "__main__":
    sys.exit(main())
