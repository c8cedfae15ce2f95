"""results: answers into a folder, or onto the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from arcspot_cli import terminal
from arcspot_cli.commands import AS_JSON, BATCH, PATHS, emit, example, tell, the_target

if TYPE_CHECKING:
    from arcspot_cli.faults import Fault
    from arcspot_cli.fetching import Answer


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

    Run it again at any time: only what is missing is fetched. Folders and files that arcspot did not
    write stay as they are. Exit status 1 if an answer could not be brought home.
    """
    from arcspot_cli import fetching, rows, showing

    faults: list[Fault] = []

    def told(answer: fetching.Answer) -> None:
        if answer.fresh and not rows.on_a_terminal():
            terminal.err(f"{answer.task_id} → {answer.folder}")

    answers = fetching.get(
        the_target(ctx),
        directory,
        batch=batch,
        done=told,
        failed=faults.append,
        steps=showing.steps,
        say=showing.say,
    )
    if as_json:
        emit([*map(_plain, answers), *map(_faulty, faults)])
    elif answers:
        new = sum(answer.fresh for answer in answers)
        terminal.out(
            f"{len(answers)} answer(s) in {directory}, {new} of them new; "
            f"all together in {directory}/submission.json"
        )
        _tell_of_names(answers)
    elif not faults:
        terminal.err("no finished answer yet; see: arcspot status")
    tell(ctx, faults)


def _tell_of_names(answers: list[Answer]) -> None:
    if shared := sum(answer.renamed for answer in answers):
        terminal.err(
            f"{shared} of them have the id of another task, or one that some systems take for it: their "
            "folders end in ~ and a piece of the job's id"
        )
    if respelt := sum(answer.respelt for answer in answers):
        terminal.err(
            f"{respelt} of them have an id that some system does not take for a folder: "
            "arcspot.json in each folder holds the id as it is"
        )


def _plain(answer: Answer) -> dict[str, object]:
    return {
        "task_id": answer.task_id,
        "job_id": answer.job.job_id,
        "folder": str(answer.folder),
        "fresh": answer.fresh,
        "fault": None,
    }


def _faulty(fault: Fault) -> dict[str, object]:
    return {
        "task_id": fault.what,
        "job_id": fault.job_id or None,
        "folder": None,
        "fresh": False,
        "fault": fault.why,
    }


@results.command("show", epilog=example("arcspot results show mirror", "arcspot results show mirror --json"))
@click.argument("task_ids", nargs=-1, required=True)
@BATCH
@AS_JSON
@click.pass_context
def results_show(ctx: click.Context, task_ids: tuple[str, ...], batch: str | None, as_json: bool) -> None:
    """Draw answers in the terminal. Exit status 1 if one is not there or cannot be read."""
    from arcspot.domain import scoring
    from arcspot_cli import fetching, showing

    faults: list[Fault] = []
    found = list(fetching.shown(the_target(ctx), task_ids, batch=batch, failed=faults.append))
    missing = set(task_ids) - {one.task_id for one in found} - {fault.what for fault in faults}
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
            + [{"task_id": f.what, "job_id": f.job_id or None, "fault": f.why} for f in faults]
        )
    else:
        for one in found:
            head = f"{one.task_id}: {showing.verdict(one.task, one.attempts)}"
            if one.task:
                terminal.out(head)
                terminal.drawn(showing.answer(one.task, one.attempts))
            else:
                terminal.out(f"{head}; its task file is no longer in the bucket, so nothing is drawn")
    if missing:
        terminal.err(f"no finished answer for {', '.join(sorted(missing))}; see: arcspot status")
    tell(ctx, faults, failed=bool(missing))
