"""The terminal of the commands that train: one line an argument, whatever somebody called a file.

`arcspot.domain.edges.line` in small: models are trained where there is torch and no arcspot.
tests/contract/test_edges.py holds the two against each other.
"""

from __future__ import annotations

import sys
from typing import TextIO

MOST = 4_000
WIDE_SPACES = "\u00a0\u3000"


def line(text: object) -> str:
    """One line that a terminal shows as it is."""
    told = str(text)
    cut = told if len(told) <= MOST else told[: MOST - 1] + "…"
    return "".join(
        c if c.isprintable() or c in WIDE_SPACES else c.encode("unicode_escape").decode() for c in cut
    )


def out(*lines: object, file: TextIO | None = None) -> None:
    """Lines on stdout."""
    for each in lines:
        print(line(each), file=file, flush=True)


def err(*lines: object) -> None:
    """Lines on stderr."""
    out(*lines, file=sys.stderr)


def rewritten(text: object, *, last: bool) -> None:
    """The line on stderr that is there already, anew; the `last` one stays."""
    print(f"\r{line(text)}", end="\n" if last else "", file=sys.stderr, flush=True)
