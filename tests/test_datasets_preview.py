"""`python -m datasets` draws what a net will see."""

from __future__ import annotations

import re

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
        (["--preview", "/nowhere/at/all.png"], "cannot be written: No such file"),
        (["--preview", "x.nothing"], "not supported"),
        (["--preview", "/"], "empty name"),
        (["--cutout", "-1"], "must be 0"),
        (["--seed", "-1"], "out of range"),
    ],
)
def test_a_mistake_is_one_line(flags, message, capsys):
    from datasets.__main__ import main

    assert main(flags) == 2
    assert re.fullmatch(rf"error: .*{re.escape(message)}.*\n", capsys.readouterr().err)
