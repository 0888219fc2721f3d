"""What is on an image, for files of any kind, with and without MXNet."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import predict
from datasets.images import read_image
from figures import pictures
from inference.classifiers import open_classifier

ROOT = Path(__file__).resolve().parents[2]
MODES = ("RGB", "L", "P", "RGBA", "CMYK", "1", "LA", "I;16")


def make_image(mode, size=(50, 20)):
    pixels = np.random.RandomState(len(mode)).randint(0, 256, (*size[::-1], 3)).astype(np.uint8)
    if mode == "I;16":
        return Image.fromarray(pixels[..., 0].astype(np.uint16) * 256)
    return Image.fromarray(pixels).convert(mode)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "images"
    (folder / "more").mkdir(parents=True)
    for i, mode in enumerate(MODES):
        suffix = "tif" if mode == "CMYK" else "png"
        make_image(mode, (1 + 40 * i, 33)).save(folder / f"{i}.{suffix}")
    make_image("RGB", (32, 32)).save(folder / "more" / "photo.JPG", "JPEG")
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_text("no image")
    return folder


def run_json(capsys, *arguments):
    assert predict.main([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("form", ["", "export/model.json", "export/model.onnx"])
def test_every_form_labels_images_of_any_mode_and_size(finished_run, folder, capsys, form):
    result = run_json(capsys, finished_run / form, folder)
    files = [Path(image["file"]).name for image in result["images"]]
    assert files == [f"{i}.{'tif' if m == 'CMYK' else 'png'}" for i, m in enumerate(MODES)] + [
        "photo.JPG"
    ]
    images = np.stack([read_image(Path(image["file"])) for image in result["images"]])
    expected = open_classifier(finished_run).probabilities(images)
    for image, probabilities in zip(result["images"], expected):
        assert list(image["probabilities"]) == result["classes"]
        np.testing.assert_allclose(list(image["probabilities"].values()), probabilities, atol=1e-5)
        assert image["label"] == result["classes"][int(probabilities.argmax())]


def test_onnx_works_without_mxnet(finished_run, folder, tmp_path):
    # Where MXNet cannot be installed, or takes too long to start.
    code = (
        "import sys; sys.modules['mxnet'] = None; import predict\n"
        "code = predict.main(sys.argv[1:])\n"
        "assert 'runtime' not in sys.modules and 'gluoncv' not in sys.modules\n"
        "sys.exit(code)"
    )
    picture = tmp_path / "out.png"
    model = finished_run / "export" / "model.onnx"
    command = [sys.executable, "-c", code, model, folder / "0.png", "-", "--plot", picture]
    with (folder / "1.png").open("rb") as stdin:
        done = subprocess.run(
            list(map(str, command)), stdin=stdin, capture_output=True, text=True, cwd=ROOT
        )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()  # not a terminal: a line an image
    assert first.startswith(f"{folder / '0.png'}: ")
    assert second.startswith("-: ")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_what_is_no_image_in_a_folder_is_named_and_the_rest_is_labelled(
    finished_run, folder, capsys
):
    (folder / "paper.pdf").write_bytes(b"%PDF-1.4")
    (folder / "broken.png").write_bytes((folder / "0.png").read_bytes()[:60])
    (folder / "\x1b[31mred.png").write_bytes((folder / "0.png").read_bytes())
    model = finished_run / "export" / "model.onnx"
    assert predict.main([str(model), str(folder)]) == 2
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == len(MODES) + 2
    assert "\\x1b[31mred.png: " in out
    assert "\x1b" not in out
    broken, paper = err.splitlines()
    assert f"error: {folder / 'broken.png'} is not an image" in broken
    assert f"error: {folder / 'paper.pdf'} is not an image" in paper


# Lies where Python looks for it at every start, that of the child that rehearses included.
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


def test_an_onnx_file_needs_onnxruntime_numpy_and_pillow_alone(finished_run, folder, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(ONLY)
    model = str(finished_run / "export" / "model.onnx")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}

    def run(*command):
        command = [sys.executable, *map(str, command)]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)

    assert "No module named 'mxnet'" in run("-c", "import mxnet").stderr
    done = run("predict.py", model, folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == len(MODES) + 1
    done = run("evaluate.py", model, "--dataset", "shapes", "--other-data")
    assert (done.returncode, done.stderr) == (0, "")
    assert "top-1 error" in done.stdout
    done = run("evaluate.py", model, "--dataset", "cifar10")
    assert done.returncode == 2
    assert done.stderr.startswith("error: there is no cifar10 in ")
    done = run("predict.py", "resnet20", folder)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "mxnet is not installed" in done.stderr


def test_stdin_keeps_its_place_among_files(finished_run, folder, capsys, monkeypatch):
    class Stdin:
        buffer = io.BytesIO((folder / "1.png").read_bytes())

    monkeypatch.setattr(sys, "stdin", Stdin)
    model = finished_run / "export" / "model.onnx"
    mixed = run_json(capsys, model, folder / "0.png", "-", folder / "2.png")["images"]
    plain = run_json(capsys, model, *(folder / f"{i}.png" for i in range(3)))["images"]
    assert [image["file"] for image in mixed][1] == "-"
    assert [i["probabilities"] for i in mixed] == [i["probabilities"] for i in plain]


def test_bars_show_probabilities_most_probable_first():
    lines = predict.bars(np.array([0.25, 0.75, 0.0]), ["cat", "horse", "dog"])
    assert lines == [
        "  horse  75.00 % " + "█" * 22 + "▌",
        "  cat    25.00 % " + "█" * 7 + "▌",
        "  dog     0.00 %",
    ]
    assert "#" * 22 in predict.bars(np.array([0.25, 0.75]), ["a", "b"], unicode=False)[0]


def test_a_terminal_gets_bars(finished_run, folder, capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    model = str(finished_run / "export" / "model.onnx")
    assert predict.main([model, str(folder / "0.png"), "--top", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(folder / "0.png")
    assert len(lines) == 4
    assert all(" % " in line for line in lines[1:])


def test_a_plot_shows_any_name_of_a_file(finished_run, tmp_path, capsys):
    names = [b"$\\no{such$.png", b"caf\xe9.png", b"long" * 40 + b".png", "猫\n\x1b.png".encode()]
    for name in names:
        make_image("RGB").save(tmp_path / os.fsdecode(name))
    model, picture = finished_run / "export" / "model.onnx", tmp_path / "plot.png"
    assert predict.main([str(model), str(tmp_path), "--plot", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert predict.main([str(model), str(picture), "--plot", str(tmp_path / "no" / "x.png")]) == 2
    error = capsys.readouterr().err
    assert error == f"error: cannot write {tmp_path / 'no' / 'x.png'}: No such file or directory\n"


def test_a_plot_has_as_many_bars_as_were_asked_for(finished_run, folder, tmp_path, monkeypatch):
    drawn, draw = [], pictures.draw_predictions
    monkeypatch.setattr(pictures, "draw_predictions", lambda *given: drawn.append(draw(*given)))
    model, picture = finished_run / "export" / "model.onnx", tmp_path / "plot.png"
    arguments = [str(model), str(folder / "0.png"), "--plot", str(picture)]
    for top in (3, 100):
        assert predict.main([*arguments, "--top", str(top)]) == 0
    assert [len(figure.axes[1].patches) for figure in drawn] == [3, 10]


def test_kaggle_answer_has_every_image_in_order_of_its_number(finished_run, tmp_path, capsys):
    (tmp_path / "test").mkdir()
    for number in (10, 2, 300):
        make_image("RGB", (32, 30 + number)).save(tmp_path / "test" / f"{number}.png")
    model, answer = finished_run / "export" / "model.onnx", tmp_path / "submission.csv"
    assert predict.main([str(model), str(tmp_path), "--kaggle", str(answer)]) == 0
    assert "3 images" in capsys.readouterr().out
    rows = answer.read_bytes().decode().split("\n")
    classifier = open_classifier(model)
    assert rows[0] == "id,label"
    assert rows[-1] == ""
    for row, number in zip(rows[1:-1], (2, 10, 300)):
        image = read_image(tmp_path / "test" / f"{number}.png")[None]
        label = classifier.classes[int(classifier.probabilities(image).argmax())]
        assert row == f"{number},{label}"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{onnx}", "absent.png"], "no file or folder absent.png"),
        (["{onnx}", "{root}/empty"], "no images in"),
        (["{onnx}", "{root}/broken.png"], "broken.png is not an image"),
        (["{onnx}", "-", "-"], "once only"),
        (["{onnx}", "{root}/0.png", "--top", "0"], "--top 0"),
        (["{onnx}", "{root}/0.png", "--plot", "{root}/no/x.png"], "cannot write"),
        (["{onnx}", "{root}/0.png", "{root}/0.png", "--kaggle", "x.csv"], "takes one folder"),
        (["{onnx}", "{root}", "--kaggle", "{root}/x.csv"], "test"),
        (["absent.onnx", "{root}/0.png"], "absent.onnx cannot be read"),
        (["absent", "{root}/0.png"], "absent is no run folder"),
        (["{root}/broken.onnx", "{root}/0.png"], "broken.onnx cannot be used"),
    ],
)
def test_what_cannot_be_used_is_one_line(finished_run, tmp_path, capsys, arguments, words):
    make_image("RGB").save(tmp_path / "0.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    (tmp_path / "broken.onnx").write_bytes(b"broken")
    names = {"root": tmp_path, "onnx": finished_run / "export" / "model.onnx"}
    assert predict.main([text.format(**names) for text in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert words in error
    assert error.count("\n") == 1
