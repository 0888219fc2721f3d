"""Imports go one way, down a list of layers, also those inside functions."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = ("train_cifar10", "evaluate", "export", "predict")
# Each imports itself and those after it.
LAYERS = (
    "studies",
    "figures",
    "training",
    "inference",
    "records",
    "datasets",
    "models",
    "exports",
    "weights",
    "compiler",
    "utils",
    "errors",
    "runtime",
    "gpus",
)


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


def imports(path: Path) -> set[str]:
    """Return the first names of all modules that a file imports, wherever in it."""
    return set().union(*map(imported, ast.walk(parse(path))))


def test_imports_go_down_the_layers():
    for number, layer in enumerate(LAYERS):
        files = [ROOT / f"{layer}.py"] if (ROOT / f"{layer}.py").exists() else []
        files += (ROOT / layer).glob("*.py")
        assert files, layer
        above = {*COMMANDS, *LAYERS[:number]}
        for file in files:
            assert not imports(file) & above, f"{file} imports what stands above it"


def test_no_command_imports_another():
    for command in COMMANDS:
        assert not imports(ROOT / f"{command}.py") & set(COMMANDS), command


def test_the_compiler_can_be_taken_along_alone():
    for file in (ROOT / "compiler").glob("*.py"):
        assert not imports(file) & {*LAYERS, *COMMANDS} - {"compiler", "runtime"}, file
    assert not imports(ROOT / "runtime.py") & {*LAYERS, *COMMANDS}


def test_whoever_imports_mxnet_or_the_compiler_has_imported_runtime():
    """Else MXNet computes on half of the processors, and beside a newer NumPy it does not start."""
    files = [*ROOT.glob("*.py"), *(file for layer in LAYERS for file in ROOT.glob(f"{layer}/*.py"))]
    for file in files:
        if file.parent.name != "compiler" and file.name != "runtime.py":
            names = [imported(node) for node in parse(file).body]
            first = next(
                (n for n in names if n & {"runtime", "mxnet", "gluoncv", "compiler"}), set()
            )
            assert first <= {"runtime"}, f"{file} imports {first} before runtime"


def test_every_folder_of_code_is_a_layer():
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages <= {*LAYERS, "notebooks"}
