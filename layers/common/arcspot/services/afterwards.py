"""What follows a commit: tried, and said when it fails, but never in the way of the answer.

Once a row is written, whoever asked needs to know it. So an event row, a mail, a kick, a word to Step
Functions or the next look at an average may fail without failing the call. Each of them has somebody who
does it later, or is worth no more than a line in the log (docs/guarantees.md lists them).
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from arcspot.attention import MARK
from arcspot.ports import Event, Ports

log = logging.getLogger(__name__)


def tried(what: str, act: Callable[[], object]) -> bool:
    """Do it; False when it failed, which the log says."""
    try:
        act()
    except Exception as error:
        said(what, error)
        return False
    return True


def said(what: str, error: Exception) -> None:
    """Put into the log what failed, and why."""
    about = what, type(error).__name__, str(error)[:500]
    log.error("after a commit, %s failed: %s: %s", *about, extra=MARK)


def recorded(ports: Ports, *events: Event) -> bool:
    """Write history; a line that is lost is missed by nobody but its reader."""
    return tried(f"recording {events[0].kind!r}", lambda: ports.store.record(*events))


def mailed(ports: Ports, subject: str, body: str) -> bool:
    """Send a mail that is marked as sent already: it is never sent twice, and may be lost."""
    return tried(f"mailing {subject!r}", lambda: ports.mail.send(subject, body))
