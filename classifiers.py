"""Anything that tells images apart, whatever form it is in: pixels in, logits out.

Runs, checkpoints, pretrained models and symbols need MXNet, which is imported when one is opened;
an ONNX file needs onnxruntime only.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Mapping

import numpy as np

from datasets.files import read_regular
from errors import InputError
from formats.params_file import MAX_BYTES
from formats.sandbox import rehearse
from metrics import softmax

BATCH = 250
_ONNX_KINDS = {"tensor(float)"}


@dataclass(frozen=True)
class Classifier:
    """Something that tells images apart.

    Parameters
    ----------
    classes : tuple of str
        Class names.
    facts : dict
        Where it comes from and what it reached: see `training.artefacts.run_facts`.
    run : callable
        Takes pixels, uint8 (N, 3, 32, 32) with any N up to `BATCH`; returns logits (N, classes).
    data_dir : str, optional
        Where the data was that a run has learnt from.
    """

    classes: tuple[str, ...]
    facts: dict[str, Any]
    run: Callable[[np.ndarray], np.ndarray]
    data_dir: str | None = None

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Return logits, float32 (N, classes), of any number of images, uint8 (N, 3, 32, 32)."""
        parts = [self.run(images[i : i + BATCH]) for i in range(0, len(images), BATCH)]
        return np.concatenate([np.empty((0, len(self.classes)), np.float32), *parts])

    def probabilities(self, images: np.ndarray, flip: bool = False) -> np.ndarray:
        """Return probabilities of images; with `flip`, their mean with those of mirror images.

        Parameters
        ----------
        images : numpy.ndarray
            uint8, (N, 3, 32, 32).
        flip : bool

        Returns
        -------
        numpy.ndarray
            float64, (N, classes).
        """
        probabilities = softmax(self.logits(images))
        if flip:
            probabilities = (probabilities + softmax(self.logits(images[..., ::-1]))) / 2
        return probabilities


def open_classifier(source: str | Path, ctx: Any = None) -> Classifier:
    """Open a run folder, a checkpoint, a pretrained model, an exported symbol or an ONNX file.

    Parameters
    ----------
    source : path or str
        The folder or the file; of a symbol, its folder or any of its three files; of a pretrained
        model, its name.
    ctx : mxnet.Context or list of them, optional
        Where MXNet computes; the CPU by default. onnxruntime computes on the CPU.

    Returns
    -------
    Classifier

    Raises
    ------
    InputError
        If there is no such thing, or it is damaged, hostile or not from here.
    """
    path = Path(source)
    if path.suffix == ".onnx":
        return _open_onnx(path)
    if path.name in ("model.json", "model-symbol.json", "model-0000.params"):
        path = path.parent
    if (path / "model.json").is_file():
        return _open_symbol(path, ctx)
    from runtime import mx

    import compiler
    from inference import as_list, compute_logits
    from training.artefacts import load_trained

    devices = ctx or mx.cpu()
    trained = load_trained(source, devices)
    net = compiler.freeze(trained.net, as_list(devices))

    def run(images: np.ndarray) -> np.ndarray:
        return compute_logits(net, images, trained.mean, trained.std, devices, BATCH)

    return Classifier(trained.classes, trained.facts, run, trained.data_dir)


def _open_symbol(folder: Path, ctx: Any) -> Classifier:
    from runtime import mx

    import compiler
    from formats.symbols import load_symbol

    names = ("model.json", "model-symbol.json", "model-0000.params")
    text, graph, params = (read_regular(folder / name, MAX_BYTES) for name in names)
    try:
        facts = json.loads(text)
        checksums = [hashlib.sha256(data).hexdigest() for data in (graph, params)]
        intact = [facts["sha256"][name] for name in names[1:]] == checksums
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{folder / names[0]} is damaged: {error!r:.150}") from error
    if not intact:
        raise InputError(f"{folder} is damaged: its checksums are not those in {names[0]}")
    classes, prepare = _read_facts(facts, folder / names[0])
    rehearse("formats.symbols:try_symbol", graph, params, b"%d" % len(classes), source=folder)
    devices = list(ctx) if isinstance(ctx, (list, tuple)) else [ctx or mx.cpu()]
    net = load_symbol(graph, params, devices[0])
    compiler.hybridize(net)

    def run(images: np.ndarray) -> np.ndarray:
        return net(mx.nd.array(prepare(images), ctx=devices[0])).asnumpy()

    return Classifier(classes, facts, run)


def _open_onnx(path: Path) -> Classifier:
    data = read_regular(path, MAX_BYTES)
    rehearse("classifiers:try_onnx", data, source=path)
    session, facts = _load_onnx(data)
    classes, prepare = _read_facts(facts, path)
    name = session.get_inputs()[0].name

    def run(images: np.ndarray) -> np.ndarray:
        return session.run(None, {name: prepare(images)})[0]

    return Classifier(classes, facts, run)


def _load_onnx(data: bytes) -> tuple[Any, dict[str, Any]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what matters is raised; the rest is no line for users
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    return session, {key: json.loads(value) for key, value in metadata.items()}


def try_onnx(data: bytes) -> None:
    """Load an ONNX file and run it, for `formats.sandbox.rehearse`."""
    session, facts = _load_onnx(data)
    classes, prepare = _read_facts(facts, "its metadata")
    inputs, outputs = session.get_inputs(), session.get_outputs()
    kinds = {entry.type for entry in (*inputs, *outputs)}
    if len(inputs) != 1 or len(outputs) != 1 or kinds != _ONNX_KINDS:
        raise InputError("it does not have one input and one output of type float")
    for batch in (1, 2):
        pixels = prepare(np.zeros((batch, 3, 32, 32), np.uint8))
        logits = session.run(None, {inputs[0].name: pixels})[0]
        if logits.shape != (batch, len(classes)):
            raise InputError("its output is not one logit for each class")


def _read_facts(
    facts: Mapping[str, Any], source: object
) -> tuple[tuple[str, ...], Callable[[np.ndarray], np.ndarray]]:
    """Return class names, and what turns pixels into an export's input."""
    try:
        classes = tuple(facts["classes"])
        mean, std = (
            np.array(facts[key], np.float64).reshape(1, 3, 1, 1) for key in ("mean", "std")
        )
        normalised = facts["normalised_input"]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{source} does not say what its classes and its input are ({error!r:.80}): "
            "export it with export.py"
        ) from error
    fits = all(isinstance(name, str) for name in classes) and len(classes) > 1
    if not fits or not (np.isfinite(mean).all() and (std > 0).all()):
        raise InputError(f"{source} names odd classes or statistics")

    def prepare(images: np.ndarray) -> np.ndarray:
        pixels = np.ascontiguousarray(images, np.float32)
        if not normalised:
            return pixels
        return (pixels - mean.astype(np.float32)) * (1 / std).astype(np.float32)

    return classes, prepare
