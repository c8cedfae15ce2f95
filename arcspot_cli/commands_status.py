"""status: a look at the stack, once or until every job is over."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

import click

from arcspot_cli import terminal
from arcspot_cli.commands import AS_JSON, BATCH, emit, example, tell, the_target

if TYPE_CHECKING:
    from arcspot_cli.looking import Look
    from arcspot_cli.target import Target

EVERY_S = 2.0
ROWS_A_SECOND = 500


@click.command(
    epilog=example("arcspot status", "arcspot status --watch --batch monday", "arcspot status --json")
)
@BATCH
@click.option("--watch", "watching", is_flag=True, help="Keep looking until every job is over.")
@AS_JSON
@click.pass_context
def status(ctx: click.Context, batch: str | None, watching: bool, as_json: bool) -> None:
    """Show jobs, instances and money, and why jobs wait.

    With --watch and --json each look that is worth it is one line. Exit status 1 if a row of a table
    cannot be read: it is told, and everything else is shown.
    """
    from arcspot_cli import looking, rows, showing

    target = the_target(ctx)
    if watching:
        last = watch(looks(target, batch=batch), on=sys.stdout, as_json=as_json)
    else:
        last = looking.look(target, datetime.now(UTC), batch=batch, through=rows.counted)
        if as_json:
            emit(looking.as_json(last))
        else:
            showing.console().print(showing.tables(last))
    tell(ctx, last.faults if last else ())


def looks(
    target: Target, *, batch: str | None = None, job_ids: Sequence[str] | None = None
) -> Iterator[Look]:
    """A look every two seconds, of many jobs less often, until there are jobs and all of them are over."""
    from arcspot_cli.looking import look

    while True:
        seen = look(target, datetime.now(UTC), batch=batch, job_ids=job_ids)
        yield seen
        if seen.counts and seen.over:
            return
        time.sleep(pause_s(sum(seen.counts.values())))


def pause_s(jobs: int) -> float:
    """Seconds between two looks at so many jobs: each look reads every row, and rows cost money."""
    return max(EVERY_S, jobs / ROWS_A_SECOND)


def watch(seen: Iterable[Look], *, on: TextIO, as_json: bool = False) -> Look | None:
    """Show looks as they come: tables on a terminal, lines elsewhere. The last of them."""
    from arcspot_cli import looking, showing

    one: Look | None = None
    if as_json or not on.isatty():
        pace = showing.Pace()
        for one in seen:
            if pace.worth_saying(one, time.monotonic()):
                if as_json:
                    terminal.document(json.dumps(looking.as_json(one)) + "\n", file=on)
                else:
                    terminal.out(showing.line(one), file=on)
        return one
    from rich.live import Live

    console = showing.console(on)
    with Live(console=console, auto_refresh=False) as live:
        for one in seen:
            live.update(showing.tables(one), refresh=True)
    return one
