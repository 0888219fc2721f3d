"""A run is called by what it trains, and no two runs are called alike."""

from __future__ import annotations

import pytest

from records import naming
from records.config import make_config
from records.naming import net_title, new_folder
from records.run_folder import RunFolder

TITLES = [
    ({"model": "densenet"}, "DenseNet-BC-100, k=12"),
    ({"model": "densenet_bc40_k16", "depth": 16}, "DenseNet-BC-16, k=16"),
    ({"model": "densenet40_k12", "dropout": 0.2}, "DenseNet-40, k=12, dropout=0.2"),
    (
        {"model": "densenet", "bottleneck": False, "compression": 0.25},
        "DenseNet-C-100, k=12, compression=0.25",
    ),
    ({"model": "se_densenet40_k12", "bottleneck": True}, "SE-DenseNet-B-40, k=12"),
    ({"preset": "cpu-90min"}, "ResNet-11, width=2, pooled"),
    ({"model": "stochastic_depth"}, "ResNet-110, p_L=0.5"),
    ({"model": "resnet164", "depth": 110}, "ResNet-110, pre-activation"),
    ({"model": "cifar_resnet20_v1"}, "cifar_resnet20_v1"),
]


@pytest.mark.parametrize(("settings", "title"), TITLES)
def test_a_net_is_called_what_it_is(settings, title):
    assert net_title(make_config(**settings)) == title


def test_two_starts_in_one_second_do_not_collide(tmp_path, monkeypatch):
    monkeypatch.setattr(naming.time, "strftime", lambda _: "20250101-120000")
    config = make_config(model="densenet_bc40_k16", depth=16, run_dir=str(tmp_path))
    folders = [RunFolder.create(new_folder(config)) for _ in range(3)]
    names = [folder.path.name for folder in folders]
    for folder in folders:
        folder.close()
    first = "DenseNet-BC-16-k=16-cifar10-20250101-120000"
    assert names == [first, f"{first}-2", f"{first}-3"]
    assert make_config(name=first).name == first  # a name that may be given
