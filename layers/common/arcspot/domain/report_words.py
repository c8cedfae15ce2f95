"""How states, money and time are written for people."""

from __future__ import annotations

from collections.abc import Mapping

STATE_ORDER = ("DONE", "LEASED", "READY", "DEAD", "REJECTED", "CANCELLED", "EXPIRED", "UNREADABLE")
STATE_WORDS = {
    "DONE": "answered",
    "LEASED": "running",
    "READY": "waiting",
    "DEAD": "given up",
    "REJECTED": "rejected",
    "CANCELLED": "cancelled",
    "EXPIRED": "expired",
    "UNREADABLE": "row unreadable",
}


def states(counts: Mapping[str, int]) -> list[tuple[str, str, int]]:
    """(state, word, count) of those that occur, in a fixed order; unknown states last."""
    known = [*STATE_ORDER, *sorted(set(counts) - set(STATE_ORDER))]
    return [
        (state, STATE_WORDS.get(state, state.lower()), counts[state]) for state in known if counts.get(state)
    ]


def numbered(count: int, word: str) -> str:
    """`1 task`, `1,200 tasks`."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def usd(micros: int) -> str:
    """Money for a person: cents above a dollar, four digits below."""
    places = 2 if abs(micros) >= 1_000_000 else 4
    return f"${micros / 1_000_000:,.{places}f}"


def duration(seconds: float) -> str:
    """``8.4 s``, ``3 min 05 s``, ``2 h 07 min``."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
