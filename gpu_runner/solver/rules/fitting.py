"""Pictures of pieces fitted into a box: where their colours meet its own, where they fill its holes, as large
as it allows, or all of them side by side until it is full.

A *guest* is a group of cells outside of the box (the *host*). It is laid, turned and enlarged as the way of
fitting allows, where it fits best; a guest that fits equally well in several places is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .grids import FOUR, Box, Cells, Mask, background, components, turned

MOST_GUESTS = 12

SIDES = (0, 1, 3, 4, 6, 2, 5, 7)
"""As `turned` counts them; of several that fit as well the first is taken."""

MOST_PACKED = 6
MOST_PACKINGS = 200_000
"""Guests that are packed, and ways to lay them that are tried at most."""

CENTRED = 100
"""Steps away from the middle that a neighbour of the same colour outweighs."""

Score = Callable[[Cells, Cells, int], Cells]
"""(host, guest, ground) → for every offset how well the guest fits there; 0 or less: not at all."""


@dataclass(frozen=True, slots=True)
class Fit:
    score: Score
    turned: bool = False
    enlarged: bool = False


def fitted(grid: Cells, box: Box, name: str) -> Cells:
    """The box after all guests that fit, in one of the ways in FITS, have been laid into it."""
    ground = background(grid)
    top, left, bottom, right = box
    host = grid[top:bottom, left:right].copy()
    guests = _guests(grid, box, ground)
    if not 0 < len(guests) <= MOST_GUESTS:
        return host
    fit = WAYS.get(name)
    return _filled(host, guests[0], ground) if fit is None else _all_laid(host, guests, ground, fit)


def _guests(grid: Cells, box: Box, ground: int) -> list[Cells]:
    """The groups outside of the box, the largest first."""
    top, left, bottom, right = box
    within = grid != ground
    within[top:bottom, left:right] = False
    found, _ = components(grid, eight=True, by_colour=False, within=within)
    guests = []
    for one in sorted(found, key=lambda one: -one.size):
        guest = np.full(one.shape, ground)
        guest[one.rows - one.box[0], one.columns - one.box[1]] = one.colours
        guests.append(guest)
    return guests


def _all_laid(host: Cells, guests: Sequence[Cells], ground: int, fit: Fit) -> Cells:
    """One after the other, again those that had several places as long as others find theirs."""
    while guests:
        unlaid = []
        for guest in guests:
            laid = _laid(host, guest, ground, fit)
            if laid is None:
                unlaid.append(guest)
            else:
                host = laid
        if len(unlaid) == len(guests):
            break
        guests = unlaid
    return host


def _laid(host: Cells, guest: Cells, ground: int, fit: Fit) -> Cells | None:
    best, drawn = 0, dict[bytes, Cells]()
    for side, times in product(SIDES if fit.turned else SIDES[:1], _scales(host, guest, fit)):
        small = turned(guest, side)
        one = small.repeat(times, 0).repeat(times, 1)
        if one.shape[0] > host.shape[0] or one.shape[1] > host.shape[1]:
            continue
        scores = fit.score(host, one, ground)
        if times > 1:
            scores = np.where(_mixed(host, small, ground, times), 0, scores)
        most = int(scores.max())
        if most > best:
            best, drawn = most, {}
            for row, column in np.argwhere(scores == most)[:2].tolist():
                laid = _drawn(host, one, row, column, ground)
                drawn[laid.tobytes()] = laid
    return next(iter(drawn.values())) if len(drawn) == 1 else None


def _scales(host: Cells, guest: Cells, fit: Fit) -> range:
    return range(1, 1 + (max(host.shape) // max(guest.shape) if fit.enlarged else 1))


def _drawn(host: Cells, guest: Cells, row: int, column: int, ground: int) -> Cells:
    drawn = host.copy()
    under = drawn[row : row + guest.shape[0], column : column + guest.shape[1]]
    np.copyto(under, guest, where=guest != ground)
    return drawn


def _mixed(host: Cells, guest: Cells, ground: int, times: int) -> Mask:
    """Offsets at which an enlarged cell of the guest lies over more than one colour."""
    tall, wide = guest.shape
    windows = sliding_window_view(host, (tall * times, wide * times))
    blocks = windows.reshape(*windows.shape[:2], tall, times, wide, times)
    several = blocks.max((3, 5)) != blocks.min((3, 5))
    found: Mask = (several & (guest != ground)).any((2, 3))
    return found


def _matched(host: Cells, guest: Cells, ground: int) -> Cells:
    """Cells drawn alike in both; none may be drawn otherwise."""
    windows = sliding_window_view(host, guest.shape)
    both = (windows != ground) & (guest != ground)
    alike = both & (windows == guest)
    found: Cells = np.where((both & ~alike).any((2, 3)), 0, alike.sum((2, 3)))
    return found


def _beside(host: Cells, guest: Cells, ground: int) -> Cells:
    """Neighbours of one colour, less those of different ones, where nothing is covered; near the middle."""
    filled = guest != ground
    free = sliding_window_view(host == ground, guest.shape)
    fits = (free | ~filled).all((2, 3))
    scores = np.zeros(fits.shape, np.int64)
    rim = np.pad(host, 1, constant_values=ground)
    height, width = host.shape
    for down, across in FOUR:
        beside = rim[1 + down : 1 + down + height, 1 + across : 1 + across + width]
        near = sliding_window_view(beside, guest.shape)
        meet = (near != ground) & filled
        scores += (meet & (near == guest)).sum((2, 3)) - (meet & (near != guest)).sum((2, 3))
    row, column = np.indices(fits.shape)
    aside = abs(2 * row - fits.shape[0] + 1) + abs(2 * column - fits.shape[1] + 1)
    found: Cells = np.where(fits & (scores > 0), scores * CENTRED - aside, 0)
    return found


def _locked(host: Cells, guest: Cells, ground: int) -> Cells:
    """Holes under the guest that its cells in the host's colour fill; it may leave none open."""
    counts = np.bincount(host[host != ground], minlength=1)
    key = guest == int(counts.argmax())
    holes = sliding_window_view(host == ground, guest.shape)
    found: Cells = np.where((holes == key).all((2, 3)), int(key.sum()), 0)
    return found


def _filled(host: Cells, guest: Cells, ground: int) -> Cells:
    """With a guest in the middle, as large as the box, or what its ring leaves of it, allows."""
    ringed = min(host.shape) > 2 and len({*host[0], *host[-1], *host[:, 0], *host[:, -1]}) == 1
    inner = host[1:-1, 1:-1] if ringed else host
    times = min(inner.shape[0] // guest.shape[0], inner.shape[1] // guest.shape[1])
    if times < 1:
        return host
    one = guest.repeat(times, 0).repeat(times, 1)
    row, column = (inner.shape[0] - one.shape[0]) // 2, (inner.shape[1] - one.shape[1]) // 2
    return _drawn(host, one, row + ringed, column + ringed, ground)


WAYS: dict[str, Fit] = {
    "matched": Fit(_matched),
    "matched, turned": Fit(_matched, turned=True),
    "matched, enlarged": Fit(_matched, enlarged=True),
    "matched, turned, enlarged": Fit(_matched, turned=True, enlarged=True),
    "beside": Fit(_beside),
    "beside, turned": Fit(_beside, turned=True),
    "locked": Fit(_locked),
    "locked, turned": Fit(_locked, turned=True),
}

FITS = (*WAYS, "filling")


def packed(grid: Cells, height: int, width: int) -> Cells | None:
    """All groups of a grid laid into a box, as they are, so that as much of its border is filled as can be;
    None where there is no way, or several."""
    ground = background(grid)
    guests = _guests(grid, (0, 0, 0, 0), ground)
    cells = sum(int((guest != ground).sum()) for guest in guests)
    if not 2 <= len(guests) <= MOST_PACKED or cells > height * width:
        return None
    ways = [list(_offsets(guest, height, width, ground)) for guest in guests]
    if not 0 < np.prod([len(way) for way in ways], dtype=float) <= MOST_PACKINGS:
        return None
    border = np.ones((height, width), bool)
    border[1:-1, 1:-1] = False
    best, found = -1, dict[bytes, Cells]()
    for laid in _packings(ways, np.full((height, width), ground), ground):
        filled = int(((laid != ground) & border).sum())
        if filled > best:
            best, found = filled, {}
        if filled == best:
            found[laid.tobytes()] = laid
    return next(iter(found.values())) if len(found) == 1 else None


def _offsets(guest: Cells, height: int, width: int, ground: int) -> Iterator[Cells]:
    for row in range(height - guest.shape[0] + 1):
        for column in range(width - guest.shape[1] + 1):
            yield _drawn(np.full((height, width), ground), guest, row, column, ground)


def _packings(ways: Sequence[Sequence[Cells]], under: Cells, ground: int) -> Iterator[Cells]:
    """What all guests draw where none covers another. ways: for each guest the boxes with it alone."""
    if not ways:
        yield under
        return
    for one in ways[0]:
        if not ((one != ground) & (under != ground)).any():
            yield from _packings(ways[1:], np.where(one != ground, one, under), ground)
