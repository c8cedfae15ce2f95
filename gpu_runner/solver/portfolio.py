"""Hypotheses about a task's symmetry, the strongest first.

Under "exchangeable" the colours are shuffled anew in every sample while a dihedral view keeps its tokens: the
network cannot memorise colours, so three tiny demonstrations teach a rotation instead of themselves. Under
"specific" each of a few fixed colour permutations has tokens of its own. A hypothesis that cannot fit its own
augmented demonstrations is rejected.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from .augment import DIHEDRALS, Variant, variants
from .canvas import COLOURS
from .task import Task

EXCHANGEABLE = "exchangeable"
SPECIFIC = "specific"


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """views: the variants that have tokens; free: colours shuffled beneath them; rounds: how often each view
    is decoded, at different scales, offsets and shuffles."""

    name: str
    views: tuple[Variant, ...]
    free: tuple[int, ...]
    rounds: int

    def shuffles(self, size: int, generator: torch.Generator, *, plain: int) -> Tensor:
        """int64 [size, COLOURS]: the free colours shuffled, in all but the first `plain` samples."""
        device = generator.device
        colours = torch.arange(COLOURS, device=device).repeat(size, 1)
        if self.free:
            free = _on(device, self.free)
            keys = torch.rand(size, len(free), generator=generator, device=device)
            keys[:plain] = torch.arange(len(free), device=device).float()
            colours[:, free] = free[keys.argsort(1)]
        return colours


@lru_cache
def _on(device: torch.device, colours: tuple[int, ...]) -> Tensor:
    """Kept, for making a tensor of numbers of the host waits for a GPU."""
    return torch.tensor(colours, device=device)


LEAST_VIEWS = 96
MOST_COLOURINGS = 64


def _rounds(views: int) -> int:
    return max(4, LEAST_VIEWS // views)


def hypothesis(name: str, task: Task, *, dihedrals: int, colours: int, seed: int) -> Hypothesis:
    """Raises ValueError for a name that is none, or for more views than any recipe has."""
    if name not in (EXCHANGEABLE, SPECIFIC):
        raise ValueError(f"no hypothesis is called {name!r:.40}")
    if not (1 <= dihedrals <= DIHEDRALS and 1 <= colours <= MOST_COLOURINGS):
        raise ValueError(f"{dihedrals} dihedral moves and {colours} colourings")
    if name == EXCHANGEABLE:
        return Hypothesis(name, tuple(variants(dihedrals, 1, seed)), task.free_colours, _rounds(dihedrals))
    return Hypothesis(name, tuple(variants(dihedrals, colours, seed)), (), _rounds(dihedrals * colours))


def names_for(task: Task) -> tuple[str, ...]:
    """The hypotheses worth trying, in order."""
    return (EXCHANGEABLE, SPECIFIC) if len(task.free_colours) > 1 else (SPECIFIC,)
