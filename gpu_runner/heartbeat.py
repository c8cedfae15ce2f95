"""The heartbeat beside the work: keeps the leases, brings back what must end.

It beats even with no job in hand, because the state machine takes a silent runner for a
dead one. Whatever goes wrong in one beat, the next one is tried.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from itertools import repeat

from arcspot.errors import BadRequest, LeaseLost, RunnerRefused
from gpu_runner.api import ApiSilent
from gpu_runner.board import Board
from gpu_runner.contract import Api

log = logging.getLogger(__name__)


def beat(api: Api, board: Board, *, gpu_utilisation: float | None, now: Callable[[], float]) -> None:
    """One heartbeat: tell where every job is, put up what the server answers.

    A missed beat is logged and forgotten: the lease outlives several. Refusal of the
    runner itself ends everything.
    """
    try:
        pulse = api.heartbeat(leases=board.progress(), gpu_utilisation=gpu_utilisation)
    except ApiSilent as silence:
        log.warning("heartbeat missed: %s", silence)
        return
    except (BadRequest, LeaseLost) as fault:
        log.error("heartbeat refused as malformed: %s", fault)
        return
    except RunnerRefused as refusal:
        log.error("%s: %s", type(refusal).__name__, refusal)
        board.refuse()
        return
    board.deadline_at = now() + pulse.deadline_in_s
    for job_id in pulse.cancelled:
        board.mark(job_id, "cancelled")
    for job_id in pulse.lost:
        board.mark(job_id, "lost")
    if pulse.drain:
        if board.leaving is None:
            log.warning("asked to leave by the server")
        board.leave("draining", now=now())


class Every(threading.Thread):
    """Call `act` every so many seconds in a daemon thread until `stop()`; faults are logged.

    `seconds` may be the waits themselves, one after the other; it ends with the last of them.
    A daemon, so that a crash of the main thread ends the process and the machine with it.
    """

    def __init__(self, seconds: float | Iterator[float], act: Callable[[], object], *, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._waits = repeat(seconds) if isinstance(seconds, int | float) else seconds
        self._act, self._stop_asked = act, threading.Event()

    def run(self) -> None:
        for seconds in self._waits:
            if self._stop_asked.wait(seconds):
                return
            try:
                self._act()
            except Exception:
                log.exception("%s failed; it goes on", self.name)

    def stop(self) -> None:
        """Ask for no further call; does not wait for one that runs."""
        self._stop_asked.set()
