"""MXNet bears a NumPy that dropped names."""

from __future__ import annotations

import importlib
import sys
import warnings

import runtime
from runtime import mx

import numpy
import pytest
from mxnet.gluon.contrib.estimator import CheckpointHandler
from test_runtime import ROOT, run_python


@pytest.fixture
def newer_numpy(monkeypatch):
    """Take from this process's NumPy every name that some release dropped."""

    def absent(name: str):
        raise AttributeError(f"module 'numpy' has no attribute {name!r}")

    monkeypatch.setattr(numpy, "__getattr__", absent)
    for name in runtime.DROPPED_NAMES:
        monkeypatch.delattr(numpy, name, raising=False)


@pytest.fixture
def old_package(tmp_path, monkeypatch):
    """A package written for NumPy 1.19, which takes names when imported and when called."""
    package = tmp_path / "old_package"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import warnings\n"
        "import numpy as np\n"
        "warnings.warn('old', DeprecationWarning)\n"
        "from . import inner\n"
        f"names = {{name: getattr(np, name) for name in {list(runtime.DROPPED_NAMES)}}}\n"
    )
    (package / "inner.py").write_text(
        "import numpy\n\ndef later():\n    return numpy.full(2, numpy.Inf), numpy.bool(1)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "old_package"
    for name in [name for name in sys.modules if name.startswith("old_package")]:
        del sys.modules[name]


def test_a_package_finds_the_dropped_names_and_nobody_else_does(newer_numpy, old_package):
    before = dict(vars(numpy))
    with runtime.dropped_names(old_package):
        package = importlib.import_module(old_package)
    assert set(package.names) == set(runtime.DROPPED_NAMES)
    assert vars(numpy) == before
    assert not [name for name in runtime.DROPPED_NAMES if hasattr(numpy, name)]
    values, truth = package.inner.later()
    assert numpy.isinf(values).all()
    assert truth is True
    assert package.inner.numpy.float32 is numpy.float32
    with pytest.raises(NotImplementedError, match=r"numpy\.pmt was removed"):
        package.names["pmt"](0.1, 12, 100)


def test_importing_mxnet_leaves_numpy_and_the_warnings_as_they_were():
    code = (
        "import numpy, warnings\n"
        "warnings.simplefilter('error')\n"
        "filters, before = list(warnings.filters), dict(vars(numpy))\n"
        "import runtime\n"
        "for name in runtime.DROPPED_NAMES:\n"
        "    assert vars(numpy).get(name) is before.get(name)\n"
        "assert warnings.filters == filters\n"
    )
    run_python(code, ROOT)


def test_mxnets_functions_find_the_names_when_they_are_called():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy 1.23 deprecates what later ones dropped
        assert mx.np.full((2,), True).dtype == numpy.bool_
        assert mx.np.pad(mx.np.ones((2, 2)), ((1, 1), (1, 1)), mode="constant").shape == (4, 4)
        accuracy = mx.metric.Accuracy()
        handler = CheckpointHandler(".", monitor=accuracy, save_best=True, mode="max")
        assert handler.best == -numpy.inf
