"""rehearse: the first deployment into an account, in one command that costs at most a dollar."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from arcspot_cli import terminal
from arcspot_cli.commands import AS_JSON, PATHS, emit, example

if TYPE_CHECKING:
    from arcspot_cli.rehearsing import Plan


@click.command(
    epilog=example(
        "arcspot --local rehearse",
        "arcspot --aws --region us-east-1 rehearse --email you@example.com",
        "arcspot rehearse --folder rehearsal/arcspot-rehearsal-1127-2033   # go on where one stopped",
    )
)
@click.option("--email", metavar="ADDRESS", default="", help="On AWS: who gets the stack's mail.")
@click.option("--folder", type=PATHS, help="Where everything is kept. One that is there goes on.")
@click.option(
    "--yes", is_flag=True, help="Do not ask before starting, nor before cleaning up after a failure."
)
@AS_JSON
@click.pass_context
def rehearse(ctx: click.Context, email: str, folder: Path | None, yes: bool, as_json: bool) -> None:
    """Check, deploy, solve six tasks, survive an interruption, pay, clean up; at most $1, each step verified.

    What every step said is kept in a folder that can be sent to the authors. Not yet seen on AWS.
    """
    from arcspot_cli import rehearsing

    def say(text: str) -> None:
        terminal.err(text)

    known = rehearsing.load(folder) if folder else None
    rehearsal = known or rehearsing.Rehearsal(_planned(ctx, email, folder))
    plan = rehearsal.plan
    place = "this machine" if plan.local else f"AWS {plan.region}"
    say(f"stack {plan.stack} on {place}; kept in {plan.folder}")
    say("steps: " + ", ".join(name for name, _ in rehearsing.steps(plan)))
    if not plan.local and not yes:
        terminal.confirmed("this deploys into your account and costs at most $1; go on?", abort=True)
    passed = rehearsing.run(rehearsal, say)
    if not passed and rehearsal.done[-1].name != "check":
        say(f"to remove everything: {plan.cleanup}")
        say(f"to go on instead: arcspot rehearse --folder {plan.folder}")
        if yes or _wanted():
            cleaned = rehearsing.clean_up(rehearsal, say)
            say("cleaned up" if cleaned else f"not cleaned up; run: {plan.cleanup}")
    if as_json:
        emit({"passed": passed, "folder": str(plan.folder), "steps": [step.name for step in rehearsal.done]})
    else:
        terminal.out(f"{'all steps passed' if passed else 'it did not pass'}; everything is in {plan.folder}")
    ctx.exit(0 if passed else 1)


def _planned(ctx: click.Context, email: str, folder: Path | None) -> Plan:
    import os

    from arcspot_cli import rehearsing
    from arcspot_cli.errors import CommandFailed
    from arcspot_cli.target import TARGET_VARIABLE

    said = ctx.find_root().obj
    where = said["where"] or os.environ.get(TARGET_VARIABLE)
    if where not in ("local", "aws"):
        raise CommandFailed("say where: arcspot --local rehearse, or arcspot --aws --region REGION rehearse")
    local = where == "local"
    if not local and not email:
        raise CommandFailed("on AWS the stack mails somebody: --email you@example.com")
    now = datetime.now(UTC)
    stack = "arcspot-local" if local else said["stack"] or f"arcspot-rehearsal-{now:%m%d-%H%M}"
    region = said["region"] or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not local and not region:
        raise CommandFailed("say which region: arcspot --aws --region us-east-1 rehearse …")
    place = folder or Path("rehearsal") / f"{stack}-{now:%m%d-%H%M%S}"
    return rehearsing.Plan(
        stack=stack, folder=place, project_dir=Path.cwd(), local=local, region=region,
        profile=said["profile"], email=email,
    )  # fmt: skip


def _wanted() -> bool:
    try:
        return terminal.confirmed("clean up now?", default=True)
    except click.Abort:
        return False
