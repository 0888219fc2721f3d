"""`python -m datasets` draws what a net will see."""

from __future__ import annotations

import re

import numpy as np
import pytest
from image_files import make_folder
from PIL import Image

from datasets import Augmentation, Split, preview
from datasets.__main__ import main
from datasets.base import make_dataset


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("grid.png", "--no-augment"),
        ("grid", "--cutout 16 --mixup 1 --cutmix 1 --label-smoothing 0.1"),  # becomes grid.png
    ],
)
def test_a_preview_is_drawn_of_any_data_set(name, flags, tmp_path, capsys):
    make_folder(tmp_path, ("cat", "dollar $", "x_1", "猫\x1b[31m"), train=2)
    data = ["--dataset", "folder", "--data-dir", str(tmp_path)]
    assert main([*data, "--preview", str(tmp_path / name), *flags.split()]) == 0
    out, err = capsys.readouterr()
    assert "folder: 8 training, 8 test images" in out
    assert "猫\\x1b[31m" in out
    assert out.endswith(f"wrote {tmp_path / 'grid.png'}\n")
    assert not err
    with Image.open(tmp_path / "grid.png") as image:
        assert min(image.size) > 300


def test_a_folder_is_not_passed_over_for_the_drawn_shapes(tmp_path, capsys):
    assert main(["--data-dir", str(tmp_path)]) == 2
    assert "lie in no folder" in capsys.readouterr().err


@pytest.mark.parametrize(("counts", "shown"), [((500, 20, 4), (4, 3, 3)), ((50, 1, 9), (5, 1, 4))])
def test_a_preview_has_as_many_images_of_each_class(counts, shown, monkeypatch):
    labels = np.repeat(np.arange(3, dtype=np.int32), counts)
    split = Split(np.zeros((len(labels), 3, 32, 32), np.uint8), labels)
    drawn = []
    monkeypatch.setattr(preview, "_draw", lambda axis, image, text, weight: drawn.append(text))
    preview.preview(make_dataset("folder", split, split, ("a", "b", "c")), Augmentation())
    assert tuple(drawn[:10].count(name) for name in "abc") == shown


@pytest.mark.parametrize(
    ("text", "longest", "drawn"),
    [
        ("horizontal stripes", 18, "horizontal stripes"),
        ("n02123045_tabby_cat_0", 11, "n0212…cat_0"),
        ("n02123045_tabby_cat_0", 10, "n0212…at_0"),
        ("$x$ caf\udce9", 18, r"\$x\$ caf?"),
        ("cat 猫 \x1b[31m\n", 18, "cat ? ?[31m?"),
    ],
    ids=range(5),
)
def test_captions_are_short_and_plain(text, longest, drawn):
    assert preview.caption(text, longest) == drawn


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--dataset shape", "unknown data set 'shape': did you mean shapes?"),
        ("--preview /nowhere/at/all.png", "cannot write /nowhere/at/all.png: No such file"),
        ("--preview x.nothing", "not supported"),
        ("--preview /", "cannot write /: Is a directory"),
        ("--cutout -1", "must be 0"),
        ("--cutout 99", "must be 32 pixels at most"),
        ("--seed -1", "out of range"),
    ],
)
def test_a_mistake_is_one_line(flags, message, capsys):
    assert main(flags.split()) == 2
    assert re.fullmatch(rf"error: .*{re.escape(message)}.*\n", capsys.readouterr().err)
