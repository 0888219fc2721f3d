"""`python -m datasets`: what a data set is, and a picture of it as training sees it."""

from __future__ import annotations

from pathlib import Path

from datasets import get_dataset, list_datasets
from datasets.augment import Augmentation
from errors import InputError, Parser, command_line, printable
from utils import write_picture


@command_line
def main(argv: list[str] | None = None) -> None:
    """Print a data set's outline and draw its picture, if asked to."""
    parser = Parser(prog="python -m datasets", description=__doc__)
    parser.add_argument("--dataset", default="shapes", help=", ".join(list_datasets()))
    parser.add_argument("--data-dir", help="where it is")
    parser.add_argument("--preview", metavar="FILE", help="draw images and augmented ones, to .png")
    parser.add_argument("--seed", type=int, default=0, help="of the choice and the augmentation")
    parser.add_argument("--no-augment", action="store_true", help="neither crop nor flip")
    parser.add_argument("--cutout", type=int, default=0, help="side of the square in pixels")
    parser.add_argument("--mixup", type=float, default=0.0, help="alpha of the Beta distribution")
    parser.add_argument("--cutmix", type=float, default=0.0, help="alpha of the Beta distribution")
    parser.add_argument("--label-smoothing", type=float, default=0.0, help="probability spread")
    options = parser.parse_args(argv)
    if not 0 <= options.seed < 2**32:
        raise InputError(f"--seed {options.seed} is out of range: from 0 to {2**32 - 1}")
    augmentation = Augmentation(
        crop=not options.no_augment,
        flip=not options.no_augment,
        cutout=options.cutout,
        mixup=options.mixup,
        cutmix=options.cutmix,
        label_smoothing=options.label_smoothing,
    )
    if options.dataset == "shapes" and options.data_dir:
        raise InputError("shapes are drawn and lie in no folder: name other data by --dataset")
    dataset = get_dataset(options.dataset, options.data_dir)
    print(f"{dataset.name}: {len(dataset.train):,} training, {len(dataset.test):,} test images")
    print(printable(f"{len(dataset.classes)} classes: {', '.join(dataset.classes)}"))
    for name, values in dataset.normaliser.to_dict().items():
        print(f"{name} of red, green, blue: {', '.join(f'{value:.1f}' for value in values)}")
    print(f"fingerprint {dataset.fingerprint}")
    if options.preview:
        from datasets.preview import preview  # imports Matplotlib, which takes a second

        figure = preview(dataset, augmentation, options.seed)
        print(f"wrote {write_picture(Path(options.preview), figure, dpi=120)}")


if __name__ == "__main__":
    raise SystemExit(main())
