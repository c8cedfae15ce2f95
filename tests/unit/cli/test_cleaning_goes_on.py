"""cleanup: what will not go keeps nothing else, and what cannot be looked at is not called gone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from arcspot_cli import belongings, cleaning
from arcspot_cli.belongings import Kind, Known
from arcspot_cli.errors import CommandFailed

NOWHERE: Any = object()
KNOWN = Known("here")


class Shelf:
    """Things of one kind, some of which will not go or cannot be seen."""

    def __init__(self, *things: str, stuck: str = "", hidden: bool = False) -> None:
        self.things, self.stuck, self.hidden = list(things), stuck, hidden

    def kind(self, name: str) -> Kind:
        return Kind(name, self._find, self._remove)

    def _find(self, target: Any, known: Known) -> Iterator[str]:
        if self.hidden:
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "ListThings")
        return iter(list(self.things))

    def _remove(self, target: Any, one: str) -> None:
        if one == self.stuck:
            raise ClientError({"Error": {"Code": "OperationNotPermitted", "Message": "protected"}}, "End")
        self.things.remove(one)


def test_one_that_will_not_go_keeps_none_of_its_kind() -> None:
    shelf = Shelf("i-1", "i-2", "i-3", stuck="i-1")
    with pytest.raises(CommandFailed, match=r"1 instances will not go: i-1: .*protected"):
        belongings.until_gone(shelf.kind("instances"), NOWHERE, KNOWN, seconds=60, pause=0)
    assert shelf.things == ["i-1"]


@pytest.mark.parametrize("bad", [Shelf("a", stuck="a"), Shelf("a", hidden=True)])
def test_one_kind_that_will_not_go_keeps_none_of_the_others(
    bad: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, last, said = Shelf("x"), Shelf("y"), list[str]()
    kinds = (first.kind("instances"), bad.kind("schedules"), last.kind("executions"))
    monkeypatch.setattr(belongings.time, "sleep", lambda _: None)
    with pytest.raises(CommandFailed, match=r"schedules: .*the same command goes on"):
        cleaning._take_away(kinds, NOWHERE, KNOWN, cleaning.Cleaned(), said.append)
    assert (first.things, last.things) == ([], [])
    assert any(line.startswith("schedules: ") for line in said)


def test_what_cannot_be_looked_at_is_not_called_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = (Shelf().kind("volumes"), Shelf(hidden=True).kind("tables"), Shelf("b").kind("buckets"))
    monkeypatch.setattr(belongings, "EVERY", kinds)
    left = cleaning.left(NOWHERE, KNOWN)
    assert (left["volumes"], left["buckets"]) == ([], ["b"])
    assert left["tables"] == ["not known: AWS says AccessDenied: no"]
    assert not cleaning.Cleaned({}, left).nothing_left
