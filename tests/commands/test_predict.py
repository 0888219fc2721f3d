"""What is on an image, for files of any kind, with and without MXNet."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from image_files import PIXELS, save

import predict
from datasets.images import read_image
from inference.classifiers import open_classifier

ROOT = Path(__file__).resolve().parents[2]
COUNT = 4  # of images in the fixture's folder


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Return a folder of images, of which one is in a folder in it, and of what is none."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(3):
        save(folder / f"{number}.png", PIXELS[: 1 + 10 * number])
    (folder / "notes.txt").write_text("no image")
    for name in ("more/photo.JPG", ".hidden.png", ".thumbnails/0.png"):
        save(folder / name)
    return folder


@pytest.fixture
def onnx(finished_run):
    return str(finished_run / "export" / "model.onnx")


@pytest.mark.parametrize("form", ["", "export/model.onnx"])
def test_every_form_labels_images_of_any_size(finished_run, images, capsys, form):
    assert predict.main([str(finished_run / form), str(images), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    files = [Path(image["file"]) for image in result["images"]]
    assert [file.stem for file in files] == ["0", "1", "2", "photo"]
    expected = open_classifier(finished_run).probabilities(np.stack([*map(read_image, files)]))
    for image, probabilities in zip(result["images"], expected):
        assert list(image["probabilities"]) == result["classes"]
        np.testing.assert_allclose(list(image["probabilities"].values()), probabilities, atol=1e-5)
        assert image["label"] == result["classes"][int(probabilities.argmax())]


def test_a_broken_image_in_a_folder_is_named_and_the_rest_is_labelled(onnx, tmp_path, capsys):
    save(tmp_path / "\x1b[31mred.png")
    (tmp_path / "paper.pdf").write_bytes(b"%PDF-1.4")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    assert predict.main([onnx, str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert "\\x1b[31mred.png: " in out
    assert out.count("\n") == 1
    (broken,) = err.splitlines()
    assert f"error: {tmp_path / 'broken.png'} is not an image" in broken


# Lies where Python looks for it at every start, also of the child that reads the file first.
ONLY = """
import sys, sysconfig
from importlib.machinery import PathFinder

class Only:
    def find_spec(name, path=None, target=None):
        if path is None and name not in ("numpy", "onnxruntime", "PIL"):
            spec = PathFinder.find_spec(name)
            places = [spec.origin or "", *(spec.submodule_search_locations or ())] if spec else []
            if any(place.startswith(INSTALLED) for place in places):
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

INSTALLED = tuple(sysconfig.get_path(name) for name in ("purelib", "platlib"))
sys.meta_path.insert(0, Only)
"""


def test_an_onnx_file_needs_onnxruntime_numpy_and_pillow_alone(onnx, images, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(ONLY)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}

    def run(*command):
        command = [sys.executable, *map(str, command)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
        return done.returncode, done.stdout, done.stderr

    assert "No module named 'mxnet'" in run("-c", "import mxnet")[2]
    code, out, err = run("predict.py", onnx, images)  # not a terminal: a line an image
    assert (code, out.count("\n"), err) == (0, COUNT, "")
    code, out, err = run("evaluate.py", onnx, "--dataset", "shapes", "--other-data")
    assert (code, err) == (0, "")
    assert "top-1 error" in out
    for command, words in (
        (("evaluate.py", onnx, "--dataset", "cifar10"), "error: there is no cifar10 in "),
        (("predict.py", "resnet20", images), "error: mxnet is not installed"),
    ):
        code, _, err = run(*command)
        assert (code, err.count("\n"), words in err) == (2, 1, True)


def test_a_terminal_gets_bars_the_most_probable_first(onnx, images, capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert predict.main([onnx, str(images / "0.png"), "--top", "3"]) == 0
    file, *lines = capsys.readouterr().out.splitlines()
    found = open_classifier(onnx).probabilities(read_image(images / "0.png")[None])[0]
    assert file == str(images / "0.png")
    assert len(lines) == 3
    for line, share in zip(lines, sorted(found, reverse=True)):
        assert f" {100 * share:.2f} % " in f"{line} "
        assert line.count("#") == round(30 * share)


def test_a_plot_shows_any_name_of_a_file(onnx, tmp_path):
    names = [b"$\\no{such$.png", b"caf\xe9.png", b"long" * 40 + b".png", "猫\n\x1b.png".encode()]
    for name in names:
        save(tmp_path / os.fsdecode(name))
    picture = tmp_path / "plot.pdf"
    assert predict.main([onnx, str(tmp_path), "--plot", str(picture), "--top", "100"]) == 0
    assert picture.read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{onnx}", "absent.png"], "absent.png cannot be read"),
        (["{onnx}", "{root}/empty"], "no images in"),
        (["{onnx}", "{root}/broken.png"], "broken.png is not an image"),
        (["{onnx}", "{root}/0.png", "--top", "0"], "--top 0"),
        (["{onnx}", "{root}/0.png", "--plot", "{root}/no/x.png"], "cannot write"),
        (["absent.onnx", "{root}/0.png"], "absent.onnx cannot be read"),
        (["absent", "{root}/0.png"], "absent is no run folder"),
        (["{root}/broken.onnx", "{root}/0.png"], "broken.onnx cannot be used"),
    ],
)
def test_what_cannot_be_used_is_one_line(onnx, tmp_path, refused, arguments, words):
    save(tmp_path / "0.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    (tmp_path / "broken.onnx").write_bytes(b"broken")
    arguments = [text.format(root=tmp_path, onnx=onnx) for text in arguments]
    assert words in refused(predict.main, arguments)
