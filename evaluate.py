"""Measure classifiers on a split of images: runs, checkpoints, exported symbols, ONNX files.

python evaluate.py runs/NAME                           # errors on the test set
python evaluate.py runs/NAME runs/OTHER --flip         # each alone, and their ensemble
python evaluate.py model.onnx --dataset cifar10 --plot confusion.png --json
"""

from __future__ import annotations

from errors import Parser, command_line, end_on_ctrl_c, printable  # isort: split

if __name__ == "__main__":
    end_on_ctrl_c()

import json
import sys
from typing import Any, Sequence

import numpy as np

from inference.evaluation import evaluate


def report(result: dict[str, Any]) -> str:
    """Return what `evaluate` returned as lines for people, errors in percent."""
    mirrored = ", each averaged with its mirror image" if result["flip"] else ""
    images = result["models"][0]["images"]
    lines = [f"{images:,} {result['split']} images of {result['dataset']}{mirrored}"]
    rows = [(f"{each['source']} ({each['model']})", each) for each in result["models"]]
    if result["ensemble"]:
        rows.append((f"ensemble of {len(rows)}", result["ensemble"]))
    for name, row in rows:
        lines += ["", name, f"  loss {row['loss']:.4f}"]
        for top in ("top1", "top5"):
            if row[f"{top}_error"] is not None:
                low, high = row[f"{top}_error_interval"]
                lines.append(
                    f"  top-{top[3:]} error {100 * row[f'{top}_error']:.2f} % "
                    f"(95 % interval {100 * low:.2f} to {100 * high:.2f})"
                )
        errors = {k: v for k, v in row["class_errors"].items() if v is not None}
        width = max(map(len, errors))
        worst = sorted(errors.items(), key=lambda item: -item[1])
        lines += [f"    {name:{width}} {100 * error:6.2f} %" for name, error in worst]
    return "\n".join(map(printable, lines))


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Evaluate what the command line names."""
    parser = Parser(description="Measure classifiers on a split of images.")
    parser.add_argument(
        "models",
        nargs="+",
        metavar="MODEL",
        help="run folder, checkpoint, exported symbol, ONNX file, or pretrained model",
    )
    parser.add_argument("--dataset", help="the data [what the first model was trained on]")
    parser.add_argument("--data-dir", help="where it is")
    parser.add_argument("--split", choices=("test", "val", "train"), default="test")
    parser.add_argument("--flip", action="store_true", help="average with mirror images")
    parser.add_argument("--other-data", action="store_true", help="allow test images of other data")
    parser.add_argument("--plot", metavar="FILE", help="draw the confusion matrix")
    parser.add_argument("--json", action="store_true", help="print JSON, errors as fractions")
    parser.add_argument("--ctx", choices=("auto", "cpu", "gpu"), default="auto")
    arguments = vars(parser.parse_args(argv))
    sources, as_json, plot = (arguments.pop(name) for name in ("models", "json", "plot"))
    result = evaluate(sources, **arguments)
    print(json.dumps(result, indent=1) if as_json else report(result))
    if plot:
        from figures.pictures import draw_confusion

        last = result["ensemble"] or result["models"][-1]
        draw_confusion(np.array(last["confusion"]), list(last["class_errors"]), plot)


if __name__ == "__main__":
    sys.exit(main())
