"""A task as the solver sees it: demonstrations and test inputs, nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .canvas import COLOURS, MAX_SIDE, Grid, base_scale, half_for
from .errors import BadTask
from .sizes import Size, SizeRule, size_rule


@dataclass(frozen=True, slots=True)
class Task:
    """Checked grids. Test outputs, where the file has them, are never read: even their size is a leak."""

    demos: tuple[tuple[Grid, Grid], ...]
    tests: tuple[Grid, ...]

    @classmethod
    def from_json(cls, task: dict[str, Any]) -> Task:
        """Raises BadTask where a grid is missing, ragged, out of 1..30 cells a side or of 0..9."""
        try:
            train, test = task["train"], task["test"]
            demos = tuple(
                (_grid(p["input"], f"train[{n}].input"), _grid(p["output"], f"train[{n}].output"))
                for n, p in enumerate(train)
            )
            tests = tuple(_grid(p["input"], f"test[{n}].input") for n, p in enumerate(test))
        except (KeyError, TypeError) as error:
            raise BadTask(f"a task has train pairs and test inputs: {error!r} is wrong or missing") from error
        if not demos or not tests:
            raise BadTask("a task needs at least one demonstration and one test input")
        return cls(demos, tests)

    @property
    def rule(self) -> SizeRule:
        return size_rule([(size_of(i), size_of(o)) for i, o in self.demos])

    def answer_size(self, test: int) -> Size | None:
        return self.rule.size(*size_of(self.tests[test]))

    @property
    def free_colours(self) -> tuple[int, ...]:
        """Colours that may be exchangeable: all but 0 and those that the outputs bring in.

        None are where the demonstrations bring in different colours, as a recolouring by a table does:
        there every colour has a meaning of its own.
        """
        seen = [(_colours(i), _colours(o)) for i, o in self.demos]
        brought = {o - i for i, o in seen}
        if len(brought) > 1:
            return ()
        return tuple(c for c in range(1, COLOURS) if c not in next(iter(brought)))

    @property
    def longest(self) -> int:
        """The longest side of any grid, the expected answers included."""
        expected = [self.answer_size(n) or (1, 1) for n in range(len(self.tests))]
        seen = [size_of(g) for pair in self.demos for g in pair] + [size_of(g) for g in self.tests]
        return max(side for size in [*seen, *expected] for side in size)

    @property
    def scale(self) -> int:
        """The scale to draw at, most of the time."""
        return base_scale(self.longest)

    @property
    def half(self) -> int:
        """The smallest canvas that holds the whole task at that scale."""
        return half_for(self.longest, self.scale)


def size_of(grid: Grid) -> Size:
    return len(grid), len(grid[0])


def _colours(grid: Grid) -> frozenset[int]:
    return frozenset(cell for row in grid for cell in row)


def _grid(value: Any, where: str) -> Grid:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_SIDE:
        raise BadTask(f"{where}: expected 1..{MAX_SIDE} rows")
    if not all(isinstance(row, list) and len(row) == len(value[0]) for row in value):
        raise BadTask(f"{where}: rows differ in length")
    if not 1 <= len(value[0]) <= MAX_SIDE:
        raise BadTask(f"{where}: expected 1..{MAX_SIDE} columns")
    if not all(type(cell) is int and 0 <= cell < COLOURS for row in value for cell in row):
        raise BadTask(f"{where}: cells are whole numbers 0..9")
    return [list(row) for row in value]
