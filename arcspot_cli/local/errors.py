"""What can go wrong with the local stack, always with the next step in the message."""

from __future__ import annotations

from arcspot.errors import ArcspotError


class LocalStackError(ArcspotError):
    """The local stack cannot do what was asked; the message says what to do next, each argument a line."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines
