"""`benchmarks/` as a user runs them; how fast anything is, is no test's business."""

from __future__ import annotations

import re
import shutil

import pytest
import race
from torture import Torture


@pytest.mark.parametrize(
    ("rounds", "flags"),
    [(2, ["--forms", "ours without it", "ours"]), (1, ["--forms", "ours", "--inference"])],
)
def test_a_model_is_measured_whoever_fails_beside_it(rounds, flags, capsys):
    flags = ["--batch", "2", "--steps", "1", "--rounds", str(rounds), *flags]
    assert race.main(["resnet20", *flags]) == 0
    machine, _, _, *failed, row = capsys.readouterr().out.splitlines()
    assert machine.endswith(f" threads, {rounds} rounds")
    assert ["unknown rule 'it'" in line for line in failed] == [True] * ("ours without it" in flags)
    net, batch, form, speed, peak_mb, ratio = (cell.strip() for cell in row.split("|")[1:-1])
    assert (net, batch, form, ratio) == ("resnet20", "2", "ours", "1.00 (1.00–1.00)")
    median, least, most = map(float, re.findall(r"[\d.]+", speed))
    assert 0 < least <= median <= most
    assert int(peak_mb) > 50


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["resnet2"], "did you mean resnet"),
        (["resnet20", "--batch", "0"], "--batch"),
        (["cifar_resnet20_v1"], "has no rival here: choose --forms ours"),
        (["resnet20", "--forms", "theirs"], "theirs"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(flags, told, refused):
    assert told in refused(race.main, flags)


def test_nothing_is_lost_under_torture(tmp_path):
    """A short, seeded part of `benchmarks/torture.py`; a few hundred rounds are run by hand."""
    torture = Torture(tmp_path, seed=3, epochs=2)
    torture.hit("kill while writing")
    torture.hit("full disk", spoil=True)
    torture.finish()
    assert torture.finished >= 1

    # And the torturer would notice.
    shutil.copytree(tmp_path / "calm", torture.run)
    torture.expected_files = {**torture.expected_files, "net.params": b"other weights"}
    with pytest.raises(AssertionError, match="differs"):
        torture.compare()
