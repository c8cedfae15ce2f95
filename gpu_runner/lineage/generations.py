"""Which checkpoint of the lineage is the newest, where a run begins, and what is kept.

A generation is a stable checkpoint (the weights before the decay, which a run can go on from) and its card.
Everything here is over plain data: a card is the JSON that the pretraining wrote.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Card = Mapping[str, Any]

STABLE = ".stable.safetensors"
MILLION = 1_000_000
GENERATIONS = 2

LEAST = 1000
"""Samples that are worth a generation's megabytes, and that its name can tell."""


def samples_seen(card: Card) -> int:
    """Samples that went into a checkpoint, those of all its ancestors included.

    Cards from before `samples_seen` have their own run's `samples`, and what the run started from under
    the call that started it; an ancestor without a card counts as nothing.
    """
    if "samples_seen" in card:
        return int(card["samples_seen"])
    ancestors = [call["started_from"] for call in card.get("history", ()) if "started_from" in call]
    return int(card.get("samples", 0)) + sum(map(samples_seen, ancestors[:1]))


@dataclass(frozen=True, slots=True)
class Generation:
    """stable: the checkpoint's file; seen: samples in all; card: the JSON beside it."""

    config: str
    seen: int
    stable: Path
    card: Card

    @property
    def thousands(self) -> int:
        return round(self.seen / 1000)

    @property
    def stem(self) -> str:
        """Its name in the lineage: 'xs6-947k'."""
        return f"{self.config}-{self.thousands}k"


def newest(generations: Sequence[Generation]) -> Generation | None:
    """The one that has seen most; of equals the first."""
    return max(generations, key=lambda one: one.seen, default=None)


def cards_of(checkpoint: Path) -> tuple[Path, ...]:
    """Where its card may lie: 'xs6.stable.json' or, as in the lineage, 'xs6-947k.json'."""
    own = checkpoint.with_suffix(".json")
    whole = checkpoint.with_name(checkpoint.name.removesuffix(STABLE) + ".json")
    return (own, whole) if checkpoint.name.endswith(STABLE) else (own,)


@dataclass(frozen=True, slots=True)
class Begin:
    """Where a run begins: a generation, else the kept state, else (neither) random weights. seen: samples in
    all by then; set_aside: whether a kept state has to make room first."""

    generation: Generation | None
    from_state: bool
    seen: int
    set_aside: bool = False


def where_to_begin(generations: Sequence[Generation], state_seen: int | None) -> Begin:
    """From what has seen more samples; of equals from the state, which has the optimiser's moments as well.

    `state_seen` is None where no state is kept. Two forks meet here: the one with more samples wins.
    """
    found = newest(generations)
    if state_seen is not None and (found is None or state_seen >= found.seen):
        return Begin(None, from_state=True, seen=state_seen)
    seen = 0 if found is None else found.seen
    return Begin(found, from_state=False, seen=seen, set_aside=state_seen is not None)


def superseded(generations: Sequence[Generation], *, keep: int = GENERATIONS) -> list[Generation]:
    """All but the `keep` generations that have seen most, of one configuration."""
    return sorted(generations, key=lambda one: one.seen, reverse=True)[keep:]


def gained(candidate: Generation, latest: Generation | None) -> int:
    """Samples that the candidate has seen more than the newest generation. 0 where both would have one
    name: a generation of less than a thousand samples is not worth its megabytes."""
    if latest is None:
        return candidate.seen
    return max(0, candidate.seen - latest.seen) if candidate.thousands > latest.thousands else 0
