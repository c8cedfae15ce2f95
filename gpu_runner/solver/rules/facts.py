"""Which facts each tree of a forest may use."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from .grids import Mask

SHARES = (0.3, 0.5, 0.7, 0.9)
"""Of the facts, one of which a tree over a random part of them may use."""

COLOURED = re.compile(r"(?: is| has|sees) [0-9]\b|grid has")
KINDS = (
    re.compile(r"object|group|room|own"),
    re.compile(r"seen|sees|between|nearest|next|distance|middle|own"),
    re.compile(r"filled|alike|next|neighbour|own|ring|edge|corner"),
)


def allowed(n: int, names: Sequence[str], rng: np.random.Generator) -> Mask | None:
    """The facts that the n-th tree may use: all; those that name no colour; one kind; else a random part, in
    every other tree of those that name no colour: a test may show other colours than the demonstrations."""
    if n == 0:
        return None
    colourless = np.array([not COLOURED.search(name) for name in names], bool)
    if n == 1:
        return colourless
    if n < 2 + len(KINDS):
        return np.array([KINDS[n - 2].search(name) is not None for name in names], bool)
    part: Mask = rng.random(len(names)) < rng.choice(SHARES)
    return part & colourless if n % 2 else part
