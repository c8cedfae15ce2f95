"""The kinds of rules, and how they are read back from text.

Drawings have theirs in `drawing.rules`, programs in `programs.rules`, rules around other rules in
`normal.wrapped`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from . import trees
from .arranging import arranged_from_json
from .before import CHANGES
from .canvas import canvas
from .drawing.growing import Repeated
from .drawing.rules import drawn_from_json
from .drawing.sweeping import swept_from_json
from .grids import Cells
from .hosting import hosted_from_json
from .mosaics import Mosaic
from .normal.frames import scheme_from_json
from .normal.wrapped import Framed, parted_from
from .objects.rules import acted_from_json
from .picking import picked_from_json
from .programs.rules import read as read_composed
from .programs.search import Program, program_from_json
from .selecting import FAMILIES, Choice
from .sights import Sheet, look, second_look
from .terms import Rule
from .views import MAX_SIDE, VIEWS, View


def view_named(told: Sequence[Any]) -> View:
    """The view that `to_json` told of. Raises ValueError."""
    name, numbers = told[0], tuple(int(number) for number in told[1:])
    make = {**VIEWS, "canvas": canvas}.get(name)
    if make is None:
        raise ValueError(f"no view is called {name!r}")
    if not all(0 <= number <= MAX_SIDE for number in numbers):
        raise ValueError(f"the view {name!r} has numbers beyond 0..{MAX_SIDE}: {numbers}")
    return make(*numbers)


@dataclass(frozen=True, slots=True)
class Seen:
    """A tree over the cells of a view."""

    view: View
    tree: trees.Node

    def answer(self, grid: Cells) -> Cells | None:
        sheet = _sheet_of(self.view.name, self.view.numbers, grid.tobytes(), grid.shape)
        return None if sheet is None else trees.told(self.tree, sheet)

    def to_json(self) -> Any:
        return ["seen", self.view.to_json(), self.tree.to_json()]


@dataclass(frozen=True, slots=True)
class Again:
    """A second look at what a first, rough tree makes of the grid."""

    first: Seen
    tree: trees.Node

    def answer(self, grid: Cells) -> Cells | None:
        rough = self.first.answer(grid)
        return None if rough is None else trees.told(self.tree, second_look(grid, rough))

    def to_json(self) -> Any:
        return ["again", self.first.to_json(), self.tree.to_json()]


@dataclass(frozen=True, slots=True)
class After:
    """A rule that looks at the grid after a change."""

    change: str
    rule: Seen | Cut

    def answer(self, grid: Cells) -> Cells | None:
        changed = CHANGES[self.change](grid)
        return None if changed is None else self.rule.answer(changed)

    def to_json(self) -> Any:
        return ["after", self.change, self.rule.to_json()]


@dataclass(frozen=True, slots=True)
class Continued:
    """A rule for grids whose shape stays, on what a program draws."""

    program: Program
    rule: Rule

    def answer(self, grid: Cells) -> Cells | None:
        drawn = self.program.answer(grid)
        return None if drawn is None else self.rule.answer(drawn)

    def to_json(self) -> Any:
        return ["continued", self.program.to_json(), self.rule.to_json()]


@lru_cache(maxsize=16)
def _sheet_of(name: str, numbers: tuple[int, ...], cells: bytes, shape: tuple[int, ...]) -> Sheet | None:
    """A view's sheet of a grid: dozens of rules look at the same few, and one takes tenths of a second."""
    return view_named((name, *numbers)).sheet(np.frombuffer(cells, np.int64).reshape(shape))


@dataclass(frozen=True, slots=True)
class Cut:
    """A part of the grid as it is, or recoloured by a tree over its cells."""

    choice: Choice
    tree: trees.Node | None

    def answer(self, grid: Cells) -> Cells | None:
        part = self.choice.cut(grid)
        if part is None or self.tree is None:
            return part
        return trees.told(self.tree, look(part, place=False))

    def to_json(self) -> Any:
        choice = [self.choice.family, self.choice.how, self.choice.trait, self.choice.value]
        return ["cut", choice, None if self.tree is None else self.tree.to_json()]


@dataclass(frozen=True, slots=True)
class Uncovered:
    mosaic: Mosaic

    def answer(self, grid: Cells) -> Cells | None:
        return self.mosaic.answer(grid)

    def to_json(self) -> Any:
        return ["mosaic", self.mosaic.to_json()]


def rule_from_json(told: Any) -> Rule:
    """Raises ValueError on what no rule wrote."""
    try:
        by_program = read_composed(told)
        if by_program is not None:
            return by_program
        match told:
            case ["seen", view, tree]:
                return Seen(view_named(view), trees.from_json(tree))
            case ["again", first, tree]:
                rough = rule_from_json(first)
                if isinstance(rough, Seen):
                    return Again(rough, trees.from_json(tree))
            case ["after", str(change), rule] if change in CHANGES:
                later = rule_from_json(rule)
                if isinstance(later, Seen | Cut):
                    return After(change, later)
            case ["cut", [str(family), str(how), str(trait), int(value)], tree] if family in FAMILIES:
                return Cut(Choice(family, how, trait, value), None if tree is None else trees.from_json(tree))
            case ["continued", program, rule]:
                later = rule_from_json(rule)
                if not isinstance(later, Continued):
                    return Continued(program_from_json(program), later)
            case ["arranged", *parts]:
                return arranged_from_json(parts)
            case ["hosted", *parts]:
                return hosted_from_json(parts)
            case ["picked", *parts]:
                return picked_from_json(parts)
            case ["followed" | "drawn" | "redrawn", *_]:
                return drawn_from_json(told)
            case ["acted" | "together" | "pictured" | "retouched", *_]:
                return acted_from_json(told)
            case ["framed", scheme, rule]:
                return Framed(scheme_from_json(scheme), rule_from_json(rule))
            case ["parted", str(cutter), str(layout), rule]:
                return parted_from(cutter, layout, rule_from_json(rule))
            case ["swept", *_]:
                return swept_from_json(told)
            case ["repeated", tree]:
                return Repeated(trees.from_json(tree))
            case ["mosaic", [int(cover), int(piece)]]:
                return Uncovered(Mosaic(cover, bool(piece)))
    except (TypeError, KeyError) as error:
        raise ValueError(f"a rule is damaged: {error!r}") from error
    raise ValueError(f"no rule: {json.dumps(told)[:80]}")
