"""`python -m datasets` draws what a net will see."""

from __future__ import annotations

import re

import numpy as np
import pytest
from image_files import make_folder
from PIL import Image


@pytest.mark.parametrize(
    "flags",
    [
        ["--no-augment"],
        ["--cutout", "16", "--mixup", "1", "--cutmix", "1", "--label-smoothing", "0.1"],
    ],
)
def test_a_preview_is_drawn_of_any_data_set(flags, tmp_path, capsys):
    from datasets.__main__ import main

    make_folder(tmp_path, ("cat", "dollar $", "x_1", "猫\x1b[31m"), train=2)
    picture = tmp_path / "preview.png"
    data = ["--dataset", "folder", "--data-dir", str(tmp_path)]
    assert main([*data, "--preview", str(picture), *flags]) == 0
    out, err = capsys.readouterr()
    assert "folder: 8 training, 8 test images" in out
    assert "猫\\x1b[31m" in out
    assert not err
    with Image.open(picture) as image:
        assert min(image.size) > 300


@pytest.mark.parametrize(("counts", "shown"), [((500, 20, 4), (4, 3, 3)), ((50, 1, 9), (5, 1, 4))])
def test_a_preview_has_as_many_images_of_each_class(counts, shown, monkeypatch):
    from datasets import Split, preview
    from datasets.augment import Augmentation
    from datasets.base import make_dataset

    labels = np.repeat(np.arange(3, dtype=np.int32), counts)
    split = Split(np.zeros((len(labels), 3, 32, 32), np.uint8), labels)
    drawn = []
    monkeypatch.setattr(preview, "_draw", lambda axis, image, text, weight: drawn.append(text))
    preview.preview(make_dataset("folder", split, split, ("a", "b", "c")), Augmentation())
    assert tuple(drawn[:10].count(name) for name in "abc") == shown


def test_a_preview_without_an_ending_is_png_and_says_so(tmp_path, capsys):
    from datasets.__main__ import main

    make_folder(tmp_path)
    data = ["--dataset", "folder", "--data-dir", str(tmp_path)]
    assert main([*data, "--preview", str(tmp_path / "grid")]) == 0
    assert capsys.readouterr().out.endswith(f"wrote {tmp_path / 'grid.png'}\n")
    assert (tmp_path / "grid.png").exists()


def test_captions_are_short_and_plain():
    from datasets.preview import caption

    assert caption("horizontal stripes", 18) == "horizontal stripes"
    assert caption("n02123045_tabby_cat_0", 11) == "n0212…cat_0"
    assert caption("n02123045_tabby_cat_0", 10) == "n0212…at_0"
    assert caption("$x$ caf\udce9", 18) == r"\$x\$ caf?"
    assert caption("cat 猫 \x1b[31m\n", 18) == "cat ? ?[31m?"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dataset", "shape"], "unknown data set 'shape': did you mean shapes?"),
        (["--preview", "/nowhere/at/all.png"], "cannot write /nowhere/at/all.png: No such file"),
        (["--preview", "x.nothing"], "not supported"),
        (["--preview", "/"], "cannot write /: Is a directory"),
        (["--cutout", "-1"], "must be 0"),
        (["--cutout", "99"], "must be 32 pixels at most"),
        (["--seed", "-1"], "out of range"),
    ],
)
def test_a_mistake_is_one_line(flags, message, capsys):
    from datasets.__main__ import main

    assert main(flags) == 2
    assert re.fullmatch(rf"error: .*{re.escape(message)}.*\n", capsys.readouterr().err)
