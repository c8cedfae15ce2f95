"""What every command's file needs: options of one name, examples, the target, JSON out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from arcspot_cli import terminal

if TYPE_CHECKING:
    from arcspot_cli.faults import Fault
    from arcspot_cli.target import Target


def batch_name(ctx: click.Context, option: click.Parameter, given: str | None) -> str | None:
    """A batch's name as it was given. Raises BadParameter, with the rule, for one that no batch has."""
    from arcspot.domain.names import batch_refusal

    if given is not None and (refusal := batch_refusal(given)):
        raise click.BadParameter(refusal, ctx, option)
    return given


PATHS = click.Path(path_type=Path)
BATCH = click.option(
    "--batch",
    metavar="NAME",
    callback=batch_name,
    help="Only this batch (the folder below tasks/ in the bucket).",
)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="JSON on stdout, for programs.")


def example(*lines: str) -> str:
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def the_target(ctx: click.Context) -> Target:
    """The stack this call is for, named on stderr."""
    from arcspot_cli.target import Choice, resolve

    target = resolve(Choice(project_dir=Path.cwd(), **ctx.find_root().obj))
    terminal.err(f"stack {target.stack} on {target.label}")
    return target


def emit(data: Any) -> None:
    """JSON on stdout, in ASCII: what a terminal shows of it moves no cursor."""
    terminal.data(data)


def tell(ctx: click.Context, faults: Sequence[Fault], *, failed: bool = False) -> None:
    """The last lines of a command that did many things: each that went wrong, on stderr; exit status 1."""
    for fault in faults:
        terminal.err(str(fault))
    if len(faults) > 1:
        terminal.err(f"{len(faults)} of these could not be done; everything else was")
    if faults or failed:
        ctx.exit(1)
