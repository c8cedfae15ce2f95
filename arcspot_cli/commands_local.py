"""local: the whole stack on this machine, and a hand to break it with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from arcspot_cli import terminal
from arcspot_cli.commands import AS_JSON, emit, example


@click.group()
def local() -> None:
    """The whole stack on this machine, without an AWS account."""


@local.command("up", epilog=example("arcspot local up", "arcspot local up --max-instances 1"))
@click.option("--max-instances", type=click.IntRange(1, 16), default=2, show_default=True)
@click.option("--parameter", "parameters", multiple=True, metavar="NAME=VALUE", help="A template parameter.")
@AS_JSON
def local_up(max_instances: int, parameters: tuple[str, ...], as_json: bool) -> None:
    """Start the emulator, deploy the real template to it, start the instance host."""
    from arcspot_cli.local import stack

    given = dict(p.split("=", 1) for p in parameters if "=" in p)
    if len(given) != len(parameters):
        raise click.UsageError("--parameter takes NAME=VALUE, each name once")
    options = stack.LocalOptions(project_dir=Path.cwd(), max_instances=max_instances, parameters=given)
    up = stack.up(options, report=lambda text: terminal.err(text))
    if as_json:
        emit({"endpoint_url": up.endpoint_url, "stack": up.stack_name, "region": up.region})
    else:
        terminal.out(f"up at {up.endpoint_url}; next: arcspot submit examples/tasks")


@local.command("down", epilog=example("arcspot local down"))
@AS_JSON
def local_down(as_json: bool) -> None:
    """Stop all of it; nothing is left running."""
    from arcspot_cli.local import stack

    stack.down(Path.cwd(), report=terminal.err)
    if as_json:
        emit({"up": False})
    else:
        terminal.out("down")


@local.command("env", epilog=example('eval "$(arcspot local env)" && aws s3 ls'))
@AS_JSON
def local_env(as_json: bool) -> None:
    """Print shell lines that point the AWS CLI at the local stack."""
    told = {name: value for name, value in _running().environment().items() if name.startswith("AWS_")}
    if as_json:
        emit(told)
        return
    terminal.shell(dict(sorted(told.items())))


@local.command("status", epilog=example("arcspot local status"))
@AS_JSON
def local_status(as_json: bool) -> None:
    """Show the emulator's processes and the instances that play EC2."""
    from arcspot_cli.local import stack

    seen = stack.status(Path.cwd())
    if as_json:
        emit(
            {
                "up": seen.stack is not None,
                "endpoint_url": seen.stack.endpoint_url if seen.stack else None,
                "instances": [dict(i) for i in seen.instances],
                "left_over": [record.name for record in seen.left_over],
            }
        )
        return
    if seen.left_over:
        names = ", ".join(record.name for record in seen.left_over)
        terminal.out(f"not up, but {names} still run(s); end it with: arcspot local down")
        return
    if seen.stack is None:
        terminal.out("not up; start it with: arcspot local up")
        return
    terminal.out(f"{seen.stack.stack_name} at {seen.stack.endpoint_url}, since {seen.stack.started_at}")
    for instance in seen.instances:
        terminal.out("  " + "  ".join(str(value) for value in instance.values()))


def _control(verb: str, explained: str) -> None:
    @local.command(verb, help=explained, epilog=example(f"arcspot local {verb} i-0123456789abcdef0"))
    @click.argument("instance_id")
    @AS_JSON
    def command(instance_id: str, as_json: bool) -> None:
        from arcspot_cli.local import stack

        stack.control(_running(), instance_id, verb)
        if as_json:
            emit({"instance_id": instance_id, "done": verb})
        else:
            terminal.out(f"{instance_id}: {verb}")


def _running() -> Any:
    from arcspot_cli.errors import CommandFailed
    from arcspot_cli.local import stack

    up = stack.load(Path.cwd())
    if up is None:
        raise CommandFailed("no local stack is up in this folder; run: arcspot local up")
    return stack.believe(up)


for _verb, _explained in {
    "interrupt": "Announce a spot interruption to an instance; it ends two minutes later.",
    "rebalance": "Recommend a rebalance to an instance.",
    "freeze": "Stop an instance's processes without ending them: a hung machine.",
    "thaw": "Let a frozen instance go on.",
    "crash": "End an instance's processes at once: a crashed machine.",
}.items():
    _control(_verb, _explained)
