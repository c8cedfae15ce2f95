"""submit: task files into the bucket, and what became of them."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import click

from arcspot_cli import terminal
from arcspot_cli.commands import AS_JSON, PATHS, batch_name, emit, example, the_target
from arcspot_cli.commands_status import looks, watch


@click.command(
    epilog=example(
        "arcspot submit task.json",
        "arcspot submit tasks/ --batch monday --wait",
        "arcspot submit tasks/ --lane 0 --deadline 2026-12-24T18:00",
    )
)
@click.argument("paths", nargs=-1, required=True, type=PATHS)
@click.option("--batch", metavar="NAME", callback=batch_name,
              help="Name of the batch. Default: the folder's (or file's) name.")  # fmt: skip
@click.option("--lane", type=click.IntRange(0, 2), help="0 comes before 1 (the usual), 1 before 2.")
@click.option(
    "--deadline",
    type=click.DateTime(["%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%d"]),
    help="UTC. More instances start if the budget allows; what cannot be met is said by mail.",
)
@click.option("--wait", is_flag=True, help="Stay until every job is over.")
@AS_JSON
@click.pass_context
def submit(
    ctx: click.Context,
    paths: tuple[Path, ...],
    batch: str | None,
    lane: int | None,
    deadline: datetime | None,
    wait: bool,
    as_json: bool,
) -> None:
    """Check task files and drop the good ones into the bucket. Exit status 1 if any was refused."""
    from arcspot_cli import submitting

    batch = batch or submitting.batch_name(paths)
    found = submitting.flat(submitting.find(paths, say=_say), say=_say)
    uploads = [submitting.check(path, submitting.key_for(batch, name)) for path, name in found]
    for note in (note for upload in uploads for note in upload.notes):
        _say(note)
    target = the_target(ctx)
    by = deadline.replace(tzinfo=UTC) if deadline else None
    submitting.prepare(target, batch, datetime.now(UTC), lane=lane, deadline=by)
    with terminal.bar(len(uploads), "uploading") as bar:
        told = submitting.submit(target, uploads, batch, done=lambda _: bar.update(1))
    for refusal in told.refused:
        terminal.err(f"refused: {refusal}")
    for key in told.replaced:
        terminal.err(f"{key} had another content; its earlier version stays in the bucket")
    good = len(told.uploaded) + len(told.unchanged)
    until = time.monotonic() + 60 + good / 5
    while good and not submitting.receive(target, told) and time.monotonic() < until:
        time.sleep(1)
    if as_json:
        emit(
            {
                "batch": batch,
                "uploaded": told.uploaded,
                "replaced": told.replaced,
                "unchanged": told.unchanged,
                "refused": told.refused,
                "jobs": told.jobs,
                "new_jobs": told.new_jobs,
                "answered_before": told.answered,
            }
        )
    else:
        terminal.out(
            f"batch {batch}: {len(told.uploaded)} file(s) uploaded, {len(told.unchanged)} already there, "
            f"{len(told.refused)} refusal(s); {len(told.jobs)} job(s), {told.new_jobs} of them new"
            + (f", {told.answered} answered before" if told.answered else "")
            + (f"; {told.twins} task(s) share a job with another" if told.twins else "")
        )
    if wait and told.jobs:
        # Data is on stdout already: looks among it would break it.
        watch(looks(target, job_ids=list(told.jobs)), on=sys.stderr if as_json else sys.stdout)
    ctx.exit(1 if told.refused else 0)


def _say(text: str) -> None:
    terminal.err(text)
