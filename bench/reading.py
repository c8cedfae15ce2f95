"""What one task file costs to read: seconds of CPU and peak memory, each in a process of its own.

    python -m bench reading                 # a table of every kind at 5 MiB and at the most a file may have
    python -m bench reading --mib 16 nan    # one kind, one size

Kinds are what people have (Kaggle's files, many small grids) and what a file may hold to cost as much as it
can: each is made of one thing again and again until the size is reached.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

from gpu_runner import saying

Grid = list[list[int]]


def again(before: bytes, piece: bytes, after: bytes, size: int) -> bytes:
    """The piece as often as it fits between the ends."""
    times = max(1, (size - len(before) - len(after)) // len(piece))
    return before + piece * times + after


def numbered(before: bytes, piece: bytes, after: bytes, size: int) -> bytes:
    """The same, with a number of its own at each `%d`; after more than a reader ever counts, spaces."""
    times = min(150_000, max(1, (size - len(before) - len(after)) // (len(piece) + 6)))
    found = before + b",".join(piece % n for n in range(times))
    return found + b" " * (size - len(found) - len(after)) + after


def grid(rng: random.Random, height: int, width: int) -> Grid:
    return [[rng.randrange(10) for _ in range(width)] for _ in range(height)]


def a_task(rng: random.Random, side: int, pairs: int = 4) -> dict[str, Any]:
    made = [{"input": grid(rng, side, side), "output": grid(rng, side, side)} for _ in range(pairs)]
    return {"train": made[1:], "test": made[:1]}


def tasks(size: int, side: int, *, indent: int | None = None, most: int = 10_000) -> bytes:
    """Kaggle's form with as many tasks of one shape as fit: a few contents, each under many ids."""
    rng = random.Random(0)
    texts = [json.dumps(a_task(rng, side), indent=indent) for _ in range(40)]
    found, length = [], 2
    for n in range(most):
        length += len(texts[n % 40]) + 15
        if length > size:
            break
        found.append(f'"{n:08x}": {texts[n % 40]}')
    return ("{" + ",\n".join(found) + "}").encode()


def one_task(size: int) -> bytes:
    """A task at all its limits."""
    return json.dumps(a_task(random.Random(0), 30, 101)).encode()


ONE_ROW = b'{"t":{"train":[{"input":[['
EARNEST: dict[str, Callable[[int], bytes]] = {
    "tasks of 12 x 12, compact": lambda size: tasks(size, 12),
    "tasks of 12 x 12, indented": lambda size: tasks(size, 12, indent=2),
    "tasks of 3 x 3, compact": lambda size: tasks(size, 3),
    "tasks of 30 x 30, compact": lambda size: tasks(size, 30),
    "one task at every limit": one_task,
}
HOSTILE: dict[str, Callable[[int], bytes]] = {
    "NaN": lambda size: again(b'{"train":[', b"NaN,", b"NaN]}", size),
    "NaN as a cell": lambda size: again(ONE_ROW, b"NaN,", b"NaN]]}]}}", size),
    "NaN at the end": lambda size: again(b'{"train":[', b"1,", b"NaN]}", size),
    "Infinity by id": lambda size: numbered(b"{", b'"%d":-Infinity', b"}", size),
    "depth, open": lambda size: again(b"", b"[", b"", size),
    "depth, closed": lambda size: b"[" * (size // 2) + b"]" * (size // 2),
    "depth of objects": lambda size: again(b"", b'{"a":', b"1", size),
    "depth in a grid": lambda size: again(ONE_ROW, b"[", b"", size),
    "depth behind many lists": lambda size: again(b'{"a":[', b"[],", b"[" * 40, size),
    "closing brackets": lambda size: again(b'{"a":[', b"]", b"", size),
    "empty lists": lambda size: again(b'{"train":[', b"[],", b"[]]}", size),
    "empty lists in a grid": lambda size: again(ONE_ROW, b"[],", b"[]]]}]}}", size),
    "lists, cut off": lambda size: again(b'{"a":[', b"[0,0,0,0],", b"", size),
    "texts, cut off": lambda size: again(b'{"a":[', b'"",', b"", size),
    "rows without end": lambda size: again(b'{"t":{"train":[{"input":[', b"[0],", b"[0]]}]}}", size),
    "a row without end": lambda size: again(ONE_ROW, b"0,", b"0]]}]}}", size),
    "a key twice, by id": lambda size: again(b"{", b'"a":1,', b'"a":1}', size),
    "a key twice, in a task": lambda size: again(b'{"t":{', b'"a":1,', b'"a":1}}', size),
    "a key twice, in each task": lambda size: numbered(b"{", b'"%d":{"a":1,"a":1}', b"}", size),
    "keys in a task": lambda size: numbered(b'{"t":{', b'"%d":1', b"}}", size),
    "digits": lambda size: again(b'{"train":', b"9", b"}", size),
    "digits behind a point": lambda size: again(b'{"train":1.', b"1", b"}", size),
    "numbers of 4,000 digits": lambda size: again(ONE_ROW, b"9" * 4000 + b",", b"1]]}]}}", size),
    "numbers of 1,000 digits by id": lambda size: numbered(b"{", b'"%d":' + b"9" * 1000, b"}", size),
    "numbers of three digits": lambda size: again(ONE_ROW, b"999,", b"999]]}]}}", size),
    "1e309": lambda size: again(ONE_ROW, b"1e309,", b"1]]}]}}", size),
    "halves of surrogate pairs": lambda size: again(b'{"train":["', b"\\ud800", b'"]}', size),
    "keys of halves": lambda size: numbered(b"{", b'"\\ud800%d":{}', b"}", size),
    "texts of halves": lambda size: again(b'{"t":[', b'"\\udfff",', b"1]}", size),
    "escapes": lambda size: again(b'{"t":"', b'\\"', b'"}', size),
    "characters of four bytes": lambda size: again('{"t":"😀'.encode(), b"a", b'"}', size),
    "quotes": lambda size: again(b"", b'"', b"", size),
    "marks of byte order": lambda size: again(b"", b"\xef\xbb\xbf", b"", size),
    "UTF-16 with a mark": lambda size: tasks(size // 2, 12).decode().encode("utf-16"),
    "UTF-16 without a mark": lambda size: tasks(size // 2, 12).decode().encode("utf-16-le"),
    "UTF-32": lambda size: tasks(size // 4, 12).decode().encode("utf-32"),
    "zeros": lambda size: bytes(size),
    "spaces": lambda size: b" " * size,
    "line ends": lambda size: again(b'{"train":', b"\n", b"}", size),
    "empty tasks": lambda size: numbered(b"{", b'"%d":{}', b"}", size),
    "10,000 bad tasks": lambda size: numbered(b"{", b'"%d":{"train":[]}', b"}", min(size, 220_000)),
    "solutions": lambda size: numbered(b"{", b'"%d":[[[0]]]', b"}", min(size, 150_000)),
    "tasks of one cell": lambda size: tasks(size, 1),
    "commas": lambda size: again(b"[", b",", b"]", size),
    "colons": lambda size: again(b"{", b":", b"}", size),
}
KINDS = EARNEST | HOSTILE

MEASURE = """
import resource, sys
from pathlib import Path
from time import process_time
from arcspot.domain.tasks import describe, read_task_file
body = sys.stdin.buffer.read()
began = process_time()
found = read_task_file("tasks/b/x.json", body)
took = process_time() - began
# Linux tells a new process's ru_maxrss with what its parent had.
told = Path("/proc/self/status")
lines = told.read_text().splitlines() if told.exists() else []
high = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")]
peak = high[0] if high else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(took, peak, len(found.tasks), len(found.faults))
print(describe("", found.faults[0]) if found.faults else "")
"""


def measure(kind: str, size: int) -> dict[str, Any]:
    """Seconds of CPU to read such a file, and the most memory of a process that does nothing else."""
    body = KINDS[kind](size)
    ran = subprocess.run([sys.executable, "-c", MEASURE], input=body, capture_output=True, check=True)
    figures, said, *_ = ran.stdout.decode().split("\n")
    cpu, peak, read, faults = figures.split()
    return {
        "kind": kind, "bytes": len(body), "cpu_s": round(float(cpu), 3), "peak_bytes": int(peak),
        "tasks": int(read), "faults": int(faults), "said": said.removeprefix(": at "),
    }  # fmt: skip


def measured(kinds: list[str], sizes: list[int]) -> Iterator[dict[str, Any]]:
    for kind in kinds:
        for size in sizes:
            yield measure(kind, size)


def main(arguments: list[str]) -> None:
    from arcspot.domain.tasks import MAX_FILE_BYTES

    parser = argparse.ArgumentParser(
        prog="python -m bench reading",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kinds", nargs="*", metavar="KIND", help="part of a kind's name; default: all")
    parser.add_argument("--mib", type=int, action="append", help="default: 5 and the most a file may have")
    options = parser.parse_args(arguments)
    asked = [kind for kind in KINDS if not options.kinds or any(part in kind for part in options.kinds)]
    sizes = [mib << 20 for mib in options.mib or (5, MAX_FILE_BYTES >> 20)]
    head = "| file | size | CPU | memory, at most | tasks | what is said |"
    saying.out(head, "|---|---|---|---|---|---|")
    worst_s, worst_bytes = 0.0, 0
    for each in measured(asked, sizes):
        worst_s, worst_bytes = max(worst_s, each["cpu_s"]), max(worst_bytes, each["peak_bytes"])
        said = each["said"] if len(each["said"]) < 100 else each["said"][:99] + "…"
        saying.out(
            f"| {each['kind']} | {each['bytes'] / 2**20:.1f} MiB | {each['cpu_s']:.2f} s "
            f"| {each['peak_bytes'] / 2**20:.0f} MiB | {each['tasks']:,} | {said} |"
        )
    saying.out("", f"at most {worst_s:.2f} s of CPU and {worst_bytes / 2**20:.0f} MiB")
