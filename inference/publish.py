"""Keep the best weights of a finished run among the pretrained ones, and measure them.

python -m inference.publish runs/NAME --note "images after one JPEG compression"
"""

from __future__ import annotations

from errors import InputError, Parser, command_line, end_on_ctrl_c  # isort: split

if __name__ == "__main__":
    end_on_ctrl_c()

import sys
from pathlib import Path
from typing import Any, Sequence

from runtime import mx

import numpy as np

import datasets
import models
from inference.logits import compute_logits
from inference.metrics import measure, softmax
from inference.trained import load_trained
from records.run_folder import read_config
from utils import sha256, table, to_json, write_atomically
from weights import pretrained
from weights.parameters import get_parameters, set_parameters
from weights.params_file import write_params

# What a name leaves open, since it changes no parameter; the table's row says it.
_OPEN = {"dropout", "final_survival_prob"}
_ERROR = ("top1_error", "top1_error_interval")
_README = """# Pretrained weights

    net = models.get_model("{example}", pretrained=True)      # normalised images in, logits out
    python predict.py {example} cat.png

Made by `python -m inference.publish RUN` from the best epoch of a run, in float16; the errors are
those of these rounded weights on the test set, with 95 % intervals. `table.json` has the same and
more: the statistics to normalise by, the SHA-256 checked at loading, the run's data and seed.
"""


def publish(run: str | Path, note: str = "") -> dict[str, Any]:
    """Put a run's best net in place of the model's pretrained one; return its row of the table.

    Parameters
    ----------
    run : path
        A finished run folder; its data is needed too, where it was.
    note : str
        What a reader of the table must know of the data.

    Raises
    ------
    InputError
        If the run is not finished, its net's parameters are not those of one of the registry's, or
        do not fit into float16, its data has changed, or something cannot be written.
    """
    trained = load_trained(run)
    facts, results = trained.facts, trained.facts["run"]
    name = models.ALIASES.get(facts["model"], facts["model"])
    if name not in models.REGISTRY:
        raise InputError(f"{run} is a {name}, which is not of this project's registry")
    other = {key: facts["options"][key] for key in sorted(facts["options"].keys() - _OPEN)}
    if other:
        raise InputError(f"{run} is no {name} as the registry has it, but with {other}")
    if "train_seconds" not in results:
        raise InputError(f"{run} is not finished: there are no results of its last epoch")
    dataset = datasets.get_dataset(facts["data"]["name"], trained.data_dir)
    if dataset.fingerprint != facts["data"]["fingerprint"]:
        raise InputError(f"the data that {run} was trained on has changed: put it back")
    with np.errstate(over="ignore"):
        arrays = {k: v.astype(np.float16) for k, v in get_parameters(trained.net).items()}
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise InputError("a parameter is beyond float16's range: these weights cannot be kept so")
    data = write_params(arrays)
    set_parameters(trained.net, arrays, "the rounded weights")
    logits = compute_logits(trained.net, dataset.test.images, trained.normaliser, [mx.cpu()])
    measured = measure(softmax(logits), dataset.test.labels, dataset.classes)
    config = read_config(Path(run))
    row = {
        "model": name,
        "file": f"{name}.params",
        "bytes": len(data),
        "sha256": sha256(data),
        "classes": list(trained.classes),
        **trained.normaliser.to_dict(),
        "test": {key: measured[key] for key in ("images", "loss", *_ERROR)},
        "epochs": results["epochs"],
        "minutes": round(results["train_seconds"] / 60, 1),
        "machine": f"{config['host']['threads']} thread(s), {config['devices']} device(s)",
        "note": " ".join(note.split()),
        "facts": {**facts, "model": name},
    }
    others = [other for other in pretrained.read_table() if other["model"] != name]
    kept = sorted([*others, row], key=lambda row: row["model"])
    write_atomically(pretrained.FOLDER / row["file"], data)
    write_atomically(pretrained.FOLDER / "table.json", to_json(kept, indent=1) + b"\n")
    write_atomically(pretrained.FOLDER / "README.md", describe(kept).encode())
    return row


def describe(rows: Sequence[dict[str, Any]]) -> str:
    """Return the page that says what the rows of the table do."""
    cells = []
    for row in rows:
        error, (low, high) = (row["test"][key] for key in _ERROR)
        cells.append(
            (
                f"`{row['model']}`",
                ", ".join(filter(None, (row["facts"]["data"]["name"], row["note"]))),
                f"{100 * error:.2f} ({100 * low:.2f} to {100 * high:.2f})",
                row["epochs"],
                f"{row['minutes']:g} min, {row['machine']}",
                f"{row['bytes']:,} bytes",
            )
        )
    header = ("model", "data", "test error, %", "epochs", "training", "file")
    return f"{_README.format(example=rows[0]['model'])}\n{table(header, cells)}\n"


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Publish what the command line names."""
    parser = Parser(description="Keep a run's weights as pretrained ones.")
    parser.add_argument("run", metavar="RUN", help="a finished run folder")
    parser.add_argument("--note", default="", help="what to say of the data in the table")
    arguments = parser.parse_args(argv)
    row = publish(arguments.run, arguments.note)
    print(f"{row['file']}: {100 * row['test']['top1_error']:.2f} % error, {row['bytes']:,} bytes")


if __name__ == "__main__":
    sys.exit(main())
