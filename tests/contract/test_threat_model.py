"""docs/security.md claims nothing that no test shows."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
PAGE = (PROJECT / "docs/security.md").read_text()
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
ATTACKERS = (
    "A stranger on the web",
    "A stranger who may write into the bucket",
    "A compromised instance",
    "A compromised dependency",
    "Another account, another stack",
    "A careless operator",
)


def sections() -> dict[str, str]:
    parts = re.split(r"^## (.+)$", PAGE, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("|---")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines][1:]


@cache
def named_in(path: str) -> frozenset[str]:
    tree = ast.parse((PROJECT / path).read_text())
    found = (node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return frozenset(name for name in found if name.startswith("test_"))


@pytest.mark.parametrize(("path", "name"), sorted(set(NAMED.findall(PAGE))))
def test_a_test_that_is_named_exists(path: str, name: str) -> None:
    assert (PROJECT / path).is_file(), path
    assert name in named_in(path)


@pytest.mark.parametrize("attacker", ATTACKERS)
def test_each_attack_says_what_stops_it_and_which_test_shows_that(attacker: str) -> None:
    attacks = rows(sections()[attacker])
    assert attacks
    for row in attacks:
        assert len(row) == 3, row
        assert row[0], row
        assert row[1], row
        assert NAMED.search(row[2]), row
        assert NAMED.sub("", row[2]).strip(", ") == "", row


def test_every_attacker_has_a_section_and_what_is_not_covered_is_said() -> None:
    assert [*ATTACKERS, "Not covered"] == list(sections())


def test_decisions_that_are_named_exist() -> None:
    for path in re.findall(r"\]\(([\w/.-]+\.md)\)", PAGE):
        assert (PROJECT / "docs" / path).is_file(), path
