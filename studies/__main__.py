"""List studies, take the missing runs of one, or report it: `python -m studies [NAME]`."""

from __future__ import annotations

from errors import InputError, Parser, command_line, end_on_ctrl_c  # isort: split

if __name__ == "__main__":
    end_on_ctrl_c()

import sys
from typing import Sequence

from runtime import physical_cores

from studies import pace, runner
from studies.report import report
from studies.study import NAMES, Measurement, entries, get_study, refuse_other_recipes, results_of
from utils import table


def show(jobs: int) -> None:
    """Print every study's runs, and how long the missing ones take on this machine."""
    threads = max(1, physical_cores() // jobs)
    for name in NAMES:
        study = get_study(name)
        if isinstance(study, Measurement):
            found = "done" if (results_of(name) / "results.json").exists() else "missing"
            print(f"{name}: {study.question}\na measurement of a few minutes: {found}\n")
            continue
        rows, left = [], 0.0
        for entry in entries(name, study):
            config = entry.config
            whole = pace.hours(config, threads)
            part = 0 if entry.done else 1 - entry.epochs_done() / config.epochs
            left += part * whole
            rows.append([entry.name, entry.state(), f"{60 * whole:.0f}"])
        print(f"{name}: {study.question}")
        print(f"{left / jobs:.1f} hours left here, {jobs} at a time, threads each: {threads}")
        print(table(("run", "state", "minutes, alone"), rows), end="\n\n", flush=True)


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """List, run or report."""
    parser = Parser(description="Take the missing runs of a study, or say what is missing.")
    parser.add_argument("name", nargs="?", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--data-dir", help="where CIFAR-10 is [MXNet's own data home]")
    parser.add_argument("--hours", type=float, default=1e6, help="when to stop [when all is done]")
    parser.add_argument("--jobs", type=int, help="runs at a time [one for each core]")
    parser.add_argument("--report", action="store_true", help="draw and tabulate what is done")
    arguments = parser.parse_args(argv)
    jobs = physical_cores() if arguments.jobs is None else arguments.jobs
    if jobs < 1 or not arguments.hours > 0:
        raise InputError("--jobs and --hours: above 0")
    if arguments.name is None:
        if arguments.report:
            raise InputError(f"--report: name a study; there are {', '.join(NAMES)}")
        show(jobs)
        return 0
    study = get_study(arguments.name)
    if arguments.report:
        print(report(arguments.name))
        return 0
    if isinstance(study, Measurement):
        runner.measure(arguments.name, study, arguments.data_dir)
        return 0
    found = entries(arguments.name, study)
    refuse_other_recipes(found)
    return runner.run(found, arguments.data_dir, arguments.hours, jobs=jobs)


if __name__ == "__main__":
    sys.exit(main())
