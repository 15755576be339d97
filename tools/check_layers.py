#!/usr/bin/env python3
"""Includes point downward only, and torch stays in train/ (docs/architecture.md)."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
# A folder may include itself and those before it.
ORDER = ["core", "quant", "kernels", "graph", "transform", "cost", "runtime", "program", "formats", "data", "models", "train", "experiment", "search",
         "autoq", "report", "cli"]
# Rooms that must know less than their place in the order allows.
ONLY = {"search": {"core", "search"}, "data": {"core", "data"}}
TORCH = re.compile(r"^(torch|ATen|c10)/")
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]')


def problems():
    for path in sorted((ROOT / "nibble").rglob("*")):
        if path.suffix not in (".h", ".cc"):
            continue
        room = path.relative_to(ROOT / "nibble").parts[0]
        is_test = path.stem.endswith("_test")
        for number, line in enumerate(path.read_text().splitlines(), 1):
            found = INCLUDE.match(line)
            if not found:
                continue
            target = found.group(1)
            where = f"{path.relative_to(ROOT)}:{number}"
            if TORCH.match(target) and room != "train":
                yield f"{where}: includes {target}; torch belongs to nibble/train alone"
            if not target.startswith("nibble/") or is_test:
                continue
            other = target.split("/")[1]
            allowed = ONLY.get(room, set(ORDER[: ORDER.index(room) + 1]))
            if other not in allowed:
                yield f"{where}: {room}/ must not include {other}/"


found = list(problems())
print("\n".join(found) if found else "layers: includes point downward")
sys.exit(1 if found else 0)
