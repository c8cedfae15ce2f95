"""Solve a folder of tasks and judge what comes back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from arcspot.domain import tasks
from arcspot.domain.tasks import Task
from arcspot_cli import kaggle, submitting
from arcspot_cli.errors import CommandFailed
from arcspot_cli.evaluation import choosing, figures
from arcspot_cli.evaluation.asking import Failed, Only, Question, ShouldStop
from arcspot_cli.evaluation.comparing import Comparison, compare
from arcspot_cli.evaluation.figures import Result, Totals
from arcspot_cli.evaluation.keeping import FORMAT, Keeper
from arcspot_cli.evaluation.working import Crew

ADAPTED = "adapted"
BASE = "base"


@dataclass(frozen=True, slots=True)
class TaskSet:
    """The tasks of a folder, each content once, and a sentence for whatever could not be used.

    `notes` tell of solutions: where they were found, and what of them fits no task.
    """

    tasks: tuple[Task, ...]
    refused: tuple[str, ...]
    notes: tuple[str, ...] = ()


def read_tasks(
    directory: Path,
    *,
    limit: int | None = None,
    ids: choosing.Ids | None = None,
    leave_out: Sequence[Path] = (),
) -> TaskSet:
    """Every task below the folder, by file name: with `ids` only theirs, with `limit` the first so many.

    Raises CommandFailed where the folder is missing, has no usable task or lacks one of `ids`.
    """
    ours = {path.resolve() for path in leave_out}
    found: list[Task] = []
    refused: list[str] = []
    notes: list[str] = []
    for path, name in submitting.find([directory], say=notes.append):
        if path.resolve() in ours:
            continue
        try:
            body, said = kaggle.body_of(path)
        except OSError as fault:
            refused.append(f"{name}: {fault.strerror}")
            continue
        notes += said
        read = tasks.read_task_file(name, body)
        refused += [tasks.describe(name, fault) for fault in read.faults]
        found += read.tasks
    if not found:
        raise CommandFailed(f"{directory}: no file with a usable task", *refused)
    once = tuple(_once(found))
    if ids is not None:  # each of them is a usable task, so whatever was refused was not asked for
        once, refused = choosing.pick(once, ids, directory=directory, refused=refused), []
    return TaskSet(once[:limit], tuple(refused), tuple(notes))


def _once(found: Sequence[Task]) -> Iterator[Task]:
    """Each content once; where two tasks have one id, all but the first get a piece of their digest."""
    contents: set[str] = set()
    ids: set[str] = set()
    for task in found:
        name = figures.digest(task)
        if name in contents:
            continue
        contents.add(name)
        named = task if task.task_id not in ids else replace(task, task_id=f"{task.task_id}~{name[:6]}")
        ids.add(named.task_id)
        yield named


@dataclass(frozen=True, slots=True)
class Settings:
    """How to solve each task; `base`: with the pretrained model alone as well; `only`: who is asked."""

    seconds: float
    seed: int
    device: str
    checkpoint: Path | None
    base: bool = False
    only: Only = "both"


@dataclass(slots=True)
class Evaluation:
    """Results by the task's digest; `base` those of the pretrained model alone."""

    tasks: tuple[Task, ...]
    adapted: dict[str, Result] = field(default_factory=dict)
    base: dict[str, Result] = field(default_factory=dict)
    kept: int = 0
    stopped: bool = False

    def results(self, variant: str = ADAPTED) -> list[Result]:
        """In the order of the tasks; those not solved yet are missing."""
        found = self.adapted if variant == ADAPTED else self.base
        names = map(figures.digest, self.tasks)
        return [found[name] for name in names if name in found]

    def gain(self, rng: np.random.Generator) -> Comparison | None:
        """What adapting adds to the pretrained model; None where nothing can be compared."""
        both = [one for one in self.results() if one.digest in self.base and one.score is not None]
        return compare(self.results(BASE), both, rng=rng) if both else None


class Told(Protocol):
    """Hears of the work: so many solves to do, so many done in earlier calls; then of each one done."""

    def begin(self, todo: int, kept: int) -> None: ...

    def __call__(self, variant: str, result: Result, so_far: Totals) -> None: ...


def run(
    wanted: TaskSet, settings: Settings, *, crew: Crew, keeper: Keeper, told: Told, stopping: ShouldStop
) -> Evaluation:
    """Solve what is not solved yet. Each result is kept before the next is waited for.

    A task whose solver fails is a result with its `error`. `stopped` tells that tasks are left because
    `stopping()` said so.
    """
    keeper.open()
    evaluation = Evaluation(wanted.tasks)
    by_digest = {figures.digest(task): task for task in wanted.tasks}
    kept = keeper.found()
    todo: list[tuple[str, Question]] = []
    for name, task in by_digest.items():
        for variant in (ADAPTED, BASE) if settings.base else (ADAPTED,):
            if (known := kept.get((variant, name))) is not None:
                _take(evaluation, variant, replace(known, id=task.task_id))
                evaluation.kept += 1
            else:
                todo.append((f"{variant} {name}", _question(task, settings, variant, keeper)))
    told.begin(len(todo), evaluation.kept)
    left = len(todo)
    for key, reply in crew(todo, stopping):
        variant, _, name = key.partition(" ")
        if reply is None:
            continue
        task = by_digest[name]
        result = figures.failed(task, reply) if isinstance(reply, Failed) else figures.judge(task, reply)
        keeper.add(variant, result)
        _take(evaluation, variant, result)
        left -= 1
        told(variant, result, figures.totals(evaluation.results()))
    evaluation.stopped = left > 0
    return evaluation


def _take(evaluation: Evaluation, variant: str, result: Result) -> None:
    (evaluation.adapted if variant == ADAPTED else evaluation.base)[result.digest] = result


def _question(task: Task, settings: Settings, variant: str, keeper: Keeper) -> Question:
    """The task as a solver may see it: even the size of a test output would be a leak."""
    return Question(
        task=tasks.without_solutions(tasks.to_json(task)),
        seconds=settings.seconds,
        seed=settings.seed,
        device=settings.device,
        checkpoint=settings.checkpoint,
        adapt=variant == ADAPTED,
        keep=keeper.state(variant, figures.digest(task)),
        only=settings.only,
    )


def document(
    evaluation: Evaluation,
    wanted: TaskSet,
    *,
    key: str,
    made_at: datetime,
    about: dict[str, Any],
    rng: np.random.Generator,
) -> dict[str, Any]:
    """All of it as JSON-able data; `about` says with what and where it was done."""
    found = {
        "format": FORMAT,
        "key": key,
        "made_at": made_at.isoformat(timespec="seconds"),
        "complete": not evaluation.stopped,
        "refused": list(wanted.refused),
        **about,
        **figures.totals(evaluation.results()).to_json(),
        "estimate": figures.ASSUMED,
    }
    if evaluation.base:
        gain = evaluation.gain(rng)
        found["base"] = figures.totals(evaluation.results(BASE)).to_json()
        found["gain"] = None if gain is None else gain.to_json()
    found["tasks"] = [
        one.to_json()
        | ({"base": evaluation.base[one.digest].to_json()} if one.digest in evaluation.base else {})
        for one in evaluation.results()
    ]
    return found
