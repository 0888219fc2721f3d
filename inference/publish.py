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
from inference.logits import evaluate_net
from inference.metrics import measure
from inference.trained import Trained, load_trained
from records.run_folder import read_json
from utils import sha256, to_json, write_atomically
from weights import pretrained
from weights.parameters import named_parameters, save_arrays, set_parameters
from weights.params_file import read_params

_ERROR = ("top1_error", "top1_error_interval")
_README = """# Pretrained weights

    net = models.get_model("{example}", pretrained=True)      # normalised images in, logits out
    python predict.py {example} cat.png

Made by `python -m inference.publish RUN` from the best epoch of a run, in float16; the errors are
those of these rounded weights on the test set, with 95 % intervals. `table.json` has the same and
more: the statistics to normalise by, the SHA-256 checked at loading, the run's data and seed.

| model | data | test error, % | epochs | training | file |
|---|---|---|---|---|---|
"""


def publish(run: str | Path, note: str = "", replace: bool = False) -> dict[str, Any]:
    """Add a run's best net to the pretrained ones, in place of what the model had.

    Parameters
    ----------
    run : path
        A finished run folder; its data is needed too, where it was.
    note : str
        What a reader of the table must know of the data.
    replace : bool
        Whether to take the place of weights that tell other classes apart.

    Returns
    -------
    dict
        The new row of the table.

    Raises
    ------
    InputError
        If the run is not finished, its net is not exactly one of the registry's, the model's
        weights tell other classes apart, the new ones do not fit into float16 or into
        `pretrained.MAX_BYTES`, or something cannot be written.
    """
    trained = load_trained(run)
    facts, results = trained.facts, trained.facts["run"]
    name = models.ALIASES.get(facts["model"], facts["model"])
    if facts["options"]:
        raise InputError(f"{run} is no {name} as the registry has it, but with {facts['options']}")
    rows = {row["model"]: row for row in pretrained.read_table()}
    if name in rows and rows[name]["classes"] != list(trained.classes) and not replace:
        raise InputError(
            f"{name} is kept with other classes ({', '.join(rows[name]['classes'][:3])} …), which "
            "these weights would replace: --replace allows it"
        )
    if "train_seconds" not in results:
        raise InputError(f"{run} is not finished: there are no results of its last epoch")
    dataset = datasets.get_dataset(facts["data"]["name"], trained.data_dir)
    if dataset.fingerprint != facts["data"]["fingerprint"]:
        raise InputError(f"the data that {run} was trained on has changed: put it back")
    file = f"{name}.params"
    side = pretrained.FOLDER / f"{file}.new"  # the old weights stay until these are measured
    try:
        data = _save_rounded(trained, side)
        measured = _measure(trained, dataset, data)
    except BaseException:
        side.unlink(missing_ok=True)
        raise
    config = read_json(Path(run) / "config.json")
    row = {
        "model": name,
        "file": file,
        "bytes": len(data),
        "sha256": sha256(data),
        "classes": list(trained.classes),
        **trained.normaliser.to_dict(),
        "test": {key: measured[key] for key in ("images", "loss", *_ERROR)},
        "epochs": results["epochs"],
        "minutes": round(results["train_seconds"] / 60, 1),
        "machine": f"{config['host']['processors']} processors, {config['devices']} device(s)",
        "preset": config["config"]["preset"],
        "note": note,
        "facts": {**facts, "model": name},
    }
    side.replace(pretrained.FOLDER / file)
    _write_table([*{**rows, name: row}.values()])
    return row


def _save_rounded(trained: Trained, path: Path) -> bytes:
    parameters = named_parameters(trained.net)
    arrays = {key: p.data(p.list_ctx()[0]).astype("float16") for key, p in parameters.items()}
    if not all(np.isfinite(array.asnumpy()).all() for array in arrays.values()):
        raise InputError("a parameter is beyond float16's range: these weights cannot be kept so")
    data = save_arrays(path, {key: array.as_in_context(mx.cpu()) for key, array in arrays.items()})
    if len(data) > pretrained.MAX_BYTES:
        raise InputError(
            f"{len(data):,} bytes of weights are more than the {pretrained.MAX_BYTES:,} that are "
            "kept here: export the run instead"
        )
    return data


def _measure(trained: Trained, dataset: datasets.Dataset, data: bytes) -> dict[str, Any]:
    """Measure a net with weights as they were saved, on the test images."""
    set_parameters(trained.net, read_params(data, "the rounded weights"), "the rounded weights")
    result = evaluate_net(trained.net, dataset.test, trained.normaliser, [mx.cpu()])
    return measure(result["probabilities"], dataset.test.labels, dataset.classes)


def _write_table(rows: Sequence[dict[str, Any]]) -> None:
    rows = sorted(rows, key=lambda row: row["model"])
    on_cifar = (row["model"] for row in rows if row["facts"]["data"]["name"] == "cifar10")
    lines = [_README.format(example=next(on_cifar, rows[0]["model"]))]
    for row in rows:
        error, interval = (row["test"][key] for key in _ERROR)
        low, high = interval
        note = " ".join(row["note"].split()).replace("|", r"\|")  # it stays one cell
        data = ", ".join(filter(None, (row["facts"]["data"]["name"], note)))
        lines.append(
            f"| `{row['model']}` | {data} | {100 * error:.2f} "
            f"({100 * low:.2f} to {100 * high:.2f}) | {row['epochs']} | {row['minutes']:g} min, "
            f"{row['machine']}, preset `{row['preset']}` | {row['bytes']:,} bytes |\n"
        )
    write_atomically(pretrained.FOLDER / "table.json", to_json(rows, indent=1) + b"\n")
    write_atomically(pretrained.FOLDER / "README.md", "".join(lines).encode())


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Publish what the command line names."""
    parser = Parser(description="Keep a run's weights as pretrained ones.")
    parser.add_argument("run", metavar="RUN", help="a finished run folder")
    parser.add_argument("--note", default="", help="what to say of the data in the table")
    parser.add_argument(
        "--replace", action="store_true", help="also in place of weights for other classes"
    )
    arguments = parser.parse_args(argv)
    row = publish(arguments.run, arguments.note, arguments.replace)
    print(f"{row['file']}: {100 * row['test']['top1_error']:.2f} % error, {row['bytes']:,} bytes")


if __name__ == "__main__":
    sys.exit(main())
