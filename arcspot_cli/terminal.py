"""The terminal: whatever the command says goes through here, whether a person looks on or a pipe takes it.

Data goes to stdout, progress and remarks to stderr. Each argument is one line, and comes out as one line:
strangers wrote parts of it (`arcspot.domain.edges`). A pipe gets the same: someone will look at it later.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, TextIO

import click

from arcspot.domain import edges


def out(*lines: object, err: bool = False, file: TextIO | None = None) -> None:
    """Lines of the answer; of remarks with `err`."""
    for each in lines or ("",):
        _write(edges.line(each), err=err, file=file)


def err(*lines: object) -> None:
    """Remarks for the person who looks on."""
    out(*lines, err=True)


def drawn(lines: Iterable[str], *, err: bool = False) -> None:
    """Pictures of our own, whose colours stay."""
    for each in lines:
        _write(edges.coloured(each), err=err)


def data(value: Any) -> None:
    """JSON for programs: exact, and in ASCII."""
    document(json.dumps(value, indent=1, default=str) + "\n")


def document(text: str, *, file: TextIO | None = None) -> None:
    """A JSON document that is text already. Raises ValueError where it is not in ASCII."""
    if not text.isascii():
        raise ValueError("a document for programs is in ASCII")
    click.echo(text, nl=False, file=file)


def shell(variables: Mapping[str, str]) -> None:
    """Lines for a shell to evaluate; only `shlex` knows how they are quoted."""
    import shlex

    for name, value in variables.items():
        _write(f"export {name}={shlex.quote(value)}")


def rewritten(text: str = "") -> None:
    """The line that is there already, anew; nothing takes it away."""
    click.echo(f"\r{edges.line(text)}" if text else "\r\033[K", nl=False, err=True)


def bar(length: int, label: str, *, counted: bool = False, shown: Callable[[Any], str] | None = None) -> Any:
    """A bar on stderr; `counted`: with how many of all; `shown` says what stands behind it."""
    return click.progressbar(
        length=length, label=edges.line(label), file=sys.stderr, show_pos=counted, show_eta=True,
        item_show_func=None if shown is None else lambda item: edges.line(shown(item), most=80),
    )  # fmt: skip


def confirmed(question: str, *, default: bool = False, abort: bool = False) -> bool:
    return click.confirm(edges.line(question), default=default, abort=abort, err=True)


def asked(question: str) -> str:
    """What a person types, "" for nothing. Raises click.Abort."""
    return str(click.prompt(edges.line(question), default="", show_default=False, err=True))


def told(error: click.ClickException) -> click.ClickException:
    """The same error, which says every line of it as a terminal may show it."""
    lines = getattr(error, "lines", None) or (error.format_message(),)
    message = "\n".join(map(edges.line, lines))
    error.format_message = lambda: message  # type: ignore[method-assign]
    return error


def failed(error: Exception) -> click.ClickException:
    """An error of ours as click tells it. One of several lines has them as `lines`."""
    found = click.ClickException(str(error))
    found.lines = getattr(error, "lines", (str(error),))  # type: ignore[attr-defined]
    return told(found)


def bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """`sys.excepthook` for what is arcspot's fault: the traceback, whose last line quotes anybody."""
    chain: list[BaseException] = [error]
    while (before := chain[-1].__cause__ or chain[-1].__context__) is not None and before not in chain:
        chain.append(before)
    for each in reversed(chain):
        where = traceback.format_tb(trace if each is error else each.__traceback__)
        err(*(line for part in where for line in part.splitlines()))
        err("".join(traceback.format_exception_only(each)).strip())


def _write(text: str, *, err: bool = False, file: TextIO | None = None) -> None:
    stream = file or (sys.stderr if err else sys.stdout)
    encoding = getattr(stream, "encoding", None) or "utf-8"
    with suppress(LookupError):
        text = text.encode(encoding, "backslashreplace").decode(encoding)
    click.echo(text, err=err, file=file)
