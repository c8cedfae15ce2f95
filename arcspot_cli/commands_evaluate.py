"""evaluate: what the solver is worth on a folder of tasks."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from arcspot_cli import terminal
from arcspot_cli.commands import PATHS, example

if TYPE_CHECKING:
    from arcspot_cli.evaluation.asking import Only
    from arcspot_cli.evaluation.comparing import Comparison
    from arcspot_cli.evaluation.figures import Result, Totals
    from arcspot_cli.evaluation.solving import Means

STDOUT = Path("-")
NAMES = 27
"""Characters for the names beside the figures."""


@click.command(
    epilog=example(
        "arcspot evaluate tasks/ --limit 20 --json run.json --html run.html",
        "arcspot evaluate tasks/ --budget-seconds 60 --base --json base.json",
        "arcspot evaluate tasks/ --only network --ids chosen.txt --json network.json",
        "arcspot evaluate --compare before.json after.json",
    )
)
@click.argument("directory", type=PATHS, required=False)
@click.option("--budget-seconds", type=click.FloatRange(min=0, min_open=True), default=120.0,
              show_default=True, help="Seconds for each task.")  # fmt: skip
@click.option("--limit", type=click.IntRange(min=1), help="Only the first so many tasks, by file name.")
@click.option("--ids", "ids_file", type=PATHS, metavar="FILE",
              help="Only the tasks that this text file lists, one id a line.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--json", "json_file", type=PATHS, metavar="FILE",
              help="Write everything here (- is stdout); the same command goes on from it.")  # fmt: skip
@click.option("--html", "html_file", type=PATHS, metavar="FILE", help="Write a gallery of all answers here.")
@click.option("--jobs", type=click.IntRange(min=1),
              help="Tasks at a time, each in a process; one per core, on a GPU one.")  # fmt: skip
@click.option("--model", type=PATHS, metavar="CHECKPOINT", help="Start from this file, not the bundle's.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, …")
@click.option("--only", type=click.Choice(("rules", "network", "both")), default="both", show_default=True,
              help="Who answers: rules with nothing trained, the network trained on the task with nothing "
              "before it, or whoever is to be believed.")  # fmt: skip
@click.option("--base", is_flag=True, help="Answer with the pretrained model alone too: what adapting adds.")
@click.option("--compare", "pair", type=PATHS, nargs=2, metavar="A B", help="Compare two --json files.")
@click.pass_context
def evaluate(
    ctx: click.Context,
    /,
    directory: Path | None,
    pair: tuple[Path, Path] | None,
    json_file: Path | None,
    **options: Any,
) -> None:
    """Solve every task file in DIRECTORY with the real solver and score the answers.

    Test outputs are taken away before the solver sees a task; scoring happens outside of it. With
    --json FILE nothing is lost: stopped by Ctrl-C or a power cut, the same command goes on. Exit
    status 0 when every file was a task and every task was answered, right or wrong. How the figures
    are defined: docs/solver.md.
    """
    if pair is not None:
        if directory is not None:
            raise click.UsageError("--compare takes two files that --json wrote, and no DIRECTORY")
        ctx.exit(_compare(*pair, seed=options["seed"], json_file=json_file))
    if directory is None:
        raise click.UsageError(
            "DIRECTORY is missing: a folder with ARC task files, or --compare A.json B.json"
        )
    if options["base"] and options["only"] == "rules":
        raise click.UsageError(
            "--base asks the pretrained network alone and --only rules asks no network: leave out one of them"
        )
    ctx.exit(_evaluate(directory, json_file=json_file, **options))


def _evaluate(
    directory: Path,
    *,
    budget_seconds: float,
    limit: int | None,
    seed: int,
    json_file: Path | None,
    html_file: Path | None,
    jobs: int | None,
    model: Path | None,
    device: str,
    base: bool,
    only: Only,
    ids_file: Path | None,
) -> int:
    import numpy as np

    from arcspot_cli.evaluation import choosing, gallery, keeping, machine, running, solving, working

    began = time.monotonic()
    file = None if json_file in (None, STDOUT) else json_file
    ids = None if ids_file is None else choosing.read(ids_file)
    wanted = running.read_tasks(directory, limit=limit, ids=ids, leave_out=[file] if file else [])
    for note in wanted.notes:
        terminal.err(note)
    for sentence in wanted.refused:
        terminal.err(f"refused: {sentence}")
    using = solving.means(device, model)
    cores = machine.cores()
    jobs = min(jobs or (1 if using.gpu else cores), len(wanted.tasks) * (1 + base))
    threads = max(1, cores // jobs)
    settings = running.Settings(budget_seconds, seed, using.device, using.checkpoint, base, only)
    key = keeping.identity(
        solver_version=using.solver_version, code=using.solver_code, checkpoint=using.sha256, seed=seed,
        seconds=budget_seconds, device=using.device.partition(":")[0], only=only,
    )  # fmt: skip
    keeper = keeping.Keeper(file, key)
    with _until_interrupted() as asked, _Progress() as progress:
        evaluation = running.run(
            wanted, settings, keeper=keeper, told=progress, stopping=lambda: bool(asked),
            crew=working.processes(solving.TorchSolver(threads), jobs),
        )  # fmt: skip
    about = {
        "tasks_dir": str(directory),
        "solver_version": using.solver_version,
        "solver_code": using.solver_code,
        "checkpoint": _checkpoint(using),
        "settings": {
            "budget_seconds": budget_seconds, "seed": seed, "device": using.device, "limit": limit,
            "jobs": jobs, "threads": threads, "base": base, "only": only,
            "ids": None if ids is None else ids.to_json(),
        },
        "machine": machine.described(using),
        "seconds_here": round(time.monotonic() - began, 3),
        "kept_from_before": evaluation.kept,
    }  # fmt: skip
    document = running.document(
        evaluation, wanted, key=key, made_at=datetime.now(UTC), about=about, rng=np.random.default_rng(seed)
    )
    if html_file is not None:
        keeping.write_text(html_file, gallery.page(evaluation, document))
    if evaluation.stopped:
        if document["tasks"]:
            terminal.err(*_summary(document))
        if file is not None:
            terminal.err(f"finished tasks, and the state of those under way, are kept beside {file}")
        raise KeyboardInterrupt
    keeper.finish(document)
    if json_file == STDOUT:
        terminal.document(keeping.text(document))
    else:
        terminal.out(*_summary(document))
    return 1 if wanted.refused or document["failed"] else 0


def _checkpoint(using: Means) -> dict[str, str | None] | None:
    return None if using.checkpoint is None else {"name": using.checkpoint.name, "sha256": using.sha256}


def _compare(a: Path, b: Path, *, seed: int, json_file: Path | None) -> int:
    import numpy as np

    from arcspot_cli.errors import CommandFailed
    from arcspot_cli.evaluation import comparing, crediting, keeping

    (about_a, first), (about_b, second) = keeping.read(a), keeping.read(b)
    arms = crediting.arm(about_a), crediting.arm(about_b)
    try:
        found = comparing.compare(first, second, rng=np.random.default_rng(seed))
    except ValueError as fault:
        raise CommandFailed(f"{a} and {b}: {fault}") from fault
    told = {"a": str(a), "b": str(b), "asked_a": arms[0], "asked_b": arms[1], **found.to_json()}
    if json_file is not None and json_file != STDOUT:
        keeping.write(json_file, told)
    if json_file == STDOUT:
        terminal.document(keeping.text(told))
    else:
        terminal.out(*_comparison(found, f"{a} ({arms[0]})", f"{b} ({arms[1]})"))
    return 0


# --- words ---------------------------------------------------------------------------------


def _usd_a_task(column: dict[str, Any]) -> float:
    return float(column["t4_usd_micros"]) / 1e6 / max(1, int(column["solved"]))


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _summary(document: dict[str, Any]) -> list[str]:
    """The figures as a table; with --base both models side by side."""
    from arcspot.domain.reporting import duration
    from arcspot_cli.evaluation import crediting

    columns = [document, *([document["base"]] if "base" in document else [])]

    def row(name: str, told: Any) -> str:
        return f"{name:>{NAMES}}  " + "  ".join(f"{told(column):>12}" for column in columns)

    def seconds(value: float | None) -> str:
        return "–" if value is None else duration(value)

    lines = [
        *([f"{'asked':>{NAMES}}  {crediting.arm(document)}"] if not _asked_both(document) else []),
        *([f"{'':>{NAMES}}  {'adapted':>12}  {'model alone':>12}"] if len(columns) > 1 else []),
        row("tasks", lambda c: f"{c['solved']:,}"),
        *([row("failed", lambda c: f"{c['failed']:,}")] if any(c["failed"] for c in columns) else []),
        row("pass@2", lambda c: _share(c["pass_at_2"])),
        row("pass@1", lambda c: _share(c["pass_at_1"])),
        row("all tests right", lambda c: _share(c["all_right"])),
        *_solved_by(columns, row),
        row("among the candidates", lambda c: _share(c["oracle"])),
        row("output size right", lambda c: _share(c["sizes_right"])),
        row("demonstrations fitted", lambda c: _share(c["demo_fit"])),
        row("seconds, p50 / p90", lambda c: f"{c['seconds_p50'] or 0:.1f} / {c['seconds_p90'] or 0:.1f}"),
        row("seconds in all", lambda c: seconds(c["seconds_total"])),
        row("of them for rules", lambda c: seconds(c["small_seconds"])),
        row("memory, at most", lambda c: f"{c['peak_mib']:,} MiB" if c["peak_mib"] else "–"),
        row("arithmetic", lambda c: f"{c['flops'] / 1e12:,.1f} TFLOP"),
        row(
            "on a T4, ESTIMATE", lambda c: f"{seconds(c['t4_seconds'])} of GPU, ${_usd_a_task(c):.6f} a task"
        ),
    ]
    gain = document.get("gain")
    if gain:
        lines.append(
            f"{'adapting adds':>{NAMES}}  {_points(gain['difference'])} points of pass@2 "
            f"(95 %: {_points(gain['low'])} to {_points(gain['high'])}), "
            f"{len(gain['wins'])} tasks won, {len(gain['losses'])} lost"
        )
    ended = ", ".join(f"{count:,} {reason}" for reason, count in document["stopped_by"].items())
    if ended:
        lines.append(f"{'ended by':>{NAMES}}  {ended}")
    for name, each in document["hypotheses"].items():
        lines.append(f"{name:>{NAMES}}  {each['tasks']} task(s), pass@2 {_share(each['pass_at_2'])}")
    return lines


def _asked_both(document: dict[str, Any]) -> bool:
    return bool(document["settings"].get("only", "both") == "both")


def _solved_by(columns: list[dict[str, Any]], row: Callable[[str, Callable[[Any], str]], str]) -> list[str]:
    """pass@2 by what solved the tasks, and what of it took training."""
    from arcspot_cli.evaluation import crediting

    names = list(dict.fromkeys(name for column in columns for name in column["solved_by"]))
    if not any(column["scored"] for column in columns):
        return []

    def share(name: str) -> Callable[[dict[str, Any]], str]:
        return lambda column: _share(column["solved_by"].get(name, 0.0))

    return [
        *(row(f"solved by {name}", share(name)) for name in names),
        row("trained networks alone", lambda c: _share(crediting.by_training(c["solved_by"]))),
    ]


def _points(value: float) -> str:
    return f"{100 * value:+.1f}"


def _comparison(found: Comparison, a: str, b: str) -> list[str]:
    verdict = "the interval leaves out 0" if found.certain else "no difference is shown"
    lines = [
        f"{'A':>12}  {a}: pass@2 {found.pass_at_2_a:.1%}",
        f"{'B':>12}  {b}: pass@2 {found.pass_at_2_b:.1%}",
        f"{'B − A':>12}  {_points(found.difference)} points over {found.tasks} common tasks; "
        f"95 % interval {_points(found.low)} to {_points(found.high)}: {verdict}",
        f"{'B won':>12}  {len(found.wins)}: {' '.join(found.wins)}",
        f"{'B lost':>12}  {len(found.losses)}: {' '.join(found.losses)}",
    ]
    if found.only_a or found.only_b:
        lines.append(f"{'left out':>12}  {found.only_a} only in A, {found.only_b} only in B")
    if found.differing:
        lines.append(f"{'differing':>12}  one id, two contents: {' '.join(found.differing)}")
    return [line.rstrip() for line in lines]


# --- while it runs -------------------------------------------------------------------------


@contextmanager
def _until_interrupted() -> Iterator[list[int]]:
    """Ctrl-C makes the list grow; a second one is a KeyboardInterrupt as ever."""
    asked: list[int] = []

    def heard(number: int, _: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        terminal.err("", "stopping: the solver keeps its state first (Ctrl-C again ends it now)")

    before: Any = None
    with suppress(ValueError):  # only the main thread has signals
        before = signal.signal(signal.SIGINT, heard)
    try:
        yield asked
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)


class _Progress:
    """A bar on a terminal, a line for each task elsewhere; both on stderr."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._todo = self._done = 0
        self._began = time.monotonic()
        self._shown = ""

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *ended: object) -> None:
        if self._bar is not None:
            self._bar.__exit__(None, None, None)

    def begin(self, todo: int, kept: int) -> None:
        self._todo = todo
        if kept:
            terminal.err(f"{kept} answer(s) from before are taken up; {todo} to go")
        if todo and sys.stderr.isatty():
            self._bar = terminal.bar(todo, "solving", counted=True, shown=lambda _: self._shown)
            self._bar.__enter__()

    def __call__(self, variant: str, result: Result, so_far: Totals) -> None:
        self._done += 1
        self._shown = f"pass@2 {_share(so_far.pass_at_2)}"
        if self._bar is not None:
            self._bar.update(1, result)
            if result.error:
                terminal.err("", f"{result.id}: {result.error}")
            return
        from arcspot.domain.reporting import duration

        left = (time.monotonic() - self._began) / self._done * (self._todo - self._done)
        terminal.err(
            f"{self._done}/{self._todo}  {result.id}{' (model alone)' if variant == 'base' else ''}: "
            f"{_verdict(result)} · {duration(result.seconds)} · {self._shown} · {duration(left)} left"
        )


def _verdict(result: Result) -> str:
    if result.error:
        return result.error
    if result.score is None:
        return "solution not known"
    if not result.score:
        return "wrong"
    from arcspot_cli.evaluation import crediting

    right = "right" if result.all_right else f"{result.score:.0%} right"
    return ", ".join(filter(None, (right, crediting.said(result.solved_by))))
