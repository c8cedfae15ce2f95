"""check, cleanup: whether a stack can work, and how it goes away."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from arcspot_cli.commands import AS_JSON, emit, example, the_target


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
            click.echo(f"{mark} {finding.what}: {finding.said}")
    ctx.exit(1 if any(finding.ok is False for finding in found) else 0)


@click.command(epilog=example("arcspot --aws --stack arcspot cleanup --yes"))
@click.option("--yes", is_flag=True, help="Do it; without this, only say what would be done.")
@AS_JSON
@click.pass_context
def cleanup(ctx: click.Context, yes: bool, as_json: bool) -> None:
    """Remove the stack with all of its data: instances, every object version, tables, functions."""
    from arcspot_cli import cleaning

    target = the_target(ctx)
    told = {"stack": target.stack, "bucket": target.output("BucketName"), "done": yes}
    if not yes:
        sentence = (
            f"this would cancel all open jobs, end all instances of {target.stack}, delete every version "
            f"of every object in {told['bucket']} and the stack itself; to do it: arcspot cleanup --yes"
        )
        click.echo(sentence, err=as_json)
        if as_json:
            emit(told)
        ctx.exit(1)
    cleaning.clean(target, datetime.now(UTC), say=lambda text: click.echo(text, err=True))
    if as_json:
        emit(told)
    else:
        click.echo("nothing is left")
