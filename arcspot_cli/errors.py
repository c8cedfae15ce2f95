"""What goes wrong at the command line: one clear sentence, and the next step."""

from __future__ import annotations

from arcspot.errors import ArcspotError


class CommandFailed(ArcspotError):
    """A command cannot go on; the message says why and what to try next, each argument a line of its own."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines
