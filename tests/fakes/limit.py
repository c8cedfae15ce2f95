"""What a limit is that no service model holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

EVERY = ("*",)


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit that no model holds. `find` gives the values it is about; `holds` says whether one is taken."""

    service: str
    operations: tuple[str, ...]
    what: str
    find: Callable[[Mapping[str, Any]], Iterator[Any]]
    holds: Callable[[Any], bool]
    source: str


def field_of(name: str) -> Callable[[Mapping[str, Any]], Iterator[Any]]:
    """The value of one parameter, where it is given."""

    def find(params: Mapping[str, Any]) -> Iterator[Any]:
        if params.get(name) is not None:
            yield params[name]

    return find


def nothing(fault: str) -> bool:
    """For limits whose `find` gives faults in words: none is taken."""
    return not fault
