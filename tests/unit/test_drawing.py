"""Pictures: they show every cell, say right and wrong in signs, and let no foreign text out."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from arcspot.domain.drawing import PALETTE, svg_grid, svg_task, terminal_grid, terminal_task
from arcspot.domain.tasks import Grid, Task

GIVEN: Grid = ((0, 1, 1), (9, 0, 5))
WANTED: Grid = ((5, 0, 9), (1, 1, 0))
TASK = Task("t", ((GIVEN, WANTED), (WANTED, GIVEN)), (GIVEN,), (WANTED,))
WIDE: Grid = ((3,) * 30,) * 30
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
SVG = "{http://www.w3.org/2000/svg}"


def plain(lines: list[str]) -> list[str]:
    return [ESCAPES.sub("", line) for line in lines]


def test_without_colour_a_grid_is_digits() -> None:
    assert terminal_grid(GIVEN, colour=False) == ["0 1 1 ", "9 0 5 "]


def test_with_colour_each_cell_is_two_columns_of_its_background() -> None:
    first, _ = terminal_grid(GIVEN, colour=True)
    assert first == "\x1b[48;2;0;0;0m  \x1b[48;2;0;116;217m    \x1b[0m"


def test_input_attempts_and_truth_stand_side_by_side_with_their_verdicts() -> None:
    lines = terminal_task(TASK, [(WANTED, GIVEN)], TASK.test_outputs, colour=False)
    assert lines[0] == "input    attempt 1 ✓   attempt 2 ✗   truth"
    assert lines[1] == "0 1 1    5 0 9         0 1 1         5 0 9"
    assert len(lines) == 3


def test_without_a_known_truth_nothing_is_called_right_or_wrong() -> None:
    text = "\n".join(terminal_task(TASK, [(WANTED, GIVEN)], None, colour=True))
    assert "attempt 2" in text
    assert not set(text) & {"✓", "✗"}
    assert "truth" not in text


def test_before_there_is_an_answer_only_the_input_is_shown() -> None:
    assert terminal_task(TASK, [], None, colour=False) == ["input", "0 1 1", "9 0 5"]


@pytest.mark.parametrize("width", [30, 45, 80, 100, 300])
@pytest.mark.parametrize("colour", [True, False])
def test_no_line_is_wider_than_the_terminal(width: int, colour: bool) -> None:
    task = Task("t", TASK.demonstrations, (WIDE, GIVEN), (WIDE, WANTED))
    lines = plain(
        terminal_task(task, [(WIDE, GIVEN), (GIVEN, WIDE)], task.test_outputs, width=width, colour=colour)
    )
    assert max(map(len, lines)) <= width
    assert sum(line.count("attempt") for line in lines) == 4


def test_colour_adds_escape_codes_and_moves_nothing() -> None:
    coloured = terminal_task(TASK, [(WANTED, GIVEN)], TASK.test_outputs, colour=True)
    assert (
        plain(coloured)[0].rstrip()
        == terminal_task(TASK, [(WANTED, GIVEN)], TASK.test_outputs, colour=False)[0]
    )
    assert all(line.count("\x1b[48") == 0 or line.endswith(("\x1b[0m", " ")) for line in coloured)
    assert len({len(line) for line in plain(coloured)[1:]}) == 1


def area_by_colour(svg: ElementTree.Element) -> dict[str, int]:
    """Cells of each colour in all grids of a picture, from the runs in its paths."""
    areas: dict[str, int] = {}
    for path in svg.iter(f"{SVG}path"):
        if fill := path.get("fill"):
            cells = sum(int(length) for length in re.findall(r"h(\d+)v1", path.get("d", "")))
            areas[fill] = areas.get(fill, 0) + cells
    return areas


def test_every_cell_of_every_grid_is_in_the_picture() -> None:
    svg = ElementTree.fromstring(svg_task(TASK, [(WANTED, GIVEN)], TASK.test_outputs, title="t"))
    grids = 4 + 1 + 2 + 1
    assert area_by_colour(svg) == {
        PALETTE[0]: 2 * grids,
        PALETTE[1]: 2 * grids,
        PALETTE[5]: grids,
        PALETTE[9]: grids,
    }


def test_a_picture_names_the_verdicts() -> None:
    svg = ElementTree.fromstring(svg_task(TASK, [(WANTED, GIVEN)], TASK.test_outputs, title="t"))
    words = [text.text for text in svg.iter(f"{SVG}text")]
    assert words == [
        "t",
        "Demonstrations",
        *["input", "output"] * 2,
        "Test",
        "input",
        "attempt 1 ✓",
        "attempt 2 ✗",
        "truth",
    ]


def test_a_picture_without_answer_says_so() -> None:
    svg = svg_task(TASK, [], None, title="t")
    assert "no answer yet" in svg
    assert "attempt" not in svg
    assert "truth" not in svg


@pytest.mark.parametrize("title", ["<script>&\"'", "a\x00b\x1b\ud800\uffff", "x" * 5000, "ü 漢 ✓"])
def test_a_picture_is_well_formed_xml_whatever_the_title(title: str) -> None:
    svg = ElementTree.fromstring(svg_task(TASK, [], None, title=title).encode())
    assert not list(svg.iter(f"{SVG}script"))
    assert int(svg.get("width", "0")) <= 960


def test_a_picture_refers_to_nothing_outside_itself() -> None:
    svg = svg_task(TASK, [(WANTED, GIVEN)], TASK.test_outputs, title="t")
    assert re.findall(r"https?://[^\"]*", svg) == ["http://www.w3.org/2000/svg"]
    assert "url(" not in svg
    assert "href" not in svg


def test_nothing_is_drawn_outside_the_card_even_with_the_largest_grids() -> None:
    task = Task("t", ((WIDE, WIDE),) * 3, (WIDE, WIDE), (WIDE, WIDE))
    svg = ElementTree.fromstring(svg_task(task, [(WIDE, WIDE)] * 2, task.test_outputs, title="t"))
    width, height = int(svg.get("width", "0")), int(svg.get("height", "0"))
    placed = [re.findall(r"\d+", group.get("transform", "")) for group in svg.iter(f"{SVG}g")]
    assert len(placed) == 6 + 8
    assert all(int(x) + 30 * int(cell) < width and int(y) + 30 * int(cell) < height for x, y, cell in placed)
    assert width <= 960


def test_equal_cells_in_a_row_are_one_rectangle() -> None:
    assert svg_grid(((4, 4, 4),), x=0, y=0, cell=10).count("h3v1") == 1
