"""results: answers into a folder, or onto the terminal."""

from __future__ import annotations

from pathlib import Path

import click

from arcspot_cli.commands import AS_JSON, BATCH, PATHS, emit, example, the_target


@click.group()
def results() -> None:
    """Bring answers home, and look at them."""


@results.command("get", epilog=example("arcspot results get out/", "arcspot results get out/ --batch monday"))
@click.argument("directory", type=PATHS)
@BATCH
@AS_JSON
@click.pass_context
def results_get(ctx: click.Context, directory: Path, batch: str | None, as_json: bool) -> None:
    """Download finished answers into DIRECTORY/<task id>/, each file checked by its sha256.

    Run it again at any time: only what is new is fetched.
    """
    from arcspot_cli import fetching

    def told(answer: fetching.Answer) -> None:
        if answer.fresh:
            click.echo(f"{answer.task_id} → {answer.folder}", err=True)

    answers = fetching.get(the_target(ctx), directory, batch=batch, done=told)
    if as_json:
        emit(
            [
                {"task_id": a.task_id, "job_id": a.job.job_id, "folder": str(a.folder), "fresh": a.fresh}
                for a in answers
            ]
        )
    elif answers:
        new = sum(answer.fresh for answer in answers)
        click.echo(
            f"{len(answers)} answer(s) in {directory}, {new} of them new; "
            f"all together in {directory}/submission.json"
        )
        if shared := sum(answer.renamed for answer in answers):
            click.echo(
                f"{shared} of them have the id of another task: their folders, and their names in "
                "submission.json, end in ~ and a piece of the job's id",
                err=True,
            )
    else:
        click.echo("no finished answer yet; see: arcspot status", err=True)


@results.command("show", epilog=example("arcspot results show mirror", "arcspot results show mirror --json"))
@click.argument("task_ids", nargs=-1, required=True)
@BATCH
@AS_JSON
@click.pass_context
def results_show(ctx: click.Context, task_ids: tuple[str, ...], batch: str | None, as_json: bool) -> None:
    """Draw answers in the terminal."""
    from arcspot.domain import scoring
    from arcspot_cli import fetching, showing
    from arcspot_cli.errors import CommandFailed

    found = list(fetching.shown(the_target(ctx), task_ids, batch=batch))
    if as_json:
        emit(
            [
                {
                    "task_id": one.task_id,
                    "job_id": one.job.job_id,
                    "verdict": showing.verdict(one.task, one.attempts),
                    "prediction": scoring.write_prediction(one.attempts),
                }
                for one in found
            ]
        )
    else:
        for one in found:
            head = f"{one.task_id}: {showing.verdict(one.task, one.attempts)}"
            click.echo(
                showing.answer(one.task, one.attempts, head=head)
                if one.task
                else f"{head}; its task file is no longer in the bucket, so nothing is drawn"
            )
    missing = set(task_ids) - {one.task_id for one in found}
    if missing:
        raise CommandFailed(f"no finished answer for {', '.join(sorted(missing))}; see: arcspot status")
