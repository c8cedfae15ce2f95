"""The machine images that arcspot knows, and how long AWS patches each. The facts are in images.json.

python -m arcspot_cli.images            # a warning when the default's end is near; never fails
python -m arcspot_cli.images torch      # one fact of the default line, for the Makefile
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from arcspot_cli import terminal

FACTS = Path(__file__).with_name("images.json")
WARN_DAYS = 60
"""So long before the end of a line's patches it is worth a word."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of Deep Learning AMIs: a parameter path that AWS keeps pointing at its newest build."""

    parameter: str
    torch: str
    """The framework's version, as 2.12."""
    python: str
    interpreter: str
    disk: str
    """Where the image mounts the instance store."""
    families: tuple[str, ...]
    """Instance families that the release notes name, as g4dn."""
    released_on: date
    end_of_patch: date
    source: str


@dataclass(frozen=True, slots=True)
class Images:
    lines: tuple[Line, ...]
    default: Line

    def line(self, parameter: str) -> Line | None:
        """The line behind a parameter path; a path may name another build than `latest`."""
        return next((line for line in self.lines if _family(line.parameter) == _family(parameter)), None)


def read(facts: Path = FACTS) -> Images:
    """Raises KeyError or ValueError when the file is not as it should be."""
    told = json.loads(facts.read_text())
    lines = tuple(
        Line(
            **{key: each[key] for key in ("parameter", "torch", "python", "interpreter", "disk", "source")},
            families=tuple(each["families"]),
            released_on=date.fromisoformat(each["released_on"]),
            end_of_patch=date.fromisoformat(each["end_of_patch"]),
        )
        for each in told["lines"]
    )
    (default,) = (line for line in lines if line.parameter == told["default"])
    return Images(lines, default)


def warning(line: Line, today: date) -> str | None:
    """What there is to say about a line's support, from `WARN_DAYS` before its end on."""
    days = (line.end_of_patch - today).days
    if days > WARN_DAYS:
        return None
    name = f"the image line with PyTorch {line.torch}"
    if days < 0:
        return f"{name} has had no patches since {line.end_of_patch}; choose a newer line with ImageParameter"
    return f"{name} gets its last patches on {line.end_of_patch}, in {days} days; choose a newer line"


def _family(parameter: str) -> str:
    """/aws/service/deeplearning/ami/x86_64/<family>/latest/ami-id → <family>; any other path as it is."""
    parts = parameter.split("/")
    return (
        parts[6] if parameter.startswith("/aws/service/deeplearning/ami/") and len(parts) > 6 else parameter
    )


def main(arguments: Sequence[str], today: date) -> str | None:
    """One fact of the default line, or the warning about it."""
    default = read().default
    return str(getattr(default, arguments[0])) if arguments else warning(default, today)


if __name__ == "__main__":
    said = main(sys.argv[1:], datetime.now(UTC).date())
    if said:
        terminal.out(said)
