"""check, cleanup: whether a stack can work, and how it goes away."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from arcspot_cli import terminal
from arcspot_cli.commands import AS_JSON, emit, example, the_target

if TYPE_CHECKING:
    from arcspot_cli.target import Target


@click.command(epilog=example("arcspot check", "arcspot --aws --region us-east-1 check"))
@AS_JSON
@click.pass_context
def check(ctx: click.Context, as_json: bool) -> None:
    """Look for what would stop you: credentials, stack, zones, GPU quota, image, mail, budget."""
    from arcspot_cli import checking

    found = list(checking.findings(the_target(ctx), datetime.now(UTC)))
    if as_json:
        emit([{"what": f.what, "ok": f.ok, "said": f.said} for f in found])
    else:
        for finding in found:
            mark = {True: "ok  ", False: "NO  ", None: "look"}[finding.ok]
            terminal.out(f"{mark} {finding.what}: {finding.said}")
    ctx.exit(1 if any(finding.ok is False for finding in found) else 0)


@click.command(epilog=example("arcspot --aws --stack arcspot cleanup", "arcspot cleanup --yes arcspot-local"))
@click.option("--yes", metavar="NAME", help="Do it without asking, if NAME is the stack's name.")
@AS_JSON
@click.pass_context
def cleanup(ctx: click.Context, yes: str | None, as_json: bool) -> None:
    """Remove the stack with all of its data: instances, every object version, tables, functions.

    May be run again after a deletion that failed or was stopped. Ends with a count of what is left.
    """
    from arcspot_cli import cleaning

    target = the_target(ctx)
    told = {"stack": target.stack, "bucket": _bucket(target), "done": False}
    if not _meant(target, yes, ask=not as_json):
        sentence = (
            f"this would cancel all open jobs, end all instances of {target.stack}, delete every version "
            f"of every object in {told['bucket'] or 'its bucket'}, all tables and the stack itself; "
            f"to do it: arcspot cleanup --yes {target.stack}"
        )
        terminal.out(sentence, err=as_json)
        if as_json:
            emit(told)
        ctx.exit(1)
    cleaned = cleaning.clean(target, datetime.now(UTC), say=lambda text: terminal.err(text))
    if as_json:
        emit({**told, "done": cleaned.nothing_left, "removed": cleaned.removed, "left": cleaned.left})
    else:
        for line in cleaning.table(cleaned):
            terminal.out(line)
    ctx.exit(0 if cleaned.nothing_left else 1)


def _bucket(target: Target) -> str:
    """The bucket's name, as far as the stack can still tell it."""
    from arcspot_cli.errors import CommandFailed

    try:
        return target.output("BucketName")
    except CommandFailed:
        return ""  # half deleted: what is left is found without the stack's outputs


def _meant(target: Target, yes: str | None, *, ask: bool) -> bool:
    """Whether the person named the very stack that would go: a bare yes is soon said of a wrong one."""
    if yes is None and ask:
        try:
            yes = terminal.asked(f"type the stack's name to remove {target.stack} on {target.label}")
        except click.Abort:
            return False
    return yes == target.stack
