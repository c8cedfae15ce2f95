"""results: answers into a folder, or onto the terminal."""

from __future__ import annotations

import json
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


@results.command("show", epilog=example("arcspot results show mirror"))
@click.argument("task_ids", nargs=-1, required=True)
@click.pass_context
def results_show(ctx: click.Context, task_ids: tuple[str, ...]) -> None:
    """Draw answers in the terminal."""
    from arcspot.domain import scoring
    from arcspot_cli import fetching, showing
    from arcspot_cli.errors import CommandFailed

    target = the_target(ctx)
    asked = [w for w in fetching.wanted(target, None) if w.task_id in task_ids]
    jobs = target.store.jobs([w.job_id for w in asked])
    missing = set(task_ids) - {w.task_id for w in asked if w.job_id in jobs and jobs[w.job_id].result_prefix}
    for item in asked:
        job = jobs.get(item.job_id)
        task = fetching.known_task(target, job) if job and job.result_prefix else None
        if job is None or task is None:
            continue
        attempts = scoring.read_prediction(
            json.loads(target.bucket.read(job.result_prefix + "prediction.json"))
        )
        click.echo(showing.answer(task, attempts, head=f"{item.task_id}: {showing.verdict(task, attempts)}"))
    if missing:
        raise CommandFailed(f"no finished answer for {', '.join(sorted(missing))}; see: arcspot status")
