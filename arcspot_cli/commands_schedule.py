"""schedule: add, list and remove submissions that come again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from arcspot_cli import terminal
from arcspot_cli.commands import AS_JSON, emit, example, tell, the_target

if TYPE_CHECKING:
    from arcspot_cli.faults import Fault
    from arcspot_cli.scheduling import Recurring


@click.group()
def schedule() -> None:
    """Submit the files below a prefix of the bucket again and again.

    The files lie below recurring/ in the bucket, where dropping them starts nothing. Each turn is
    a batch of its own, called NAME-<time>.
    """


@schedule.command(
    epilog=example(
        "aws s3 cp tasks/ s3://BUCKET/recurring/evaluation/ --recursive",
        'arcspot schedule add nightly --prefix evaluation --cron "cron(0 22 * * ? *)"',
        'arcspot schedule add often --prefix evaluation --rate "rate(12 hours)"',
    )
)
@click.argument("name")
@click.option("--prefix", required=True, metavar="FOLDER", help="A folder below recurring/ in the bucket.")
@click.option("--cron", metavar="CRON", help='In UTC, as "cron(0 22 * * ? *)".')
@click.option("--rate", metavar="RATE", help='As "rate(1 day)".')
@AS_JSON
@click.pass_context
def add(
    ctx: click.Context, name: str, prefix: str, cron: str | None, rate: str | None, as_json: bool
) -> None:
    """Have every file below a prefix submitted at fixed times, or at a fixed rate."""
    from arcspot_cli import scheduling

    expression = scheduling.expression(cron, rate)
    target = the_target(ctx)
    added = scheduling.add(target, name, prefix, expression)
    count = scheduling.files(target, added.prefix)
    if as_json:
        emit({**_plain(added), "files": count})
    else:
        terminal.out(f"{added.name}: {added.expression} submits {added.prefix}, {count} file(s) now")
    if not count:
        bucket = target.output("BucketName")
        terminal.err(f"nothing there yet: aws s3 cp FOLDER s3://{bucket}/{added.prefix} --recursive")


@schedule.command("list", epilog=example("arcspot schedule list", "arcspot schedule list --json"))
@AS_JSON
@click.pass_context
def list_all(ctx: click.Context, as_json: bool) -> None:
    """List the recurring submissions of the stack. Exit status 1 if one cannot be read."""
    from arcspot_cli import scheduling

    faults: list[Fault] = []
    found = list(scheduling.every(the_target(ctx), faults.append))
    if as_json:
        emit([*map(_plain, found), *({"name": fault.what, "fault": fault.why} for fault in faults)])
    else:
        for each in found:
            terminal.out(f"{each.name:<20} {each.expression:<26} {each.prefix}")
        if not found and not faults:
            terminal.err("no schedule; see: arcspot schedule add --help")
    tell(ctx, faults)


@schedule.command(epilog=example("arcspot schedule remove nightly"))
@click.argument("name")
@AS_JSON
@click.pass_context
def remove(ctx: click.Context, name: str, as_json: bool) -> None:
    """Forget a recurring submission. Its files, jobs and results stay."""
    from arcspot_cli import scheduling

    scheduling.remove(the_target(ctx), name)
    if as_json:
        emit({"removed": name})
    else:
        terminal.out(f"{name} is removed; what it submitted stays")


def _plain(one: Recurring) -> dict[str, str]:
    return {"name": one.name, "prefix": one.prefix, "when": one.expression, "state": one.state}
