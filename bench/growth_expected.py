"""How each round may grow: the exponent of its cost in jobs, and in instances.

0: the same however many there are; 1: in proportion. A round that grows faster than is written here fails
`python -m bench growth` and tests/unit/bench/test_growth.py. Whoever lowers one writes it down here; who has
to raise one needs a reason that a user would take.
"""

from __future__ import annotations

from collections.abc import Mapping

# A cost that grows as expected may seem to grow faster between two sizes: pages are whole.
TOLERANCE = 0.2

Exponents = tuple[int, int]

EXPECTED: Mapping[str, Exponents] = {
    "ingest, all files": (1, 0),
    "ingest, so many files more": (0, 0),
    "ingest, so many of them again": (0, 0),
    "ingest, the same messages again": (0, 0),
    "ingest, of a reported batch again": (0, 0),
    "launch": (0, 0),
    "launch, waits to boot": (0, 0),
    "launch, waits to serve": (0, 0),
    "runner: hello": (0, 0),
    "runner: claim": (0, 0),
    "runner: heartbeat": (0, 0),
    "runner: complete": (0, 0),
    "runner: fail": (0, 0),
    "runner: release": (0, 0),
    "runner: bye": (0, 0),
    # It reads each open launch, a hundred at once.
    "scale, jobs left": (0, 1),
    # It looks at each instance and at what it holds.
    "watchdog, jobs left": (0, 1),
    "report, jobs left": (0, 0),
    "retire: reclaim": (0, 0),
    "retire: terminate": (0, 0),
    "retire: settle": (0, 0),
    # Each answer is in the page and the submission.
    "report, all answered": (1, 0),
    # Each file's receipt, once; then a page of S3's listing for each thousand.
    "sweep, the first": (1, 0),
    "sweep, nothing new": (1, 0),
    "sweep, no event came": (1, 0),
}
