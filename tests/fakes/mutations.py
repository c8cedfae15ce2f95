"""Other values in the place of each value of a JSON document: what a stranger may write."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

HUGE = 10**30
VALUES: tuple[Any, ...] = (None, True, -1, 5, HUGE, 1.5, float("nan"), float("inf"), "", "x", [], {}, [[]])
"""One of each kind of JSON, and what Python's reader takes beyond it."""


def places(document: Any, path: tuple[Any, ...] = (), *, most: int = 3) -> Iterator[tuple[Any, ...]]:
    """The path of every value; of a long list only the first `most`."""
    yield path
    if isinstance(document, dict):
        for key, value in document.items():
            yield from places(value, (*path, key), most=most)
    elif isinstance(document, list | tuple):
        for index, value in enumerate(document[:most]):
            yield from places(value, (*path, index), most=most)


def replaced(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy with another value at this path."""
    if not path:
        return value
    found = copy.deepcopy(document)
    at = found
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return found


def without(document: Any, path: tuple[Any, ...]) -> Any:
    """A copy without what lies at this path, which is not the whole."""
    found = copy.deepcopy(document)
    at = found
    for step in path[:-1]:
        at = at[step]
    del at[path[-1]]
    return found


def mutants(document: Any, values: Sequence[Any] = VALUES, *, most: int = 3) -> Iterator[Any]:
    """Each value replaced by each other; each left out; each object with a key too many."""
    for path in places(document, most=most):
        if path:
            yield without(document, path)
        for value in values:
            yield replaced(document, path, copy.deepcopy(value))
        at = document
        for step in path:
            at = at[step]
        if isinstance(at, dict):
            yield replaced(document, path, {**at, "\u202e<b>": 1})
