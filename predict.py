"""Say what is on images, with a run, a pretrained model, an exported symbol or an ONNX file.

python predict.py runs/NAME cat.png photos/             # a bar for each class
python predict.py model.onnx cat.png --json             # ONNX needs no MXNet
"""

from __future__ import annotations

from errors import InputError, Parser, command_line, end_on_ctrl_c, printable, tell  # isort: split

if __name__ == "__main__":
    end_on_ctrl_c()

import json
import os
import sys
from pathlib import Path
from typing import Any, Mapping, Sequence

import numpy as np

from datasets.images import FORMATS, read_each
from inference.classifiers import open_classifier

_BAR = 30  # letters of a full bar


def list_images(arguments: Sequence[str]) -> list[str]:
    """Return the files that arguments name; of a folder, those in it and in its subfolders.

    They are in the order of the arguments; those of a folder are sorted, hidden ones and files left
    out whose name is of no image that `datasets.images` reads.

    Raises
    ------
    InputError
        If a folder holds no images.
    """
    from PIL import Image

    suffixes = {name for name, kind in Image.registered_extensions().items() if kind in FORMATS}
    files = []
    for argument in arguments:
        folder, inside = Path(argument), [argument]
        if os.path.isdir(folder):
            inside = [
                str(path)
                for path in sorted(folder.rglob("*"))
                if os.path.isfile(path)
                and path.suffix.lower() in suffixes
                and not any(part.startswith(".") for part in path.relative_to(folder).parts)
            ]
        if not inside:
            raise InputError(f"there are no images in {argument}")
        files += inside
    return files


def bars(probabilities: Mapping[str, float]) -> list[str]:
    """Return a line for each class, the most probable first: its name, percent and a bar."""
    width = max(len(printable(name)) for name in probabilities)
    ranked = sorted(probabilities.items(), key=lambda item: -item[1])
    return [
        f"  {printable(name):{width}} {100 * share:6.2f} % {'#' * round(_BAR * share)}".rstrip()
        for name, share in ranked
    ]


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """Label what the command line names; images that cannot be read are told and left out."""
    parser = Parser(description="Say what is on images.")
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="run folder, checkpoint, exported symbol, ONNX file, or pretrained model",
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files, folders of them")
    parser.add_argument("--flip", action="store_true", help="average with mirror images")
    parser.add_argument("--top", type=int, default=10, help="most bars to draw for an image [10]")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--plot", metavar="FILE", help="draw the images with their bars")
    parser.add_argument("--ctx", choices=("auto", "cpu", "gpu"), default="auto")
    arguments = parser.parse_args(argv)
    if arguments.top < 1:
        raise InputError(f"--top {arguments.top}: at least one class")
    found = list_images(arguments.images)
    read = dict(zip(found, read_each(found)))
    for image in read.values():
        if isinstance(image, InputError):
            tell(f"error: {image}")
    files = [file for file in found if not isinstance(read[file], InputError)]
    if not files:
        return 2
    images = np.stack([read[file] for file in files])
    classifier = open_classifier(arguments.model, arguments.ctx)
    probabilities, classes = classifier.probabilities(images, arguments.flip), classifier.classes
    labelled: list[dict[str, Any]] = [
        {
            "file": file,
            "label": classes[int(each.argmax())],
            "probabilities": dict(zip(classes, each.tolist())),
        }
        for file, each in zip(files, probabilities)
    ]
    if arguments.json:
        print(json.dumps({"model": arguments.model, "classes": classes, "images": labelled}))
    for image in () if arguments.json else labelled:
        file, label = printable(image["file"]), image["label"]
        if sys.stdout.isatty():
            print(file, *bars(image["probabilities"])[: arguments.top], sep="\n")
        else:
            print(f"{file}: {printable(label)} {100 * image['probabilities'][label]:.2f} %")
    if arguments.plot:
        from figures.pictures import draw_predictions

        draw_predictions(images, files, probabilities, classes, arguments.plot, arguments.top)
    return 2 if len(files) < len(found) else 0


if __name__ == "__main__":
    sys.exit(main())
