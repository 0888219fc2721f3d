"""MXNet bears a NumPy that dropped names."""

from __future__ import annotations

import importlib
import warnings

import runtime
from runtime import mx

import numpy
import pytest
from mxnet.gluon.contrib.estimator import CheckpointHandler
from test_runtime import ROOT, run_python

# Written for NumPy 1.19: it takes names when it is imported and when it is called.
OLD_PACKAGE = f"""
import warnings
import numpy

warnings.warn("old", DeprecationWarning)
names = {{name: getattr(numpy, name) for name in {[*runtime.DROPPED_NAMES]}}}


def later():
    return numpy.full(2, numpy.Inf), numpy.bool(1)
"""


def test_a_package_finds_the_dropped_names_and_nobody_else_does(tmp_path, monkeypatch):
    def absent(name: str):
        raise AttributeError(f"module 'numpy' has no attribute {name!r}")

    monkeypatch.setattr(numpy, "__getattr__", absent)
    for name in runtime.DROPPED_NAMES:  # as if this process had the newest NumPy
        monkeypatch.delattr(numpy, name, raising=False)
    (tmp_path / "old_package").mkdir()
    (tmp_path / "old_package" / "inner.py").write_text(OLD_PACKAGE)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = dict(vars(numpy))
    with runtime.dropped_names("old_package"):
        package = importlib.import_module("old_package.inner")
    assert set(package.names) == set(runtime.DROPPED_NAMES)
    assert vars(numpy) == before
    assert not [name for name in runtime.DROPPED_NAMES if hasattr(numpy, name)]
    values, truth = package.later()
    assert numpy.isinf(values).all()
    assert truth is True
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
