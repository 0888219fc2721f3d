"""Damage exported files in every way there is, and see what the loaders say.

    python tests/fuzz_exports.py --count 300 --seed 1

Prints how often each answer was given. A file is refused in one line or gives logits; anything else
ends the script with a traceback. test_hostile.py does the same a few times.
"""

from __future__ import annotations

import argparse
import collections
import json
import random
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from runtime import mx

import models
from errors import InputError
from exports.onnx_export import export_onnx
from exports.onnx_import import try_onnx
from exports.sandbox import rehearse
from exports.symbol_export import export_symbol
from exports.symbol_import import OPERATORS, try_symbol
from utils import Normaliser
from weights.params_file import read_params

VALUES = (
    "",
    "-1",
    "0",
    "1",
    "65536",
    "9999999999999999999",
    "1e30",
    "nan",
    "None",
    "True",
    "()",
    "(0,0)",
    "(1,1)",
    "(-1,-1)",
    "(3,3,3)",
    "(5000,5000)",
    "(2147483647,2147483647)",
    "(0,0,-3,1)",
    "NHWC",
    "max",
    "x" * 5000,
)
ATTRIBUTES = ("__shape__", "__dtype__", "__init__", "num_filter", "num_hidden", "axis", "dtype")


def make_exports(folder: Path) -> dict[str, bytes]:
    """Return the files of a small net of all operators: graph, params and onnx."""
    net = models.get_model("se_resnet20_sd", depth=8)
    models.initialize(net, mx.cpu())
    about = ([f"class {i}" for i in range(10)], Normaliser((125, 125, 125), (60, 60, 60)))
    export_symbol(net, folder, *about)
    export_onnx(net, folder / "model.onnx", *about)
    names = {"graph": "model-symbol.json", "params": "model-0000.params", "onnx": "model.onnx"}
    return {kind: (folder / name).read_bytes() for kind, name in names.items()}


def damage_bytes(data: bytes, rng: random.Random, end: int | None = None) -> bytes:
    """Change, cut out, repeat or cut off a few bytes, in the first `end` if given."""
    damaged = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        place = rng.randrange(min(len(damaged), end or len(damaged)))
        how = rng.randrange(4)
        if how == 0:
            damaged[place] = rng.randrange(256)
        elif how == 1:
            del damaged[place : place + rng.randint(1, 40)]
        elif how == 2:
            damaged[place:place] = damaged[place : place + rng.randint(1, 40)]
        else:
            damaged[place : place + 8] = rng.choice((b"\xff" * 8, b"\0" * 8, b"\x7f" + b"\0" * 7))
    return bytes(damaged[: rng.randrange(1, len(damaged))] if rng.random() < 0.1 else damaged)


def damage_graph(data: bytes, rng: random.Random) -> bytes:
    """Change a graph's operators, attributes and edges, so that it is still one in form."""
    graph = json.loads(data)
    for _ in range(rng.randint(1, 3)):
        node = rng.choice([node for node in graph["nodes"] if node["op"] != "null"])
        how = rng.randrange(5)
        if how == 0 and node.get("attrs"):
            node["attrs"][rng.choice(sorted(node["attrs"]))] = rng.choice(VALUES)
        elif how == 1:
            node["op"] = rng.choice(sorted(OPERATORS))
        elif how == 2:
            rng.choice(node["inputs"])[rng.randrange(2)] = rng.randrange(len(graph["nodes"]))
        elif how == 3:
            node["inputs"] = node["inputs"][: rng.randint(1, 3)]
        else:
            node = rng.choice(graph["nodes"])
            node.setdefault("attrs", {})[rng.choice(ATTRIBUTES)] = rng.choice(VALUES)
    return json.dumps(graph).encode()


def try_all(files: dict[str, bytes], rng: random.Random) -> str:
    """Damage one file and load it as `classifiers` does; return what came of it."""
    kind = rng.choice(("graph", "graph", "params", "onnx"))
    try:
        if kind == "params":
            read_params(damage_bytes(files[kind], rng, rng.choice((400, None))), kind)
        elif kind == "graph":
            how = damage_graph if rng.random() < 0.8 else damage_bytes
            graph = how(files[kind], rng)
            rehearse(try_symbol, graph, files["params"], b"10", source=kind)
        else:
            damaged = damage_bytes(files[kind], rng, rng.choice((4000, None)))
            rehearse(try_onnx, damaged, source=kind)
    except InputError as error:
        answer = str(error)
    else:
        answer = f"{kind} gives logits"
    if "\n" in answer:
        raise AssertionError(f"more than one line: {answer}")
    return answer


def main() -> None:
    """Count what came of many."""
    parser = argparse.ArgumentParser(description="Fuzz the loaders of exported files.")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        files = make_exports(Path(folder) / "export")
    answers = collections.Counter(try_all(files, rng)[:90] for _ in range(arguments.count))
    for answer, count in answers.most_common():
        print(count, answer)


if __name__ == "__main__":
    main()
