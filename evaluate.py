"""Measure classifiers on a split of images: runs, checkpoints, exported symbols, ONNX files.

python evaluate.py runs/NAME                           # errors on the test set
python evaluate.py runs/NAME runs/OTHER --weighted     # each alone, and their ensemble
python evaluate.py model.onnx --dataset cifar10 --plot confusion.png --json
"""

from __future__ import annotations

from errors import InputError, Parser, command_line, printable  # isort: split

import json
import sys
from typing import Any, Sequence

import numpy as np

import datasets
from classifiers import Classifier, open_classifier
from datasets import Dataset, Split
from metrics import cross_entropy, measure, softmax


def evaluate_net(
    net: Any,
    split: Split,
    mean: np.ndarray,
    std: np.ndarray,
    ctx: Any,
    batch_size: int = 256,
) -> dict[str, Any]:
    """Measure a net on a split.

    Parameters
    ----------
    net : gluon.Block
        Takes normalised images (N, 3, 32, 32), returns logits (N, classes).
    split : Split
        Images and labels; every one counts, those of a last partial batch too.
    mean, std : numpy.ndarray
        (3,), in units of 0 to 255.
    ctx : mxnet.Context or list of them
        Devices; a batch is divided among them.
    batch_size : int
        Images at a time, over all devices together.

    Returns
    -------
    dict
        ``loss``, the mean cross-entropy in nats; ``top1``, the share of images whose most probable
        class is the right one; ``probabilities``, float64 (N, classes).
    """
    from inference import compute_logits  # MXNet, which an ONNX file does without

    probabilities = softmax(compute_logits(net, split.images, mean, std, ctx, batch_size))
    return {
        "loss": cross_entropy(probabilities, split.labels),
        "top1": float((probabilities.argmax(axis=1) == split.labels).mean()),
        "probabilities": probabilities,
    }


def choose_split(
    classifier: Classifier, source: str, data: Dataset, name: str, other_data: bool = False
) -> Split:
    """Return the images to measure a classifier on, if they are those that it says.

    Parameters
    ----------
    classifier : Classifier
    source : str
        Where it comes from, for messages.
    data : Dataset
    name : str
        ``test``, ``val`` or ``train``.
    other_data : bool
        Whether the test images of other data than it was trained on will do.

    Returns
    -------
    Split

    Raises
    ------
    InputError
        If classes, data, or the division into train and val differ from those of its training.
    """
    if classifier.classes != data.classes:
        raise InputError(
            f"{source} tells other classes apart ({', '.join(classifier.classes[:3])} …) than "
            f"{data.name} has ({', '.join(data.classes[:3])} …): choose its data by --dataset"
        )
    try:
        facts = dict(classifier.facts["data"])
        val_size, seed = int(facts["val_size"]), int(facts["seed"])
        train_size = int(facts.get("train_size", 0))
        same_data = facts["fingerprint"] == data.fingerprint
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{source} does not say what it was trained on ({error!r:.80})") from error
    if not same_data and not (other_data and name == "test"):
        raise InputError(
            f"{source} was trained on other data than these (fingerprints differ), so test images "
            "may be among those it knows: choose its data by --dataset and --data-dir"
            + ("; --other-data allows it" if name == "test" else "")
        )
    if name == "test":
        return data.test
    train, val, fingerprint = datasets.split_validation(data.train, val_size, seed, train_size)
    if fingerprint != facts.get("split"):
        raise InputError(f"{source} was trained on another split (fingerprints differ)")
    if name == "val" and not len(val):
        raise InputError(f"{source} was trained without validation images: choose --split test")
    return val if name == "val" else train


def ensemble_weights(
    members: Sequence[Classifier], sources: Sequence[str], weighted: bool
) -> np.ndarray:
    """Return what each member of an ensemble counts, summing to 1.

    Parameters
    ----------
    members : sequence of Classifier
    sources : sequence of str
        Where they come from, for messages.
    weighted : bool
        By validation accuracy instead of all alike; never by the test set.

    Raises
    ------
    InputError
        If one has no validation accuracy.
    """
    weights = np.ones(len(members))
    for i, member in enumerate(members if weighted else ()):
        accuracy = member.facts.get("val_acc")
        if not isinstance(accuracy, float) or not 0 < accuracy <= 1:
            raise InputError(f"{sources[i]} has no validation accuracy: leave out --weighted")
        weights[i] = accuracy
    return weights / weights.sum()


def evaluate(
    sources: Sequence[str],
    dataset: str | None = None,
    data_dir: str | None = None,
    split: str = "test",
    flip: bool = False,
    weighted: bool = False,
    other_data: bool = False,
    ctx: Any = None,
) -> dict[str, Any]:
    """Measure classifiers alone and together.

    Parameters
    ----------
    sources : sequence of str
        What `classifiers.open_classifier` opens.
    dataset, data_dir : str, optional
        The data; that of the first classifier's training if omitted.
    split : str
        ``test``, ``val`` or ``train``.
    flip : bool
        Average the probabilities of each image and its mirror image.
    weighted : bool
        Weight the ensemble by validation accuracy.
    other_data : bool
        See `choose_split`.
    ctx : mxnet.Context or list of them, optional
        Where MXNet computes.

    Returns
    -------
    dict
        ``dataset``, ``split``, ``flip``; ``models``, for each ``source``, ``model`` and what
        `metrics.measure` returns; ``ensemble``, the same with its ``weights``, or None.

    Raises
    ------
    InputError
        If anything cannot be used, or was trained on something else.
    """
    members = [open_classifier(source, ctx) for source in sources]
    facts = members[0].facts.get("data")
    dataset = dataset or (facts.get("name") if isinstance(facts, dict) else None)
    if not isinstance(dataset, str):
        raise InputError(f"{sources[0]} does not say what it was trained on: give --dataset")
    data = datasets.get_dataset(dataset, data_dir or members[0].data_dir)
    splits = [
        choose_split(member, source, data, split, other_data)
        for member, source in zip(members, sources)
    ]
    images, labels = splits[0].images, splits[0].labels
    if any(not np.array_equal(each.labels, labels) for each in splits[1:]):
        raise InputError(f"these were trained on different splits: {split} is not the same for all")
    results, mixture = [], np.zeros((len(labels), len(data.classes)))
    weights = ensemble_weights(members, sources, weighted)
    for member, source, weight in zip(members, sources, weights):
        probabilities = member.probabilities(images, flip)
        mixture += weight * probabilities
        result = measure(probabilities, labels, data.classes)
        results.append({"source": str(source), "model": member.facts.get("model"), **result})
    ensemble = None
    if len(members) > 1:
        ensemble = {"weights": weights.tolist(), **measure(mixture, labels, data.classes)}
    about = {"dataset": data.name, "split": split, "flip": flip}
    return {**about, "models": results, "ensemble": ensemble}


def report(result: dict[str, Any]) -> str:
    """Return what `evaluate` returned as lines for people, errors in percent."""
    mirrored = ", each averaged with its mirror image" if result["flip"] else ""
    images = result["models"][0]["images"]
    lines = [f"{images:,} {result['split']} images of {result['dataset']}{mirrored}"]
    rows = [(f"{each['source']} ({each['model']})", each) for each in result["models"]]
    if result["ensemble"]:
        weights = ", ".join(f"{weight:.3f}" for weight in result["ensemble"]["weights"])
        rows.append((f"ensemble, weights {weights}", result["ensemble"]))
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
    parser.add_argument(
        "--weighted", action="store_true", help="weight the ensemble by validation accuracy"
    )
    parser.add_argument("--other-data", action="store_true", help="allow test images of other data")
    parser.add_argument("--plot", metavar="FILE", help="draw the confusion matrix")
    parser.add_argument("--json", action="store_true", help="print JSON, errors as fractions")
    parser.add_argument("--ctx", choices=("auto", "cpu", "gpu"), default="auto")
    arguments = vars(parser.parse_args(argv))
    sources, as_json, plot = (arguments.pop(name) for name in ("models", "json", "plot"))
    if not all(source.endswith(".onnx") for source in sources):
        from utils import contexts

        arguments["ctx"] = contexts(arguments["ctx"])
    result = evaluate(sources, **arguments)
    print(json.dumps(result, indent=1) if as_json else report(result))
    if plot:
        from pictures import draw_confusion

        last = result["ensemble"] or result["models"][-1]
        draw_confusion(np.array(last["confusion"]), list(last["class_errors"]), plot)


if __name__ == "__main__":
    sys.exit(main())
