"""Draw tasks and answers: ANSI colours for a terminal, SVG for a page.

Both pictures say in words and signs what they say in colour (✓ right, ✗ wrong), so that
neither needs colour vision, and the terminal none of its colours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from arcspot.domain.edges import markup as text
from arcspot.domain.scoring import GridLike, as_grid
from arcspot.domain.tasks import MAX_SIDE, Task

PALETTE = (
    "#000000",  # 0 black
    "#0074D9",  # 1 blue
    "#FF4136",  # 2 red
    "#2ECC40",  # 3 green
    "#FFDC00",  # 4 yellow
    "#AAAAAA",  # 5 grey
    "#F012BE",  # 6 magenta
    "#FF851B",  # 7 orange
    "#7FDBFF",  # 8 light blue
    "#870C25",  # 9 maroon
)
"""The ten colours of the ARC testing interface (fchollet/ARC-AGI, apps/css/common.css)."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One captioned grid; ``right`` is None where nothing is known to compare with."""

    caption: str
    grid: GridLike
    right: bool | None = None

    @property
    def words(self) -> str:
        return self.caption if self.right is None else f"{self.caption} {'✓' if self.right else '✗'}"


def answer_panels(
    task: Task, attempts: Sequence[tuple[GridLike, GridLike]], truth: Sequence[GridLike] | None
) -> list[list[Panel]]:
    """What to show of each test input: itself, its attempts if there are any, the truth if known."""
    rows = []
    for index, given in enumerate(task.test_inputs):
        known = truth[index] if truth is not None and index < len(truth) else None
        row = [Panel("input" if len(task.test_inputs) == 1 else f"input {index + 1}", given)]
        for number, grid in enumerate(attempts[index] if index < len(attempts) else (), start=1):
            right = None if known is None else as_grid(grid) == as_grid(known)
            row.append(Panel(f"attempt {number}", grid, right))
        rows.append([*row, Panel("truth", known)] if known is not None else row)
    return rows


# --- terminal ----------------------------------------------------------------------------

RESET = "\x1b[0m"
GAP = "   "


def terminal_grid(grid: GridLike, *, colour: bool, cell: int = 2) -> list[str]:
    """One string per row, ``cell`` columns per cell; digits instead of 24-bit backgrounds without colour."""
    if not colour:
        return ["".join(str(value).ljust(cell) for value in row) for row in grid]
    return [
        "".join(_background(value) + " " * (cell * len(list(run))) for value, run in groupby(row)) + RESET
        for row in grid
    ]


def terminal_task(
    task: Task,
    attempts: Sequence[tuple[GridLike, GridLike]],
    truth: Sequence[GridLike] | None,
    *,
    width: int = 80,
    colour: bool = True,
) -> list[str]:
    """Test inputs with their two attempts and the truth, side by side as far as ``width`` columns allow.

    ``attempts`` may be empty while there is no answer. A grid too wide for the terminal
    is drawn with one column per cell. Lines hold escape codes only with ``colour``.
    """
    lines: list[str] = []
    for row in answer_panels(task, attempts, truth):
        blocks = [_terminal_block(panel, width=width, colour=colour) for panel in row]
        for band in _bands(blocks, width):
            lines += ["", *band] if lines else band
    return lines


@dataclass(frozen=True, slots=True)
class _Block:
    """Lines that all show ``columns`` columns, whatever escape codes they hold."""

    columns: int
    lines: list[str]


def _terminal_block(panel: Panel, *, width: int, colour: bool) -> _Block:
    across = len(panel.grid[0])
    cell = 2 if 2 * across <= width else 1
    columns = max(len(panel.words), cell * across)
    heading = panel.words.ljust(columns)
    if colour and panel.right is not None:
        heading = f"\x1b[{32 if panel.right else 31}m{heading}{RESET}"
    pad = " " * (columns - cell * across)
    return _Block(
        columns, [heading, *(line + pad for line in terminal_grid(panel.grid, colour=colour, cell=cell))]
    )


def _bands(blocks: Sequence[_Block], width: int) -> Iterator[list[str]]:
    """Blocks side by side, as many to a band as fit."""
    band: list[_Block] = []
    for block in blocks:
        if band and sum(len(GAP) + each.columns for each in band) + block.columns > width:
            yield _side_by_side(band)
            band = []
        band.append(block)
    yield _side_by_side(band)


def _side_by_side(band: Sequence[_Block]) -> list[str]:
    height = max(len(block.lines) for block in band)
    filled = [[*block.lines, *[" " * block.columns] * (height - len(block.lines))] for block in band]
    return [GAP.join(parts).rstrip(" ") for parts in zip(*filled, strict=True)]


def _background(value: int) -> str:
    red, green, blue = bytes.fromhex(PALETTE[value][1:])
    return f"\x1b[48;2;{red};{green};{blue}m"


# --- SVG ---------------------------------------------------------------------------------

PAGE_WIDTH = 960  # all lengths are SVG user units, one CSS pixel at natural size
MARGIN = 24
SPACE = 20
ARROW = 34
CAPTION = 20
TALLEST = 180  # of one grid: with its two attempts and the truth it still fits a line
STYLE = (
    ".arc{font:13px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}"
    ".arc-card{fill:#fff;stroke:#d5dbe3}.arc text{fill:#4d5866}.arc .arc-title{fill:#161c24;font-weight:650}"
    ".arc .arc-right{fill:#11752b;font-weight:650}.arc .arc-wrong{fill:#b3261e;font-weight:650}"
    ".arc-lines{stroke:#666;stroke-opacity:.7;fill:none}.arc-arrow{stroke:#7d8896;stroke-width:1.5;fill:none}"
    ".arc-ring{fill:none;stroke-width:2}.arc-ring-right{stroke:#1f9d45}"
    ".arc-ring-wrong{stroke:#d0473e;stroke-dasharray:5 3}.arc-rule{stroke:#d5dbe3}"
    "@media(prefers-color-scheme:dark){.arc-card{fill:#12171e;stroke:#2c3642}.arc text{fill:#a5b1bf}"
    ".arc .arc-title{fill:#eef2f7}.arc .arc-right{fill:#5bd580}.arc .arc-wrong{fill:#ff8d84}"
    ".arc-rule{stroke:#2c3642}}"
)


def svg_task(
    task: Task,
    attempts: Sequence[tuple[GridLike, GridLike]],
    truth: Sequence[GridLike] | None,
    *,
    title: str,
    styled: bool = True,
) -> str:
    """A complete picture as one SVG element: demonstrations, test inputs, both answers, the truth if known.

    It brings its own card, light or dark as the reader's system is, and refers to nothing
    outside, so it works as a file, in an ``<img>`` and inside a page; a page of many such
    pictures has `STYLE` once and leaves it out here (``styled=False``). All text is escaped.
    """
    tests = answer_panels(task, attempts, truth)
    demonstrations = [
        [Panel("input", given), Panel("output", wanted)] for given, wanted in task.demonstrations
    ]
    cell = _cell_size([panel for row in (*demonstrations, *tests) for panel in row])
    canvas = _Canvas(cell)
    canvas.heading(title, css="arc-title", size=17)
    canvas.heading("Demonstrations")
    canvas.flow(demonstrations)
    canvas.rule()
    canvas.heading("Test" if attempts else "Test (no answer yet)")
    canvas.flow(tests)
    return canvas.finish(title, styled=styled)


def _cell_size(panels: Sequence[Panel]) -> int:
    """One size for all grids of a task, so that they compare; a large grid still fits four to a row."""
    side = max(max(len(panel.grid), len(panel.grid[0])) for panel in panels)
    return max(TALLEST // MAX_SIDE, min(24, TALLEST // side))


class _Canvas:
    """Lays figures out from left to right and top to bottom, and remembers how far it came."""

    def __init__(self, cell: int) -> None:
        self.cell = cell
        self.parts: list[str] = []
        self.rules: list[int] = []
        self.y = MARGIN
        self.right = 0

    def heading(self, words: str, *, css: str = "arc-title", size: int = 13) -> None:
        shown = words if len(words) <= 80 else words[:79] + "…"
        self.parts.append(
            f'<text class="{css}" x="{MARGIN}" y="{self.y + size}" font-size="{size}">{text(shown)}</text>'
        )
        self.right = max(self.right, MARGIN + len(shown) * size * 6 // 10)
        self.y += size + (12 if size < 16 else 16)

    def rule(self) -> None:
        self.rules.append(self.y)
        self.y += SPACE - 4

    def flow(self, rows: Sequence[Sequence[Panel]]) -> None:
        """Place rows of panels (an input, an arrow, its answers), several to a line where they fit."""
        x, tallest = MARGIN, 0
        for row in rows:
            width = sum(self._width(panel) + SPACE for panel in row) - SPACE + (ARROW if len(row) > 1 else 0)
            if x > MARGIN and x + width > PAGE_WIDTH - MARGIN:
                x, self.y, tallest = MARGIN, self.y + tallest + SPACE, 0
            self._row(x, row)
            self.right = max(self.right, x + width)
            x += width + 2 * SPACE
            tallest = max(tallest, CAPTION + max(len(panel.grid) for panel in row) * self.cell)
        self.y += tallest + SPACE

    def _width(self, panel: Panel) -> int:
        return max(len(panel.grid[0]) * self.cell, 7 * len(panel.words) + 4)

    def _row(self, x: int, row: Sequence[Panel]) -> None:
        for index, panel in enumerate(row):
            self._panel(x, panel)
            x += self._width(panel) + SPACE
            if index == 0 and len(row) > 1:
                middle = self.y + CAPTION + len(panel.grid) * self.cell // 2
                self.parts.append(f'<path class="arc-arrow" d="M{x - 11} {middle}h26m-7-6l7 6-7 6"/>')
                x += ARROW

    def _panel(self, x: int, panel: Panel) -> None:
        verdict = {None: "", True: "right", False: "wrong"}[panel.right]
        css = f' class="arc-{verdict}"' if verdict else ""
        self.parts.append(f'<text{css} x="{x}" y="{self.y + 13}">{text(panel.words)}</text>')
        self.parts.append(svg_grid(panel.grid, x=x, y=self.y + CAPTION, cell=self.cell))
        if verdict:
            width, height = len(panel.grid[0]) * self.cell + 6, len(panel.grid) * self.cell + 6
            self.parts.append(
                f'<rect class="arc-ring arc-ring-{verdict}" x="{x - 3}" y="{self.y + CAPTION - 3}"'
                f' width="{width}" height="{height}" rx="3"/>'
            )

    def finish(self, title: str, *, styled: bool) -> str:
        width, height = self.right + MARGIN, self.y + MARGIN - SPACE + 4
        rules = "".join(f"M{MARGIN} {y}H{width - MARGIN}" for y in self.rules)
        style = f"<style>{STYLE}</style>" if styled else ""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="arc" role="img" viewBox="0 0 {width} {height}"'
            f' width="{width}" height="{height}"><title>{text(title)}</title>{style}'
            f'<rect class="arc-card" x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="10"/>'
            f'{"".join(self.parts)}<path class="arc-rule" d="{rules}"/></svg>'
        )


def svg_grid(grid: GridLike, *, x: int, y: int, cell: int) -> str:
    """A grid as SVG: one path per colour, each run of equal cells a rectangle of it, then the lines."""
    runs: dict[int, list[str]] = {}
    for down, row in enumerate(grid):
        across = 0
        for value, group in groupby(row):
            length = len(list(group))
            runs.setdefault(value, []).append(f"M{across} {down}h{length}v1h-{length}z")
            across += length
    height, width = len(grid), len(grid[0])
    cells = "".join(f'<path fill="{PALETTE[value]}" d="{"".join(runs[value])}"/>' for value in sorted(runs))
    lines = "".join(f"M0 {down}h{width}" for down in range(height + 1))
    lines += "".join(f"M{across} 0v{height}" for across in range(width + 1))
    hair = round((1 if cell >= 8 else 0.5) / cell, 4)
    return (
        f'<g transform="translate({x} {y}) scale({cell})" shape-rendering="crispEdges">{cells}'
        f'<path class="arc-lines" stroke-width="{hair}" d="{lines}"/></g>'
    )
