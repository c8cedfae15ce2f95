"""retry: give jobs another chance that ended without an answer."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from arcspot_cli import terminal
from arcspot_cli.commands import AS_JSON, BATCH, emit, example, tell, the_target

if TYPE_CHECKING:
    from arcspot_cli.retrying import Retries


@click.command(
    epilog=example(
        "arcspot retry a3d637a186ffbf7f58aba900",
        "arcspot retry --batch monday",
        "arcspot retry --dead --dry-run",
        "arcspot retry --dead",
    )
)
@click.argument("job_ids", nargs=-1)
@BATCH
@click.option("--dead", is_flag=True, help="Every job that was given up (of the batch, if one is named).")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@AS_JSON
@click.pass_context
def retry(
    ctx: click.Context, job_ids: tuple[str, ...], batch: str | None, dead: bool, dry_run: bool, as_json: bool
) -> None:
    """Try jobs again that were given up or cancelled. Nothing is counted against them any more.

    Exit status 1 if a job that was named by its id was not retried, or one could not be.
    """
    from arcspot_cli import retrying, rows

    if not job_ids and not batch and not dead:
        raise click.UsageError("name job ids, or a batch with --batch, or --dead for every job given up")
    if job_ids and (batch or dead):
        raise click.UsageError("name job ids, or choose by --batch and --dead; not both")
    target = the_target(ctx)
    retries = retrying.plan(target, job_ids, batch=batch, dead=dead, through=rows.counted)
    if not dry_run:
        retries = retrying.carry_out(target, retries, datetime.now(UTC))
        if retries.again:
            retrying.kick(target)
    if as_json:
        emit({"dry_run": dry_run, **retries.as_json()})
    else:
        _tell(retries, each_left=bool(job_ids), dry_run=dry_run)
    tell(ctx, retries.faults, failed=bool(job_ids and retries.left))


def _tell(retries: Retries, *, each_left: bool, dry_run: bool) -> None:
    from arcspot_cli.retrying import why_left

    for job in retries.again if dry_run else ():
        terminal.out(f"{job.job_id}  {job.batch_id}  {job.task_id}")
    if each_left:
        for job in retries.left:
            terminal.err(f"{job.job_id} ({job.task_id}) is {job.state}, not retried: {why_left(job)}")
    else:
        for (state, why), n in Counter((job.state, why_left(job)) for job in retries.left).items():
            terminal.err(f"{n} job(s) {state}, not retried: {why}")
    terminal.out(f"{len(retries.again)} job(s) {'would' if dry_run else 'will'} be tried again")
