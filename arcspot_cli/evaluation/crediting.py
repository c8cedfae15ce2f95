"""What solved a task: rules, training, or both at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

ARMS = {"rules": "rules alone", "network": "the network alone", "both": "rules and training"}
"""Who was asked, by `--only`."""

RULES = "rules"
TRAINED = ("pointer", "spreader", "network")
"""What a network trained on the task proposed by itself, the transformer last."""

FILLER = "filler"
"""Nobody proposed the grid: it only made the second attempt another one, or there was nothing else to say."""
NOT_KNOWN = "not known"
"""The solver did not say, as in files from before it could."""


def credit(sources: Sequence[str] | None) -> str:
    """The name under which an attempt counts that these sources proposed; None where nobody said."""
    if sources is None:
        return NOT_KNOWN
    known = [name for name in (RULES, *TRAINED) if name in sources]
    return " and ".join([*known, *sorted(set(sources) - {RULES, *TRAINED})]) or FILLER


def solved_by(
    right: Sequence[Sequence[bool]], attempts_by: Sequence[Mapping[str, Sequence[str]]]
) -> dict[str, float]:
    """The share of test inputs that each credit answered; together the task's score.

    right: for each test input whether its first, its second attempt is right. The first right one counts.
    """
    found: dict[str, float] = {}
    for n, pair in enumerate(right):
        if any(pair):
            told = attempts_by[n] if n < len(attempts_by) else {}
            name = credit(told.get(f"attempt_{pair.index(True) + 1}"))
            found[name] = found.get(name, 0.0) + 1 / len(right)
    return found


def together(each: Sequence[tuple[float, Mapping[str, float]]]) -> dict[str, float]:
    """pass@2 in parts, the largest first. each: a task's score and the parts of it."""
    found: dict[str, float] = {}
    for score, parts in each:
        for name, share in (parts or ({NOT_KNOWN: score} if score else {})).items():
            found[name] = found.get(name, 0.0) + share / len(each)
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def by_training(parts: Mapping[str, float]) -> float:
    """What trained networks solved and no rule proposed."""
    return sum(parts.get(name, 0.0) for name in TRAINED)


def said(parts: Mapping[str, float]) -> str:
    """What solved a task, as part of a sentence; nothing where that is not known."""
    known = {name: share for name, share in parts.items() if name != NOT_KNOWN}
    if len(known) == len(parts) == 1:
        return f"by {next(iter(known))}"
    return ", ".join(f"{share:.0%} by {name}" for name, share in known.items())


def arm(document: Mapping[str, Any]) -> str:
    """Who was asked in an evaluation, in words; files from before there was a choice asked both."""
    only = document.get("settings", {}).get("only", "both")
    return ARMS.get(only, str(only))
