"""Say what is on images, with a run, a pretrained model, an exported symbol or an ONNX file.

python predict.py runs/NAME cat.png photos/             # a bar for each class
cat cat.png | python predict.py model.onnx - --json     # ONNX needs no MXNet
python predict.py runs/NAME DIR --kaggle submission.csv # DIR/test/<id>.png, Kaggle's layout
"""

from __future__ import annotations

from errors import InputError, Parser, command_line, end_on_ctrl_c, printable, tell  # isort: split

if __name__ == "__main__":
    end_on_ctrl_c()

import codecs
import csv
import json
import os
import sys
from pathlib import Path
from typing import Any, Mapping, Sequence

import numpy as np

from datasets.images import MAX_BYTES, decode_image, read_each, read_image
from inference.classifiers import Classifier, open_classifier
from utils import whole_file

STDIN = "-"
_BAR = 30  # cells of a full bar
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def list_images(arguments: Sequence[str]) -> list[str]:
    """Return the files that arguments name; of a folder, those in it and in its subfolders.

    Parameters
    ----------
    arguments : sequence of str
        Files, folders, and ``-`` for stdin.

    Returns
    -------
    list of str
        In the order of the arguments; those of a folder sorted, hidden ones and files that do not
        have the name of an image left out.

    Raises
    ------
    InputError
        If something is not there, or a folder holds no images.
    """
    from PIL import Image

    suffixes = Image.registered_extensions()
    files = []
    for argument in arguments:
        if argument == STDIN or os.path.isfile(argument):
            files.append(argument)
        elif os.path.isdir(argument):
            found = [path for path in sorted(Path(argument).rglob("*")) if path.is_file()]
            inside = [
                str(path)
                for path in found
                if path.suffix.lower() in suffixes
                and not any(part.startswith(".") for part in path.relative_to(argument).parts)
            ]
            if not inside:
                raise InputError(f"there are no images in {argument}")
            files += inside
        else:
            raise InputError(f"there is no file or folder {argument}")
    if files.count(STDIN) > 1:
        raise InputError("- (stdin) can be read once only")
    return files


def load_images(files: Sequence[str]) -> list[np.ndarray | InputError]:
    """Return the image in each file, uint8 (3, 32, 32), or why it cannot be read.

    Parameters
    ----------
    files : sequence of str
        Of any size and mode; ``-`` is stdin.
    """

    def load(file: str) -> np.ndarray:
        if file != STDIN:
            return read_image(Path(file))
        content = sys.stdin.buffer.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise InputError(f"stdin brings more than {MAX_BYTES} bytes: too much for an image")
        return decode_image(content, "stdin")

    return list(read_each(load, files))


def bars(probabilities: Mapping[str, float], unicode: bool = True) -> list[str]:
    """Return a line for each class, the most probable first: its name, a bar and percent.

    Parameters
    ----------
    probabilities : mapping of str to float
        By class.
    unicode : bool
        Whether the terminal shows block characters.
    """
    width = max(len(printable(name)) for name in probabilities)
    lines = []
    for name, probability in sorted(probabilities.items(), key=lambda item: -item[1]):
        eighths = round(probability * _BAR * 8)
        bar = "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
        if not unicode:
            bar = "#" * round(eighths / 8)
        lines.append(f"  {printable(name):{width}} {100 * probability:6.2f} % {bar}".rstrip())
    return lines


def report(images: Sequence[Mapping[str, Any]], top: int) -> None:
    """Print what is on each image: bars on a terminal, else a line ``file: class percent``."""
    encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "")
    for image in images:
        file, label = printable(image["file"]), image["label"]
        if sys.stdout.isatty():
            print(file, *bars(image["probabilities"], encoding.startswith("utf"))[:top], sep="\n")
        else:
            print(f"{file}: {printable(label)} {100 * image['probabilities'][label]:.2f} %")


def answer_kaggle(classifier: Classifier, data_dir: Path, path: Path, flip: bool) -> int:
    """Write the answer file of Kaggle's CIFAR-10 competition: ``id,label``, a line an image.

    Parameters
    ----------
    classifier : Classifier
    data_dir : Path
        The folder that ``test/<id>.png`` is in.
    path : Path
        The answer file; it is there as a whole or not at all.
    flip : bool
        Average with mirror images.

    Returns
    -------
    int
        How many images were labelled.

    Raises
    ------
    InputError
        If there are no such images, one is unreadable, or the file cannot be written.
    """
    from datasets.kaggle import unlabelled_images

    count = 0
    with whole_file(path) as file:
        rows = csv.writer(codecs.getwriter("utf-8")(file), lineterminator="\n")
        rows.writerow(["id", "label"])
        for ids, images in unlabelled_images(data_dir):
            labels = classifier.probabilities(images, flip).argmax(axis=1)
            rows.writerows((i, classifier.classes[j]) for i, j in zip(ids, labels))
            count += len(ids)
    return count


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """Label what the command line names; images that cannot be read are told and left out."""
    parser = Parser(description="Say what is on images.")
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="run folder, checkpoint, exported symbol, ONNX file, or pretrained model",
    )
    parser.add_argument(
        "images", nargs="+", metavar="IMAGE", help="image files, folders of them, - for stdin"
    )
    parser.add_argument("--flip", action="store_true", help="average with mirror images")
    parser.add_argument("--top", type=int, default=10, help="most bars to draw for an image [10]")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--plot", metavar="FILE", help="draw the images with their bars")
    parser.add_argument("--kaggle", metavar="CSV", help="write an answer file; IMAGE is a folder")
    parser.add_argument("--ctx", choices=("auto", "cpu", "gpu"), default="auto")
    arguments = parser.parse_args(argv)
    if arguments.top < 1:
        raise InputError(f"--top {arguments.top}: at least one class")
    if arguments.kaggle:
        if len(arguments.images) != 1:
            raise InputError("--kaggle takes one folder: the one that test/<id>.png is in")
        if arguments.json or arguments.plot:
            raise InputError("--kaggle writes an answer file: leave out --json and --plot")
        classifier = open_classifier(arguments.model, arguments.ctx)
        folder, path = Path(arguments.images[0]), Path(arguments.kaggle)
        count = answer_kaggle(classifier, folder, path, arguments.flip)
        print(f"{path}: {count:,} images labelled")
        return 0
    found = list_images(arguments.images)
    loaded = dict(zip(found, load_images(found)))
    for image in loaded.values():
        if isinstance(image, InputError):
            tell(f"error: {image}")
    files = [file for file in found if not isinstance(loaded[file], InputError)]
    if not files:
        return 2
    images = np.stack([loaded[file] for file in files])
    classifier = open_classifier(arguments.model, arguments.ctx)
    probabilities, classes = classifier.probabilities(images, arguments.flip), classifier.classes
    labelled = [
        {
            "file": file,
            "label": classes[int(each.argmax())],
            "probabilities": dict(zip(classes, each.tolist())),
        }
        for file, each in zip(files, probabilities)
    ]
    if arguments.json:
        print(json.dumps({"model": arguments.model, "classes": classes, "images": labelled}))
    else:
        report(labelled, arguments.top)
    if arguments.plot:
        from figures.pictures import draw_predictions

        draw_predictions(images, files, probabilities, classes, arguments.plot, arguments.top)
    return 2 if len(files) < len(found) else 0


if __name__ == "__main__":
    sys.exit(main())
