"""Text that strangers wrote, made safe where it leaves: one function for each edge.

A task's id, a file's name, a key, an error that quotes any of them, a line of a runner's log, what AWS says:
whoever wrote it chose every character. Inside, text stays as it is. At the edge it goes through exactly one
of these, and only modules at the edge write to the raw sinks (tests/contract/test_edges.py walks them all).

| edge | function | who calls it |
|---|---|---|
| terminal | `line`, `coloured` | `arcspot_cli/terminal.py` |
| mail | `subject`, `body`; `line` for a stranger's words within it | `aws/messages.py`, who writes it |
| log | `log_line` | the handlers' loggers, `gpu_runner/logs.py` |
| HTML, SVG | `markup` | `domain/drawing.py` and the pages |
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from html import escape
from itertools import islice
from typing import Any

MOST_OF_A_LINE = 4_000
"""Characters of a line in a terminal: a summary of 400 tasks fits, and 10 KB of one name do not."""

MOST_OF_A_NAME = 200
"""Of a stranger's words within a sentence of ours."""

MOST_OF_A_SUBJECT = 99
"""SNS: a subject is shorter than 100 characters. https://docs.aws.amazon.com/sns/latest/api/API_Publish.html"""

MOST_OF_A_BODY = 256 * 1024
MOST_OF_A_MAILED_LINE = 1_000
MOST_OF_A_LOGGED_TEXT = 4_000
MOST_OF_A_LOGGED_LINE = 24_000
MOST_LOGGED_VALUES = 1_000
MOST_LOGGED_LEVELS = 8

_COLOUR = re.compile(r"(\x1b\[[0-9;]{0,40}m)")
_WIDE_SPACES = "\u00a0\u3000"  # of French and Japanese: they hide nothing


def line(text: object, *, most: int = MOST_OF_A_LINE) -> str:
    """One line that a terminal, a pager or a mail shows as it is: what is not printable is told as `\\x1b`.

    That takes line ends, everything that moves a cursor, and whatever turns or hides the text around it.
    """
    told = str(text)
    cut = told if len(told) <= most else told[: most - 1] + "…"
    return cut if cut.isprintable() else _visible(cut, _WIDE_SPACES)


def _visible(text: str, kept: str) -> str:
    return "".join(c if c.isprintable() or c in kept else c.encode("unicode_escape").decode() for c in text)


def coloured(text: str) -> str:
    """A line of a picture that we drew: as `line`, but colours stay."""
    return "".join(
        part if _COLOUR.fullmatch(part) else line(part, most=100_000) for part in _COLOUR.split(text)
    )


def subject(text: str) -> str:
    """A mail's subject as SNS takes it: 1 to 99 printable ASCII characters that begin with no space."""
    plain = "".join(c if " " <= c <= "~" else "?" for c in " ".join(text.split()))
    return plain[:MOST_OF_A_SUBJECT].strip() or "arcspot"


def body(text: str) -> str:
    """A mail's text as SNS takes it: 1 byte to 256 KiB of UTF-8; of what is not printable, line ends stay."""
    lines = (line(each, most=MOST_OF_A_MAILED_LINE) for each in text.split("\n"))
    cut = "\n".join(lines).encode()[:MOST_OF_A_BODY].decode("utf-8", "ignore")
    return cut if cut.strip() else "arcspot"


def log_line(entry: Mapping[str, Any]) -> str:
    """One line of a log: a JSON object in ASCII whose texts, values and depth are bounded."""
    return json.dumps(_bounded(entry, 0, Room()))


class Room:
    """What is left of a line for values and characters."""

    def __init__(self) -> None:
        self.values, self.characters = MOST_LOGGED_VALUES, MOST_OF_A_LOGGED_LINE

    def take(self, text: str) -> str:
        """As much of the text as there is room for."""
        told = _shortened(text, min(MOST_OF_A_LOGGED_TEXT, max(self.characters, 0)))
        self.characters -= len(told)
        return told


def _bounded(value: Any, level: int, room: Room) -> Any:
    room.values -= 1
    if room.values < 0 or level > MOST_LOGGED_LEVELS:
        return "…"
    if isinstance(value, str):
        return room.take(value)
    if isinstance(value, Mapping):
        some = islice(value.items(), max(room.values, 0))
        return {
            room.take(_said(name)[:MOST_OF_A_NAME]): _bounded(each, level + 1, room) for name, each in some
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_bounded(each, level + 1, room) for each in islice(value, max(room.values, 0))]
    if value is None or isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 2**63):
        return value
    return room.take(_said(value))


def _shortened(text: str, most: int = MOST_OF_A_LOGGED_TEXT) -> str:
    """Its beginning and its end, where a traceback says what happened."""
    half = most // 2
    return text if len(text) <= most else f"{text[:half]}…{text[len(text) - half :]}"


def _said(value: object) -> str:
    """Whatever it is, in words; no object's own words end a log."""
    try:
        return _shortened(str(value))
    except Exception as fault:
        return f"{type(value).__name__} that says nothing ({type(fault).__name__})"


def markup(text: object) -> str:
    """Text for HTML and SVG, between tags or within a quoted attribute: five characters as entities, and what
    XML cannot write, or what hides or turns the text around it, told as `\\u202e`."""
    told = str(text)
    return escape(told if told.isprintable() else _visible(told, "\t\n\r" + _WIDE_SPACES))
