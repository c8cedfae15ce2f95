"""Measure what arcspot promises and write the figures down.

    python -m bench all                  # everything but the solver's four tasks: some minutes
    python -m bench all --arc DIR        # those too; DIR holds ARC's training tasks
    python -m bench imports help         # only these; the names are those of ORDER below
    python -m bench table                # the Markdown table of what was measured so far
    python -m bench ablate DIR           # the network with one thing changed at a time: hours
    python -m bench calibrate FILE.json  # the solver's confidence, fitted to evaluations; --help tells more
    python -m bench rules DIR            # what the small rules alone answer, and how often they are right
    python -m bench growth               # how every function grows with jobs and instances; fails if too fast
    python -m bench dropping             # 100,000 files at once: processor a file here, minutes on Lambda
    python -m bench ramp                 # how fast a fleet grows, by rules for the step
    python -m bench reading              # what one task file costs to read, honest and hostile
    python -m bench precision            # the solver's steps on this CPU: fp32 beside bf16
    python -m bench gpu                  # the solver's steps on a GPU: eager, as graphs, stacked
    python -m bench compressarc --help   # CompressARC and arcspot on the same tasks and seconds

Each measurement writes `bench/out/<name>.json`. No other stack of this checkout may be up.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.bill import cost, lines
from bench.claims import claims
from bench.control_plane import simulate
from bench.dropping import dropping
from bench.growth import growth
from bench.ingest import ingest
from bench.machine import commit, machine, today
from bench.quick import help_text, imports
from bench.report import measured as report
from bench.table import table
from bench.whole import demo, solve, stack
from gpu_runner import saying

PROJECT = Path(__file__).resolve().parents[1]
OUT = PROJECT / "bench" / "out"
ORDER = (
    "imports", "help", "stack", "ingest", "report", "claims", "dropping", "cost", "growth", "simulate",
    "demo", "solve",
)  # fmt: skip


OTHERS = (
    "ablate", "calibrate", "compressarc", "dropping", "gpu", "growth", "precision", "ramp", "reading", "rules"
)  # fmt: skip
"""Modules with options of their own, loaded when they are asked for: some need torch."""


def main() -> None:
    if len(sys.argv) > 1 and sys.argv[1] in OTHERS:
        importlib.import_module(f"bench.{sys.argv[1]}").main(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="*", choices=(*ORDER, "all", "table"), default="all")
    parser.add_argument("--arc", type=Path, help="folder of ARC's training tasks, for solve")
    options = parser.parse_args()
    wanted = set(ORDER) if "all" in options.what else set(options.what) & set(ORDER)
    if options.arc is None:
        if "solve" in options.what:
            parser.error("solve needs --arc DIR, the folder of ARC's training tasks")
        wanted.discard("solve")

    measurements: dict[str, Callable[[], dict[str, Any]]] = {
        "imports": lambda: imports(PROJECT),
        "help": lambda: help_text(PROJECT),
        "stack": lambda: stack(PROJECT, say),
        "ingest": lambda: ingest(PROJECT, say),
        "report": lambda: report(say),
        "dropping": dropping,
        "claims": claims,
        "cost": lambda: cost(PROJECT),
        "growth": growth,
        "simulate": lambda: simulate(PROJECT, say),
        "demo": lambda: demo(PROJECT, say),
        "solve": lambda: solve(options.arc, say),
    }
    OUT.mkdir(parents=True, exist_ok=True)
    for name in ORDER:
        if name in wanted:
            say(f"measuring {name}")
            about = {"machine": machine(), "commit": commit(PROJECT), "date": today()}
            found = about | measurements[name]()
            (OUT / f"{name}.json").write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    if "cost" in wanted:
        saying.out(*lines(_read("cost")).splitlines())
    results = {name: _read(name) for name in ORDER if (OUT / f"{name}.json").exists()}
    saying.out(*table(results).splitlines())
    if wrong := results.get("growth", {}).get("faults") if "growth" in wanted else None:
        sys.exit("\n".join(wrong))


def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((OUT / f"{name}.json").read_text())
    return found


def say(line: str) -> None:
    saying.err(f"bench: {line}")


if __name__ == "__main__":
    main()
