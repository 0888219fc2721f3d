"""Every source of weights to start from, opened and taken."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from test_old_checkpoints import write_old

import models
from inference.trained import open_weights
from records.checkpoints import find
from records.config import make_config
from weights.parameters import get_parameters
from weights.params_file import write_params


def taken(source, **settings):
    """Return a net that has taken weights, and what was opened."""
    config = make_config(dataset="shapes", **settings)
    net = models.get_model(config.model, **config.model_options())
    models.initialize(net, seed=7)
    given = open_weights(str(source), config)
    given.load_into(net)
    return net, given


def test_a_net_with_more_to_it_takes_what_there_is(finished_run, caplog):
    with caplog.at_level("INFO", "train"):
        taken(find(finished_run).path, model="se_resnet20")
    assert "97 arrays taken, 0 left, 36 made anew (features.2.branch.4." in caplog.text


def test_weights_of_gluoncv_are_found_where_it_keeps_them(tmp_path, monkeypatch):
    from gluoncv.model_zoo import model_store

    name, path = "cifar_resnet20_v1", tmp_path / "models"
    net = models.get_model(name)
    models.initialize(net, seed=5)
    path.mkdir()
    content = write_params(get_parameters(net))
    digest = hashlib.sha1(content).hexdigest()
    (path / f"{name}-{digest[:8]}.params").write_bytes(content)
    monkeypatch.setitem(model_store._model_sha1, name, digest)
    monkeypatch.setenv("MXNET_HOME", str(tmp_path))
    found, given = taken(name, model=name)
    np.testing.assert_equal(get_parameters(found), get_parameters(net))
    np.testing.assert_allclose(given.normaliser.mean, [125.3, 122.95, 113.87], atol=0.1)
    np.testing.assert_equal(get_parameters(models.get_model(name, pretrained=True)), given.arrays)


@pytest.mark.parametrize("names", ["new", "old"])
def test_parameter_files_of_gluon_are_sources(tmp_path, names):
    path, settings = tmp_path / "net.params", {"model": "densenet_bc100_k12", "depth": 16}
    arrays = write_old(path)
    if names == "new":
        path.write_bytes(write_params(arrays))
    np.testing.assert_equal(get_parameters(taken(path, **settings)[0]), arrays)
