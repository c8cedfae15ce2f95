"""cost, pause, resume, cancel: an operator's hand on a running stack."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from arcspot_cli import terminal
from arcspot_cli.commands import AS_JSON, BATCH, emit, example, tell, the_target


@click.command(epilog=example("arcspot cost", "arcspot cost --month 2026-11 --json"))
@click.option("--month", metavar="YYYY-MM", help="Default: this month (UTC).")
@AS_JSON
@click.pass_context
def cost(ctx: click.Context, month: str | None, as_json: bool) -> None:
    """What a month's instances cost, and how much of it was work.

    Exit status 1 if a row of a table cannot be read: it is told, and is not in the sums.
    """
    from arcspot.domain.budget import period_of
    from arcspot.domain.reporting import usd
    from arcspot_cli import operating, rows

    told = operating.bill(the_target(ctx), month or period_of(datetime.now(UTC)), through=rows.counted)
    if as_json:
        emit(operating.bill_json(told))
        tell(ctx, told.faults)
        return
    for launch in told.launches:
        kind = " ".join(filter(None, (launch.instance_type, launch.market)))
        terminal.out(
            f"{launch.launch_id}  {launch.state:<9} {kind:<22} {usd(launch.actual):>10}  {launch.reason}"
        )
    each = f", {usd(told.jobs_usd_micros // told.jobs)} each" if told.jobs else ""
    terminal.out(
        f"{told.period}: {usd(told.settled)} of {usd(told.cap)} spent, {usd(told.reserved)} reserved"
    )
    terminal.out(f"{told.jobs} job(s) {usd(told.jobs_usd_micros)}{each}; boot and idle {usd(told.overhead)}")
    tell(ctx, told.faults)


@click.command(epilog=example('arcspot pause "waiting for the new model"'))
@click.argument("reason", default="paused by hand")
@AS_JSON
@click.pass_context
def pause(ctx: click.Context, reason: str, as_json: bool) -> None:
    """Start no more instances; what runs goes on."""
    from arcspot_cli import operating

    fleet = operating.pause(the_target(ctx), reason)
    if as_json:
        emit({"paused": fleet.paused, "reason": fleet.pause_reason})
    else:
        terminal.out("paused; go on with: arcspot resume")


@click.command(epilog=example("arcspot resume"))
@AS_JSON
@click.pass_context
def resume(ctx: click.Context, as_json: bool) -> None:
    """Let instances start again, also after an error that waited for a person."""
    from arcspot_cli import operating

    fleet = operating.resume(the_target(ctx))
    if as_json:
        emit({"paused": fleet.paused})
    else:
        terminal.out("resumed; waiting jobs are looked at within the minute")


@click.command(epilog=example("arcspot cancel a3d637a186ffbf7f58aba900", "arcspot cancel --batch monday"))
@click.argument("job_ids", nargs=-1)
@BATCH
@AS_JSON
@click.pass_context
def cancel(ctx: click.Context, job_ids: tuple[str, ...], batch: str | None, as_json: bool) -> None:
    """Cancel jobs that are not over. A running one stops at its runner's next heartbeat.

    Exit status 1 if one could not be cancelled; the others are.
    """
    from arcspot_cli import faults, operating, rows

    if not job_ids and not batch:
        raise click.UsageError("name job ids, or a batch with --batch")
    target = the_target(ctx)
    jobs = operating.named(target, job_ids, batch, through=rows.counted)
    bad = faults.of_rows(target.store.bad_rows)
    changed = operating.cancel(target, jobs, datetime.now(UTC), failed=bad.append)
    ids = {job.job_id for job in changed} | {fault.job_id for fault in bad}
    left = [job for job in jobs if job.job_id not in ids]
    if as_json:
        told = [
            [{"job_id": job.job_id, "task_id": job.task_id, "state": str(job.state)} for job in some]
            for some in (changed, left)
        ]
        emit({"cancelled": told[0], "left": told[1], **faults.as_json(bad)})
    else:
        terminal.out(f"{len(changed)} job(s) cancelled, {len(left)} were over already")
    tell(ctx, bad)
