"""CloudWatch's filter patterns over JSON lines, as far as the template uses them.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntaxForMetricFilters.html
"""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from typing import Any

_TERM = re.compile(r'\(\$((?:\.\w+)+) = "([^"]*)"\)')


def terms(pattern: str) -> list[tuple[list[str], str]]:
    """(path, wanted text) of each alternative. Raises ValueError for a pattern that says anything else."""
    inner = re.fullmatch(r"\{ (.*) \}", pattern)
    parts = inner[1].split(" || ") if inner else []
    found = [_TERM.fullmatch(part) for part in parts]
    if not found or not all(found):
        raise ValueError(f"not understood: {pattern}")
    return [(each[1].split(".")[1:], each[2]) for each in found if each]


def matches(pattern: str, line: str) -> bool:
    """Whether a log line counts. Text is compared as it stands, with * for anything."""
    try:
        told = json.loads(line)
    except ValueError:
        return False
    return any(_fits(told, path, wanted) for path, wanted in terms(pattern))


def _fits(node: Any, path: list[str], wanted: str) -> bool:
    for name in path:
        if not isinstance(node, dict) or name not in node:
            return False
        node = node[name]
    return isinstance(node, str) and fnmatchcase(node, wanted.replace("[", "[[]"))
