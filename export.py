"""Take a trained net out of this repository: as an MXNet symbol, or as ONNX.

    python export.py runs/NAME --format symbol     # runs/NAME/export/model-symbol.json and its like
    python export.py runs/NAME --format onnx       # runs/NAME/export/model.onnx

Nothing is reported as written before it has been loaded again and has given the net's own logits.
"""

from __future__ import annotations

from errors import InputError, Parser, command_line, end_on_ctrl_c  # isort: split

if __name__ == "__main__":
    end_on_ctrl_c()

import os
import sys
from pathlib import Path
from typing import Sequence

from exports.onnx import MODEL_FILE, export_onnx
from exports.symbol import export_symbol
from inference.trained import load_trained


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Export what the command line names."""
    parser = Parser(description="Export a trained net.")
    parser.add_argument("run", metavar="RUN", help="run folder, checkpoint, or pretrained model")
    parser.add_argument("--format", choices=("symbol", "onnx"), default="symbol")
    parser.add_argument("--out", help="folder to write to [RUN/export]")
    parser.add_argument(
        "--normalised-input",
        action="store_true",
        help="leave (pixel - mean) / std to the caller instead of taking pixels from 0 to 255",
    )
    arguments = parser.parse_args(argv)
    trained = load_trained(arguments.run)
    # Training deletes its older checkpoints, with all that is in them.
    if not arguments.out and not os.path.isfile(Path(arguments.run) / "config.json"):
        raise InputError(f"{arguments.run} is no run folder to export into: give one by --out")
    folder = Path(arguments.out or Path(arguments.run) / "export")
    about = (trained.classes, trained.normaliser, not arguments.normalised_input, trained.facts)
    if arguments.format == "onnx":
        print(export_onnx(trained.net, folder / MODEL_FILE, *about))
    else:
        print(*export_symbol(trained.net, folder, *about).values(), sep="\n")


if __name__ == "__main__":
    sys.exit(main())
