"""demo: the whole path on this machine in one command."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import click

from arcspot_cli import terminal
from arcspot_cli.commands import AS_JSON, PATHS, emit, example


@click.command(epilog=example("arcspot demo", "arcspot demo --tasks my-tasks --out my-results"))
@click.option("--tasks", "tasks_dir", type=PATHS, default=Path("examples/tasks"), show_default=True)
@click.option("--out", type=PATHS, default=Path("demo-results"), show_default=True)
@click.option("--keep", is_flag=True, help="Leave the local stack up.")
@AS_JSON
@click.pass_context
def demo(ctx: click.Context, tasks_dir: Path, out: Path, keep: bool, as_json: bool) -> None:
    """The whole path on this machine: stack up, tasks dropped, solved, drawn, scored, stack down."""
    from arcspot_cli import demonstrating

    def say(text: str) -> None:
        terminal.out(text, err=as_json)

    def show(text: str, picture: Sequence[str]) -> None:
        terminal.out("", text, err=as_json)
        terminal.drawn(picture, err=as_json)

    story = demonstrating.run(
        tasks_dir, out, project_dir=Path.cwd(), keep=keep, began=time.monotonic(), show=show
    )
    demonstrating.closing(story, out, say)
    if as_json:
        emit(demonstrating.story_json(story))
    ctx.exit(1 if story.dead or not story.answered else 0)
