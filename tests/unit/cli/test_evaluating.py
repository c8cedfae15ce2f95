"""evaluate: outputs are hidden, answers are judged outside, nothing that was solved is lost."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from arcspot.domain.tasks import Task
from arcspot_cli.errors import CommandFailed
from arcspot_cli.evaluation import comparing, figures, gallery, keeping, running, solving, working
from arcspot_cli.evaluation.asking import Answer, Failed, Only, Question, ShouldStop, Stopped
from arcspot_cli.evaluation.figures import Result
from arcspot_cli.evaluation.keeping import Keeper

RIGHT = [[1, 2], [3, 4]]
WRONG = [[0, 0], [0, 0]]
OTHER_SIZE = [[1, 2, 3]]


def task_json(*outputs: Any, mark: int = 0) -> dict[str, Any]:
    """A task whose demonstrations carry a mark, so that tasks differ; None for an unknown output."""
    tests = [{"input": [[n]], "output": output} for n, output in enumerate(outputs)]
    return {
        "train": [{"input": [[mark]], "output": [[mark, mark]]}],
        "test": [test if test["output"] is not None else {"input": test["input"]} for test in tests],
    }


def put(folder: Path, **files: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, document in files.items():
        (folder / f"{name}.json").write_text(json.dumps(document))
    return folder


@dataclass
class Tiny:
    """A solver that gives the same attempts to every test input, and remembers what it was asked."""

    attempts: tuple[Any, Any] = (RIGHT, WRONG)
    metrics: dict[str, Any] = field(default_factory=dict)
    asked: list[Question] = field(default_factory=list)
    fault: Callable[[Question], None] = lambda question: None

    def __call__(self, question: Question, should_stop: Callable[[], bool]) -> Answer:
        self.asked.append(question)
        self.fault(question)
        attempts = self.attempts if question.adapt else (WRONG, OTHER_SIZE)
        return Answer((attempts,) * len(question.task["test"]), 2.0, dict(self.metrics))


@dataclass
class Quiet:
    """Hears of the work and says nothing; the running pass@2 after each solve."""

    todo: int = 0
    kept: int = 0
    shares: list[float | None] = field(default_factory=list)

    def begin(self, todo: int, kept: int) -> None:
        self.todo, self.kept = todo, kept

    def __call__(self, variant: str, result: Result, so_far: figures.Totals) -> None:
        self.shares.append(so_far.pass_at_2)


SETTINGS = running.Settings(seconds=5, seed=0, device="cpu", checkpoint=None)


def solved(
    folder: Path,
    solve: Any,
    *,
    file: Path | None = None,
    key: str = "k",
    base: bool = False,
    only: Only = "both",
    stopping: Callable[[], bool] = lambda: False,
    told: Quiet | None = None,
) -> running.Evaluation:
    return running.run(
        running.read_tasks(folder), replace(SETTINGS, base=base, only=only), crew=working.here(solve),
        keeper=Keeper(file, key), told=told or Quiet(), stopping=stopping,
    )  # fmt: skip


def document(evaluation: running.Evaluation, *, key: str = "k", **about: Any) -> dict[str, Any]:
    told = {
        "tasks_dir": "tasks", "solver_version": "1", "checkpoint": {"name": "xs", "sha256": "f" * 64},
        "settings": {"budget_seconds": 5, "seed": 0, "jobs": 1},
        "machine": {"cpu": "a CPU", "gpu": None}, **about,
    }  # fmt: skip
    return running.document(
        evaluation, running.TaskSet(evaluation.tasks, ()), key=key, about=told,
        made_at=datetime(2026, 11, 24, tzinfo=UTC), rng=np.random.default_rng(0),
    )  # fmt: skip


# --- stripping and scoring -----------------------------------------------------------------


def test_the_solver_sees_no_test_output_and_nothing_else_beside_the_grids(tmp_path: Path) -> None:
    leaking = task_json(RIGHT, WRONG) | {"name": "a hint"}
    leaking["test"][0]["size"] = [2, 2]
    tiny = Tiny()
    solved(put(tmp_path, one=leaking), tiny)
    (question,) = tiny.asked
    assert question.task == {
        "train": [{"input": [[0]], "output": [[0, 0]]}],
        "test": [{"input": [[0]]}, {"input": [[1]]}],
    }


def test_a_task_scores_the_share_of_its_tests_that_either_attempt_answers(tmp_path: Path) -> None:
    folder = put(tmp_path, half=task_json(RIGHT, OTHER_SIZE, mark=1), second=task_json(WRONG, mark=2))
    half, second = solved(folder, Tiny()).results()
    assert (half.score, half.pass_at_1, half.all_right) == (0.5, 0.5, False)
    assert (second.score, second.pass_at_1, second.all_right) == (1.0, 0.0, True)
    assert (half.sizes_right, second.sizes_right) == (0.5, 1.0)


def test_the_totals_weigh_each_task_the_same(tmp_path: Path) -> None:
    folder = put(
        tmp_path,
        a=task_json(RIGHT, OTHER_SIZE, mark=1),
        b=task_json(RIGHT, mark=2),
        c=task_json([[9]], mark=3),
        unknown=task_json(None, mark=4),
    )
    told = Quiet()
    total = figures.totals(solved(folder, Tiny(), told=told).results())
    assert (total.solved, total.scored, total.failed) == (4, 3, 0)
    assert total.pass_at_2 == pytest.approx((0.5 + 1 + 0) / 3)
    assert total.all_right == pytest.approx(1 / 3)
    assert told.shares == [0.5, 0.75, 0.5, 0.5], "a task without a known solution does not count"


def test_the_oracle_finds_the_truth_among_the_candidates(tmp_path: Path) -> None:
    votes = [[{"grid": WRONG, "share": 0.9}, {"grid": [[7]], "share": 0.1}], [{"grid": RIGHT, "share": 1.0}]]
    folder = put(tmp_path, one=task_json([[7]], [[8]]))
    tiny = Tiny(metrics={"votes": votes, "confidence": [0.9, 0.4], "demo_fit": 0.75, "flops": 13 * 10**12})
    (result,) = solved(folder, tiny).results()
    assert (result.score, result.oracle) == (0.0, 0.5)
    assert (result.confidence, result.confidences) == (0.4, [0.9, 0.4])
    assert result.demo_fit == 0.75
    assert result.t4_seconds == pytest.approx(1.0), "13 TFLOP at a fifth of 65 TFLOP/s"
    assert result.t4_usd_micros == 52, "a second of g4dn.xlarge on the spot market, with disk and address"


def test_seconds_in_which_the_gpu_waits_for_rules_are_paid_for_too(tmp_path: Path) -> None:
    metrics = {"flops": 13 * 10**12, "small_seconds": 9.0}
    evaluation = solved(put(tmp_path, one=task_json([[7]], [[8]])), Tiny(metrics=metrics))
    (result,) = evaluation.results()
    assert (result.small_seconds, result.t4_seconds) == (9.0, pytest.approx(1.0))
    assert result.t4_usd_micros == pytest.approx(520, abs=5)
    assert document(evaluation)["t4_usd_micros"] == result.t4_usd_micros


def test_the_most_memory_of_any_task_is_told(tmp_path: Path) -> None:
    peaks = iter((700, 900, 800))

    def solve(question: Question, should_stop: ShouldStop) -> Answer:
        return Answer(((RIGHT, WRONG),), 1.0, peak_mib=next(peaks))

    folder = put(tmp_path, **{name: task_json(RIGHT, mark=n) for n, name in enumerate("abc")})
    evaluation = solved(folder, solve)
    assert [one.peak_mib for one in evaluation.results()] == [700, 900, 800]
    assert document(evaluation)["peak_mib"] == 900
    assert 10 < solving.peak_mib() < 100_000, "of this very process, in MiB"


def test_without_votes_the_attempts_are_the_candidates(tmp_path: Path) -> None:
    (result,) = solved(put(tmp_path, one=task_json(RIGHT)), Tiny(metrics={"votes": [[]]})).results()
    assert (result.score, result.oracle) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([], 0.5, None), ([3.0], 0.9, 3.0), ([1.0, 2.0], 0.5, 1.5), ([0.0, 10.0, 20.0], 0.9, 18.0)],
)
def test_percentiles_lie_on_a_line_between_neighbours(
    values: list[float], share: float, expected: float | None
) -> None:
    assert figures.percentile(values, share) == expected


@pytest.mark.parametrize("only", get_args(Only))
def test_each_question_says_who_is_to_answer(tmp_path: Path, only: Only) -> None:
    tiny = Tiny()
    solved(put(tmp_path, one=task_json(RIGHT)), tiny, only=only)
    assert [question.only for question in tiny.asked] == [only]


# --- what goes wrong -----------------------------------------------------------------------


def test_a_solver_that_fails_costs_one_task_and_counts_as_wrong(tmp_path: Path) -> None:
    def fault(question: Question) -> None:
        if question.task["train"][0]["input"] == [[1]]:
            raise ValueError("no such luck")

    folder = put(tmp_path, a=task_json(RIGHT, mark=1), b=task_json(RIGHT, mark=2))
    evaluation = solved(folder, Tiny(fault=fault))
    a, b = evaluation.results()
    assert (a.error, a.score) == ("ValueError: no such luck", 0.0)
    assert b.score == 1.0
    told = document(evaluation)
    assert (told["failed"], told["pass_at_2"]) == (1, 0.5)


def test_malformed_files_are_named_with_place_and_expectation_and_the_others_go_on(tmp_path: Path) -> None:
    folder = put(tmp_path, good=task_json(RIGHT), bad=task_json([[1, 12]]))
    (folder / "torn.json").write_text("{")
    found = running.read_tasks(folder)
    assert [task.task_id for task in found.tasks] == ["good"]
    bad, torn = found.refused
    assert bad.startswith("bad.json: at $.test[0].output[0][1] expected a colour")
    assert torn.startswith("torn.json: at $ expected a JSON object")


def test_a_folder_without_a_task_is_refused_with_what_was_wrong(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match=r"no file with a usable task\nbad.json: at"):
        running.read_tasks(put(tmp_path, bad={"train": []}))


def test_one_content_is_solved_once_and_one_id_names_one_content(tmp_path: Path) -> None:
    put(tmp_path / "a", one=task_json(RIGHT, mark=1), copy=task_json(RIGHT, mark=1))
    put(tmp_path / "b", one=task_json(RIGHT, mark=2))
    ids = [task.task_id for task in running.read_tasks(tmp_path).tasks]
    assert ids[0] == "copy"
    assert len(ids) == 2
    put(tmp_path / "c", one=task_json(RIGHT, mark=3))
    third = running.read_tasks(tmp_path).tasks[2].task_id
    assert re.fullmatch(r"one~[0-9a-f]{6}", third)


# --- keeping -------------------------------------------------------------------------------


def stop_after(count: int, tiny: Tiny) -> Callable[[], bool]:
    return lambda: len(tiny.asked) >= count


def test_a_second_call_goes_on_where_the_first_was_stopped(tmp_path: Path) -> None:
    folder = put(tmp_path / "tasks", **{n: task_json(RIGHT, mark=i) for i, n in enumerate("abc")})
    file, first, second, told = tmp_path / "run.json", Tiny(), Tiny(), Quiet()
    assert solved(folder, first, file=file, stopping=stop_after(2, first)).stopped
    evaluation = solved(folder, second, file=file, told=told)
    assert (len(first.asked), len(second.asked)) == (2, 1)
    assert (told.todo, told.kept) == (1, 2)
    assert not evaluation.stopped
    assert [result.id for result in evaluation.results()] == ["a", "b", "c"]


def test_other_settings_neither_use_nor_lose_what_was_kept(tmp_path: Path) -> None:
    folder = put(tmp_path / "tasks", a=task_json(RIGHT, mark=1))
    file, other, again = tmp_path / "run.json", Tiny(), Tiny()
    solved(folder, Tiny(), file=file, key="one")
    evaluation = solved(folder, other, file=file, key="two")
    Keeper(file, "two").finish(document(evaluation, key="two"))
    solved(folder, again, file=file, key="one")
    assert (len(other.asked), len(again.asked)) == (1, 0)


def test_a_line_torn_by_a_power_cut_costs_that_result_alone(tmp_path: Path) -> None:
    folder = put(tmp_path / "tasks", a=task_json(RIGHT, mark=1), b=task_json(RIGHT, mark=2))
    file, tiny, third = tmp_path / "run.json", Tiny(), Tiny()
    solved(folder, Tiny(), file=file)
    beside = tmp_path / "run.json.part.jsonl"
    beside.write_bytes(beside.read_bytes()[:-40])
    solved(folder, tiny, file=file)
    assert [question.task["train"][0]["input"] for question in tiny.asked] == [[[2]]]
    solved(folder, third, file=file)
    assert third.asked == [], "the new line is not glued to the torn one"


def test_a_finished_file_leaves_nothing_beside_it_and_is_gone_on_from(tmp_path: Path) -> None:
    folder = put(tmp_path / "tasks", a=task_json(RIGHT, mark=1))
    file, tiny = tmp_path / "run.json", Tiny()
    keeper = Keeper(file, "k")
    keeper.finish(document(solved(folder, Tiny(), file=file, base=True)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.json", "tasks"]
    put(folder, b=task_json(RIGHT, mark=2))
    evaluation = solved(folder, tiny, file=file, base=True)
    assert [(q.task["train"][0]["input"], q.adapt) for q in tiny.asked] == [([[2]], True), ([[2]], False)]
    assert evaluation.kept == 2


def test_a_smaller_evaluation_into_the_same_file_loses_nothing_of_the_larger(tmp_path: Path) -> None:
    folder, file = (
        put(tmp_path / "all", **{n: task_json(RIGHT, mark=i) for i, n in enumerate("abc")}),
        tmp_path / "r",
    )
    Keeper(file, "k").finish(document(solved(folder, Tiny(), file=file, base=True)))
    small = put(tmp_path / "small", a=task_json(RIGHT, mark=0))
    for key in ("k", "other"):
        Keeper(file, key).finish(document(solved(small, Tiny(), file=file, key=key), key=key))
    tiny = Tiny()
    assert len(solved(folder, tiny, file=file, base=True).results()) == 3
    assert tiny.asked == []


def test_a_file_that_is_something_else_is_not_overwritten(tmp_path: Path) -> None:
    folder = put(tmp_path / "tasks", a=task_json(RIGHT))
    with pytest.raises(CommandFailed, match="expected arcspot-evaluation-1"):
        solved(folder, Tiny(), file=folder / "a.json")


def test_a_failed_task_is_tried_again(tmp_path: Path) -> None:
    def fault(question: Question) -> None:
        raise MemoryError

    folder, file = put(tmp_path / "tasks", a=task_json(RIGHT)), tmp_path / "run.json"
    assert solved(folder, Tiny(fault=fault), file=file).results()[0].error == "MemoryError: "
    assert solved(folder, Tiny(), file=file).results()[0].score == 1.0


def test_work_under_way_is_told_where_to_keep_its_state_and_is_no_result(tmp_path: Path) -> None:
    def fault(question: Question) -> None:
        assert question.keep is not None
        question.keep.write_text("state")
        raise Stopped

    folder, file, tiny = put(tmp_path / "tasks", a=task_json(RIGHT)), tmp_path / "run.json", Tiny()
    assert solved(folder, Tiny(fault=fault), file=file).stopped
    solved(folder, tiny, file=file)
    kept = tiny.asked[0].keep
    assert kept is not None
    assert kept.read_text() == "state"
    assert not solved(folder, Tiny()).stopped, "and without a file nothing is kept"


def test_a_place_that_cannot_be_written_is_told_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    tiny = Tiny()
    with pytest.raises(CommandFailed, match="results cannot be kept there"):
        solved(put(tmp_path / "tasks", a=task_json(RIGHT)), tiny, file=tmp_path / "file" / "run.json")
    assert not tiny.asked


def test_the_file_reads_as_it_was_written(tmp_path: Path) -> None:
    folder, file = put(tmp_path / "tasks", a=task_json(RIGHT), b=task_json(None)), tmp_path / "run.json"
    evaluation = solved(folder, Tiny(), base=True)
    told = document(evaluation)
    keeping.write(file, told)
    read, results = keeping.read(file)
    assert read == json.loads(json.dumps(told))
    assert results == evaluation.results()
    assert {"pass_at_2", "pass_at_1", "tasks", "seconds_total", "checkpoint", "machine"} <= set(read)
    assert {"id", "score", "seconds", "confidence", "attempts", "base"} <= set(read["tasks"][0])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{", "found no JSON"),
        ("[]", r"at \$\.format expected arcspot-evaluation-1; found null"),
        ('{"format": "arcspot-evaluation-1", "tasks": [{}]}', r"at \$\.tasks\[0\]"),
    ],
)
def test_a_file_that_is_no_evaluation_is_refused(tmp_path: Path, content: str, expected: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(CommandFailed, match=expected):
        keeping.read(tmp_path / "x.json")


# --- comparing -----------------------------------------------------------------------------


def result(name: str, score: float | None, *, digest: str = "d") -> Result:
    return Result(
        id=name, digest=digest, score=score, pass_at_1=score, all_right=None, oracle=score, sizes_right=score,
        demo_fit=None, seconds=1.0, confidence=None,
    )  # fmt: skip


def results(*scores: float | None) -> list[Result]:
    return [result(f"t{n}", score) for n, score in enumerate(scores)]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_wins_and_losses_are_named_and_the_difference_is_of_common_tasks() -> None:
    a = [*results(0, 1, 0.5, 1), result("only-a", 1), result("unknown", None)]
    b = [*results(1, 0, 1, 1), result("only-b", 1), result("unknown", 1)]
    found = comparing.compare(a, b, rng=rng())
    assert (found.tasks, found.wins, found.losses) == (4, ["t0", "t2"], ["t1"])
    assert (found.pass_at_2_a, found.pass_at_2_b) == (0.625, 0.75)
    assert found.difference == pytest.approx(0.125)
    assert (found.only_a, found.only_b) == (1, 2)
    assert found.low < found.difference < found.high
    assert not found.certain


def test_the_same_seed_gives_the_same_interval_and_both_ways_mirror_each_other() -> None:
    a, b = results(*[0, 0, 1, 0, 1, 0] * 10), results(*[1, 0, 1, 0, 0, 1] * 10)
    once, again = (comparing.compare(a, b, rng=rng(3)) for _ in range(2))
    assert once == again
    back = comparing.compare(b, a, rng=rng(3))
    assert (back.difference, back.low, back.high) == pytest.approx((-once.difference, -once.high, -once.low))


def test_one_evaluation_compared_with_itself_differs_by_nothing() -> None:
    found = comparing.compare(results(1, 0, 0.5), results(1, 0, 0.5), rng=rng())
    assert (found.difference, found.low, found.high, found.certain) == (0, 0, 0, False)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Gains of −1, 0 and +1 with a true mean of 0.1: about 95 of 100 intervals hold it."""
    source = random.Random(7)
    hits = 0
    for seed in range(200):
        gains = np.array(source.choices([-1.0, 0.0, 1.0], [0.1, 0.7, 0.2], k=100))
        low, high = comparing.interval(gains, rng=rng(seed), rounds=500)
        hits += low <= 0.1 <= high
    assert 0.9 <= hits / 200 <= 0.99


def test_one_id_with_two_contents_is_left_out_and_said() -> None:
    found = comparing.compare(
        [*results(0, 1), result("x", 1)], [*results(1, 1), result("x", 0, digest="e")], rng=rng()
    )
    assert (found.tasks, found.differing, found.losses) == (2, ["x"], [])


def test_nothing_in_common_is_an_error() -> None:
    with pytest.raises(ValueError, match="no task"):
        comparing.compare(results(1), [result("other", 1)], rng=rng())


def test_what_adapting_adds_is_told_side_by_side(tmp_path: Path) -> None:
    folder = put(tmp_path, a=task_json(RIGHT, mark=1), b=task_json([[9]], mark=2), c=task_json(None, mark=3))
    told = document(solved(folder, Tiny(), base=True))
    assert (told["pass_at_2"], told["base"]["pass_at_2"]) == (0.5, 0.0)
    assert (told["gain"]["difference"], told["gain"]["wins"], told["gain"]["tasks"]) == (0.5, ["a"], 2)


# --- the page ------------------------------------------------------------------------------


class Page(HTMLParser):
    """Balanced tags, and every attribute that could fetch something."""

    VOID = ("meta", "input", "path", "rect")

    def __init__(self, content: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.scripts = 0
        self.fetching: list[str] = []
        self.feed(content)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.fetching += [name for name, _ in attrs if name in ("src", "href", "srcset", "xlink:href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


EVIL = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


def a_page(**changes: Any) -> str:
    task = Task(EVIL, ((((1,),), ((2,),)),), (((3,),),), (((4,),),))
    answer = Answer(
        ((((4,),), ((5,),)),), 3.0,
        {"votes": [[{"grid": [[4]], "share": 0.75}, {"grid": [[5]], "share": 0.25}]], "hypothesis": EVIL,
         "stopped_by": EVIL, "loss_curve": [[4, 2.0], [8, 0.5]], "rejected": [{"hypothesis": EVIL}],
         "nearest_pretraining_tasks": [[EVIL, 1.0]], "confidence": [0.75]},
    )  # fmt: skip
    judged = replace(figures.judge(task, answer), **changes)
    evaluation = running.Evaluation((task,), {judged.digest: judged}, {judged.digest: judged})
    return gallery.page(evaluation, document(evaluation, tasks_dir=EVIL) | {"refused": [EVIL]})


def test_foreign_text_is_text_on_the_page_and_nothing_else() -> None:
    content = a_page(error=EVIL)
    assert "<img" not in content
    assert content.count("<script>") == 1
    page = Page(content)
    assert (page.open, page.scripts, page.fetching) == ([], 1, [])
    assert "url(" not in content
    assert "http" not in content.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")


def test_the_page_shows_answers_votes_the_curve_and_what_the_model_alone_does() -> None:
    content = a_page()
    for shown in ("attempt 1 ✓", "attempt 2 ✗", "truth", "75% ✓", "25% ✗", "2.00 nats a cell", "8 steps"):
        assert shown in content, shown
    assert "pretrained alone ✓" in content
    assert 'class="job v-right"' in content
    assert "show-right" in content


# --- in processes of its own ---------------------------------------------------------------


def answering(question: Question, should_stop: Callable[[], bool]) -> Answer:
    """Picklable. A seed of 1 asks it to die, 2 to wait until it is stopped."""
    if question.seed == 1:
        os._exit(7)
    while question.seed == 2:
        if should_stop():
            raise Stopped
    return Answer(((RIGHT, WRONG),), float(os.getpid()))


def asked(*seeds: int) -> list[tuple[str, Question]]:
    return [(f"q{n}", Question({"test": [{}]}, 1.0, seed=seed)) for n, seed in enumerate(seeds)]


def alive(process_id: int) -> bool:
    """Neither gone nor a zombie that nobody reaps."""
    try:
        told = Path(f"/proc/{process_id}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return told.rpartition(")")[2].split()[0] != "Z"


def test_workers_answer_every_question_and_one_that_dies_costs_one() -> None:
    found = dict(working.processes(answering, 2)(asked(0, 1, 0, 0), lambda: False))
    died = found.pop("q1")
    assert isinstance(died, Failed)
    assert "exit status 7" in died.why
    workers = {int(answer.seconds) for answer in found.values() if isinstance(answer, Answer)}
    assert set(found) == {"q0", "q2", "q3"}
    assert os.getpid() not in workers
    assert not any(map(alive, workers))


def test_stopped_workers_say_so_and_are_gone() -> None:
    seen: list[str] = []
    crew = working.processes(answering, 2)(asked(0, 2, 2, 2), lambda: bool(seen))
    replies = []
    for key, answer in crew:
        seen.append(key)
        replies.append(answer)
    assert isinstance(replies[0], Answer)
    assert replies[1:].count(None) >= 1
    assert len(replies) < 4, "no new question is asked once it is to stop"


def test_workers_do_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    """SIGKILL leaves the parent no last word: the workers see by themselves that it is gone."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from tests.unit.cli.test_evaluating import asked, answering\n"
        "from arcspot_cli.evaluation import working\n"
        "if __name__ == '__main__':\n"
        "    for _, answer in working.processes(answering, 2)(asked(0, 0, 2, 2), lambda: False):\n"
        "        print(int(answer.seconds), flush=True)\n"
    )
    (tmp_path / "main.py").write_text(script)
    command = [sys.executable, str(tmp_path / "main.py"), str(Path(__file__).parents[3])]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]
    ) as parent:
        assert parent.stdout is not None
        workers = [int(parent.stdout.readline()) for _ in range(2)]
        parent.kill()
    for worker in set(workers):
        for _ in range(100):
            if not alive(worker):
                break
            subprocess.run(["sleep", "0.1"], check=True)
        assert not alive(worker)
