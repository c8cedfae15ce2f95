"""Ports of 127.0.0.1 that are ours from the moment they have a number.

`up` binds them and passes the sockets on to the processes that listen there. No moment is left in which
another user could take one, and no number stands in anybody's arguments before somebody of ours has it.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator

from arcspot_cli.local.errors import LocalStackError


@contextlib.contextmanager
def bound(count: int) -> Iterator[list[socket.socket]]:
    """Sockets at ports that nobody else has, all different, not yet listening; closed here at the end.

    Without SO_REUSEADDR: on Linux two sockets that both have it may share a port until one listens.
    """
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        yield sockets


def number(one: socket.socket) -> int:
    """The port of a socket."""
    return int(one.getsockname()[1])


def inherited(descriptor: int) -> socket.socket:
    """The socket that whoever started this process passed on; ours alone from now on.

    Raises LocalStackError for a descriptor that is no bound socket of 127.0.0.1.
    """
    try:
        one = socket.socket(fileno=descriptor)
        os.set_inheritable(descriptor, False)
        host, port = one.getsockname()[:2]
    except (OSError, ValueError) as error:
        raise LocalStackError(f"--socket: expected a bound socket's descriptor ({error})") from None
    if host != "127.0.0.1" or not port:
        one.close()
        raise LocalStackError(f"--socket: expected a port of 127.0.0.1, found {host}:{port}")
    return one
