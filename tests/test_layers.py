"""Imports go one way, down a list of layers, also those inside functions."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = ("train_cifar10", "evaluate", "export", "predict")
# Each imports itself and those after it.
LAYERS = (
    *("studies", "figures", "training", "inference", "records", "datasets", "models", "exports"),
    *("weights", "compiler", "utils", "errors", "runtime", "gpus"),
)
ALONE = ("compiler", "runtime")  # which other projects may take along


def files_of(layer: str) -> list[Path]:
    """Return a module's file, or a package's."""
    path = ROOT / f"{layer}.py"
    return [path] if path.exists() else sorted((ROOT / layer).glob("*.py"))


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(node: ast.AST) -> set[str]:
    """Return the first names of the modules that a statement imports."""
    names = []
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        names = [node.module or ""]
    return {name.partition(".")[0] for name in names}


def test_imports_go_down_the_layers():
    for layer in (*COMMANDS, *LAYERS):
        allowed = {*LAYERS}
        if layer in LAYERS:
            allowed = {layer} if layer in ALONE else {*LAYERS[LAYERS.index(layer) :]}
        assert files_of(layer), layer
        for file in files_of(layer):
            found = set().union(*map(imported, ast.walk(parse(file))))
            assert found & {*COMMANDS, *LAYERS} <= allowed, file


def test_whoever_imports_mxnet_or_the_compiler_has_imported_runtime():
    """Else MXNet computes on half of the processors, and beside a newer NumPy it does not start."""
    needing = {"runtime", "mxnet", "gluoncv", "compiler"}
    for layer in {*COMMANDS, *LAYERS} - {*ALONE}:
        for file in files_of(layer):
            names = [imported(node) & needing for node in parse(file).body]
            first = next(filter(None, names), set())
            assert first <= {"runtime"}, f"{file} imports {first} before runtime"


def test_every_folder_of_code_is_a_layer():
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages <= {*LAYERS, "notebooks"}
