"""What a long training tells while it runs, and how it is stopped."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import TextIO

from gpu_runner.saying import line

REDRAW_S = 0.5

PAUSE_S = 30.0
"""Seconds between two looks at the clock from which on the process was held still, by SIGSTOP or by a machine
that slept: no step takes as long."""


class AwakeClock:
    """Seconds that leave out pauses. It has to be read at least every PAUSE_S while there is work."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.last = clock()
        self.paused = 0.0

    def __call__(self) -> float:
        now = self.clock()
        if now - self.last > PAUSE_S:
            self.paused += now - self.last
        self.last = now
        return now - self.paused


class Stop:
    """Ctrl-C and SIGTERM as a wish: the loop asks between two steps. A second one ends at once."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, signal.Handlers | int | Callable[[int, FrameType | None], object] | None] = {}

    def __call__(self) -> bool:
        return self.asked

    def __enter__(self) -> Stop:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._heard)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _heard(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self._restore()

    def _restore(self) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before.clear()


class Line:
    """One line, rewritten on a terminal; elsewhere only what is worth keeping, a line each."""

    def __init__(self, stream: TextIO | None = None, *, width: int = 110) -> None:
        self.stream = stream or sys.stderr
        self.live = self.stream.isatty()
        self.width, self.drawn = width, -REDRAW_S

    def due(self, elapsed: float) -> bool:
        """Whether the line would be rewritten now."""
        return self.live and elapsed - self.drawn >= REDRAW_S

    def draw(self, text: str, elapsed: float) -> None:
        self.drawn = elapsed
        self.stream.write("\r" + line(text)[: self.width].ljust(self.width))
        self.stream.flush()

    def keep(self, text: str) -> None:
        """Print a line that stays."""
        text, start = line(text), "\r" if self.live else ""
        end = " " * (self.width - len(text)) if self.live else ""
        self.stream.write(f"{start}{text}{end}\n")
        self.stream.flush()


def bar(done: float, *, cells: int = 20) -> str:
    full = round(max(0.0, min(done, 1.0)) * cells)
    return "█" * full + "·" * (cells - full)


def clock(seconds: float) -> str:
    """'4:05' or '1:02:03'."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
