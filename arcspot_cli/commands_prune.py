"""prune: what updates leave behind."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from arcspot_cli import terminal
from arcspot_cli.commands import AS_JSON, emit, example, tell, the_target


@click.command(epilog=example("arcspot prune", "arcspot --aws --region us-east-1 prune"))
@AS_JSON
@click.pass_context
def prune(ctx: click.Context, as_json: bool) -> None:
    """Remove versions of the runner layer that were replaced more than a day ago.

    Exit status 1 if one could not be removed; the others are.
    """
    from arcspot_cli import pruning
    from arcspot_cli.faults import Fault

    faults: list[Fault] = []
    found = pruning.prune(the_target(ctx), datetime.now(UTC), failed=faults.append)
    if as_json:
        emit([version.arn for version in found])
    else:
        terminal.out(f"{len(found)} old version(s) of the runner layer removed")
    tell(ctx, faults)
