"""The `arcspot` command. Data goes to stdout, progress to stderr; what fails says what to try next.

Imports of weight happen inside the commands: `arcspot --help` must answer at once.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from arcspot.errors import ArcspotError
from arcspot_cli.commands import AS_JSON, BATCH, PATHS, emit, example, the_target
from arcspot_cli.commands_local import local
from arcspot_cli.commands_operating import cancel, cost, pause, resume, retry
from arcspot_cli.commands_schedule import schedule
from arcspot_cli.simulating import simulate

if TYPE_CHECKING:
    from arcspot_cli.looking import Look
    from arcspot_cli.target import Target


class Friendly(click.Group):
    """A group whose commands end in one clear sentence, never in a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ArcspotError as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt:
            click.echo("\nstopped; nothing is lost, the same command goes on where this one was", err=True)
            sys.exit(130)
        except Exception as error:
            raise _told(error) from error


def _told(error: Exception) -> Exception:
    """Errors of the AWS SDK as a sentence; anything else is a bug and keeps its traceback."""
    if type(error).__module__.startswith("botocore"):
        return click.ClickException(
            f"AWS says: {error}; `arcspot check` looks at credentials, stack and quota"
        )
    return error


@click.group(
    cls=Friendly,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=example(
        "arcspot demo", "arcspot submit tasks/ --wait", "arcspot status --watch", "arcspot results get out/"
    ),
)
@click.option("--stack", metavar="NAME", help="Name of the CloudFormation stack.")
@click.option("--local", "where", flag_value="local", help="The local stack of this folder.")
@click.option("--aws", "where", flag_value="aws", help="AWS, even while a local stack is up.")
@click.option("--endpoint-url", metavar="URL", help="Some other endpoint (as AWS_ENDPOINT_URL).")
@click.option("--region", metavar="REGION", help="AWS region.")
@click.option("--profile", metavar="NAME", help="AWS profile.")
@click.version_option(package_name="arcspot")
@click.pass_context
def main(ctx: click.Context, /, **said: str | None) -> None:
    """Test-time training for ARC tasks on spot GPUs, within a budget it cannot break.

    Commands talk to --endpoint-url or AWS_ENDPOINT_URL, else to the local stack of this folder
    if one is up, else to AWS.
    """
    ctx.obj = said


for _command in (cost, pause, resume, cancel, retry, schedule, simulate, local):
    main.add_command(_command)


@main.command(
    epilog=example(
        "arcspot submit task.json",
        "arcspot submit tasks/ --batch monday --wait",
        "arcspot submit tasks/ --lane 0 --deadline 2026-12-24T18:00",
    )
)
@click.argument("paths", nargs=-1, required=True, type=PATHS)
@click.option("--batch", metavar="NAME", help="Name of the batch. Default: the folder's (or file's) name.")
@click.option("--lane", type=click.IntRange(0, 2), help="0 comes before 1 (the usual), 1 before 2.")
@click.option(
    "--deadline",
    type=click.DateTime(["%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%d"]),
    help="UTC. More instances start if the budget allows; what cannot be met is said by mail.",
)
@click.option("--wait", is_flag=True, help="Stay until every job is over.")
@AS_JSON
@click.pass_context
def submit(
    ctx: click.Context,
    paths: tuple[Path, ...],
    batch: str | None,
    lane: int | None,
    deadline: datetime | None,
    wait: bool,
    as_json: bool,
) -> None:
    """Check task files and drop the good ones into the bucket. Exit status 1 if any was refused."""
    from arcspot_cli import submitting

    batch = batch or submitting.batch_name(paths)
    found = submitting.find(paths, say=lambda text: click.echo(text, err=True))
    uploads = [submitting.check(path, submitting.key_for(batch, name)) for path, name in found]
    target = the_target(ctx)
    by = deadline.replace(tzinfo=UTC) if deadline else None
    submitting.prepare(target, batch, datetime.now(UTC), lane=lane, deadline=by)
    with click.progressbar(length=len(uploads), label="uploading", file=sys.stderr) as bar:
        told = submitting.submit(target, uploads, batch, done=lambda _: bar.update(1))
    for refusal in told.refused:
        click.echo(f"refused: {refusal}", err=True)
    for key in told.replaced:
        click.echo(f"{key} had another content; its earlier version stays in the bucket", err=True)
    good = len(told.uploaded) + len(told.unchanged)
    until = time.monotonic() + 60 + good / 5
    while good and not submitting.receive(target, told) and time.monotonic() < until:
        time.sleep(1)
    if as_json:
        emit(
            {
                "batch": batch,
                "uploaded": told.uploaded,
                "replaced": told.replaced,
                "unchanged": told.unchanged,
                "refused": told.refused,
                "jobs": told.jobs,
                "new_jobs": told.new_jobs,
            }
        )
    else:
        click.echo(
            f"batch {batch}: {len(told.uploaded)} file(s) uploaded, {len(told.unchanged)} already there, "
            f"{len(told.refused)} refusal(s); {len(told.jobs)} job(s), {told.new_jobs} of them new"
        )
    if wait and told.jobs:
        watch(target, batch=None, job_ids=list(told.jobs))
    ctx.exit(1 if told.refused else 0)


@main.command(
    epilog=example("arcspot status", "arcspot status --watch --batch monday", "arcspot status --json")
)
@BATCH
@click.option("--watch", "watching", is_flag=True, help="Keep looking until every job is over.")
@AS_JSON
@click.pass_context
def status(ctx: click.Context, batch: str | None, watching: bool, as_json: bool) -> None:
    """Show jobs, instances and money, and why jobs wait."""
    from arcspot_cli import looking, showing

    target = the_target(ctx)
    if watching and not as_json:
        watch(target, batch=batch, job_ids=None)
        return
    seen = _look(target, batch, None)
    if as_json:
        emit(looking.as_json(seen))
        return
    from rich.console import Console

    Console(highlight=False, no_color=not showing.colours()).print(showing.tables(seen))


def _look(target: Target, batch: str | None, job_ids: list[str] | None) -> Look:
    from arcspot_cli.looking import look

    return look(target, datetime.now(UTC), batch=batch, job_ids=job_ids)


def watch(target: Target, *, batch: str | None, job_ids: list[str] | None) -> None:
    """Look every two seconds until all jobs are over: tables on a terminal, lines elsewhere."""
    from arcspot_cli import showing

    if not sys.stdout.isatty():
        pace = showing.Pace()
        while True:
            seen = _look(target, batch, job_ids)
            if pace.worth_saying(seen, time.monotonic()):
                click.echo(showing.line(seen))
            if seen.jobs and seen.over:
                return
            time.sleep(2)
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False, no_color=not showing.colours())
    with Live(console=console, auto_refresh=False) as live:
        while True:
            seen = _look(target, batch, job_ids)
            live.update(showing.tables(seen), refresh=True)
            if seen.jobs and seen.over:
                return
            time.sleep(2)


@main.group()
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


@main.command(epilog=example("arcspot demo", "arcspot demo --tasks my-tasks --out my-results"))
@click.option("--tasks", "tasks_dir", type=PATHS, default=Path("examples/tasks"), show_default=True)
@click.option("--out", type=PATHS, default=Path("demo-results"), show_default=True)
@click.option("--keep", is_flag=True, help="Leave the local stack up.")
@AS_JSON
@click.pass_context
def demo(ctx: click.Context, tasks_dir: Path, out: Path, keep: bool, as_json: bool) -> None:
    """The whole path on this machine: stack up, tasks dropped, solved, drawn, scored, stack down."""
    from arcspot_cli import demonstrating

    story = demonstrating.run(tasks_dir, out, project_dir=Path.cwd(), keep=keep, began=time.monotonic())
    demonstrating.closing(story, out, lambda line: click.echo(line, err=as_json))
    if as_json:
        emit(demonstrating.story_json(story))
    ctx.exit(1 if story.dead or not story.answered else 0)


@main.command(epilog=example("arcspot check", "arcspot --aws --region us-east-1 check"))
@AS_JSON
@click.pass_context
def check(ctx: click.Context, as_json: bool) -> None:
    """Look for what would stop you: credentials, stack, GPU quota, unconfirmed mail."""
    from arcspot_cli import checking

    found = list(checking.findings(the_target(ctx)))
    if as_json:
        emit([{"what": f.what, "ok": f.ok, "said": f.said} for f in found])
    else:
        for finding in found:
            mark = {True: "ok  ", False: "NO  ", None: "?   "}[finding.ok]
            click.echo(f"{mark}{finding.what}: {finding.said}")
    ctx.exit(1 if any(finding.ok is False for finding in found) else 0)


@main.command(epilog=example("arcspot --aws --stack arcspot cleanup --yes"))
@click.option("--yes", is_flag=True, help="Do it; without this, only say what would be done.")
@click.pass_context
def cleanup(ctx: click.Context, yes: bool) -> None:
    """Remove the stack with all of its data: instances, every object version, tables, functions."""
    from arcspot_cli import cleaning

    target = the_target(ctx)
    if not yes:
        click.echo(
            f"this would cancel all open jobs, end all instances of {target.stack}, delete every version "
            f"of every object in {target.output('BucketName')} and the stack itself; "
            "to do it: arcspot cleanup --yes"
        )
        ctx.exit(1)
    cleaning.clean(target, datetime.now(UTC), say=lambda text: click.echo(text, err=True))
    click.echo("nothing is left")


if __name__ == "__main__":
    main()
