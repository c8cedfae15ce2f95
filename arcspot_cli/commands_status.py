"""status: a look at the stack, once or until every job is over."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from arcspot_cli.commands import AS_JSON, BATCH, emit, example, the_target

if TYPE_CHECKING:
    from arcspot_cli.looking import Look
    from arcspot_cli.target import Target


@click.command(
    epilog=example("arcspot status", "arcspot status --watch --batch monday", "arcspot status --json")
)
@BATCH
@click.option("--watch", "watching", is_flag=True, help="Keep looking until every job is over.")
@AS_JSON
@click.pass_context
def status(ctx: click.Context, batch: str | None, watching: bool, as_json: bool) -> None:
    """Show jobs, instances and money, and why jobs wait."""
    from arcspot_cli import looking, showing

    target = the_target(ctx)
    if watching and not as_json:
        watch(target, batch=batch, job_ids=None)
        return
    seen = _look(target, batch, None)
    if as_json:
        emit(looking.as_json(seen))
        return
    from rich.console import Console

    Console(highlight=False, no_color=not showing.colours()).print(showing.tables(seen))


def _look(target: Target, batch: str | None, job_ids: list[str] | None) -> Look:
    from arcspot_cli.looking import look

    return look(target, datetime.now(UTC), batch=batch, job_ids=job_ids)


def watch(target: Target, *, batch: str | None, job_ids: list[str] | None) -> None:
    """Look every two seconds until all jobs are over: tables on a terminal, lines elsewhere."""
    from arcspot_cli import showing

    if not sys.stdout.isatty():
        pace = showing.Pace()
        while True:
            seen = _look(target, batch, job_ids)
            if pace.worth_saying(seen, time.monotonic()):
                click.echo(showing.line(seen))
            if seen.jobs and seen.over:
                return
            time.sleep(2)
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False, no_color=not showing.colours())
    with Live(console=console, auto_refresh=False) as live:
        while True:
            seen = _look(target, batch, job_ids)
            live.update(showing.tables(seen), refresh=True)
            if seen.jobs and seen.over:
                return
            time.sleep(2)
