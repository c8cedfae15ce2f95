"""A runner is given its own task without the solutions, and nothing of the file that the task came in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from arcspot.domain import tasks
from arcspot.domain.jobs import Job, JobState
from arcspot.domain.launching import CONTRACT, MOST_AT_ONCE
from arcspot.errors import ObjectUnreadable, TaskFileRefused
from arcspot.ports import Fetched, Part
from arcspot.services import handing
from tests.fakes.driving import Runner, Stack, task

SOLUTION, OTHER = [[7, 7, 7]], [[8, 8, 8]]
ONE = {
    "train": [{"input": [[1]], "output": [[2]], "note": "n"}],
    "test": [{"input": [[3]], "output": SOLUTION}],
}
TWO = {"train": [{"input": OTHER, "output": OTHER}], "test": [{"input": OTHER, "output": OTHER}]}
FORMS: dict[str, tuple[str, Any]] = {
    "one task": ("tasks/b/one.json", {**ONE, "source": "a book"}),
    "one task with a name": ("tasks/b/x.json", {"name": "one", "data": ONE, "solution": SOLUTION}),
    "many tasks": ("tasks/b/all.json", {"two": TWO, "one": ONE, "three": {"bad": SOLUTION}}),
    "names that are not ASCII": ("tasks/b/all.json", {"två": TWO, "ein 🐉": TWO, "one": ONE}),
    "a note that is not ASCII": ("tasks/b/one.json", {"by": "Žofie 🐉", **ONE, "for": "日本"}),
}


def bodies(document: Any) -> Iterator[bytes]:
    for indent in (None, 2):
        for ascii_only in (True, False):
            text = json.dumps(document, indent=indent, ensure_ascii=ascii_only)
            for mark in (b"", b"\xef\xbb\xbf"):
                yield mark + b" \r\n\t" + text.encode() + b"\n"


def claimed(stack: Stack, key: str, body: Any) -> tuple[Runner, list[dict[str, Any]]]:
    stack.drop(key, body)
    (launch_id,) = stack.scale()
    runner = stack.boot(launch_id)
    return runner, runner.claim(8)


def jobs_of(stack: Stack) -> list[Job]:
    return list(stack.world.store.jobs_of_batch("b"))


def the_job(stack: Stack, task_id: str = "one") -> Job:
    (job,) = [job for job in jobs_of(stack) if job.task_id == task_id]
    return job


@pytest.mark.parametrize("form", FORMS)
def test_a_lease_brings_the_task_without_outputs_and_no_other(form: str) -> None:
    key, document = FORMS[form]
    for body in bodies(document):
        stack = Stack()
        _, leases = claimed(stack, key, body)
        (lease,) = [each for each in leases if each["task_id"] == "one"]
        assert json.loads(lease["task"]) == {"train": [{"input": [[1]], "output": [[2]]}],
                                             "test": [{"input": [[3]]}]}  # fmt: skip
        said = json.dumps(lease).replace(" ", "")
        assert "7,7" not in said
        assert "8,8" not in said
        assert key not in said, "nor where it lies"


@pytest.mark.parametrize("form", FORMS)
def test_the_place_of_a_task_is_its_bytes_whatever_is_around_it(form: str) -> None:
    key, document = FORMS[form]
    for body in bodies(document):
        file = tasks.read_task_file(key, body)
        assert len(file.places) == len(file.tasks) > 0
        for found, (begin, end) in zip(file.tasks, file.places, strict=True):
            assert body[begin:begin + 1] + body[end - 1:end] == b"{}"  # fmt: skip
            whole = {**document, **document["data"]} if "data" in document else document
            if "train" in whole:
                assert json.loads(body[begin:end])["train"] == ONE["train"]
            else:
                assert tasks.task_in(found.task_id, body[begin:end]) == found


def test_only_the_tasks_own_bytes_are_read_of_a_large_file() -> None:
    stack = Stack()
    document = {f"t{n}": task(n) for n in range(300)}
    stack.drop("tasks/b/all.json", document)
    runner = stack.boot(stack.scale()[0])
    asked: list[Part] = []
    parts = stack.world.objects.parts

    def noted(wanted: Sequence[Part]) -> Any:
        asked.extend(wanted)
        return parts(wanted)

    stack.world.objects.parts = noted  # type: ignore[method-assign]
    stack.world.objects.trouble = lambda verb, key: None
    for whole in ("read", "fetch_many", "read_many"):
        setattr(stack.world.objects, whole, None)
    leases = runner.claim(3)
    assert [json.loads(lease["task"]) for lease in leases] == [document[x["task_id"]] for x in leases]
    assert len(asked) == 3, "one read a job"
    assert sum(part.end - part.begin for part in asked) < 600
    assert {part.version for part in asked} == {"v1"}


def test_a_job_of_an_earlier_release_is_found_in_the_whole_file() -> None:
    for key, document in FORMS.values():
        stack = Stack()
        stack.drop(key, document)
        job = the_job(stack)
        stack.world.store.write(replace(job, input=replace(job.input, place=())))
        lease = next(x for x in stack.boot(stack.scale()[0]).claim(8) if x["task_id"] == "one")
        assert json.loads(lease["task"])["test"] == [{"input": [[3]]}]


def spoilt(stack: Stack, fault: str) -> None:
    """Make a job's task one that nobody can read any more."""
    job, objects = the_job(stack), stack.world.objects
    if fault == "gone":
        objects.versions.clear()
        objects.delete(job.input.key)
    elif fault == "archived":
        objects.unreadable.add(job.input.key)
    elif fault == "another task":
        body = json.dumps({**ONE, "test": [{"input": [[4]], "output": SOLUTION}]}).encode()
        objects.versions[job.input.key, job.input.object_version] = body
    elif fault == "another version":
        stack.world.store.write(replace(job, input=replace(job.input, object_version="v99")))
    elif fault == "shorter":
        objects.versions[job.input.key, job.input.object_version] = b"{}"
    else:
        place = {"elsewhere": (3, 9), "nowhere": (10**6, 10**6 + 9), "no place": ()}[fault]
        stack.world.store.write(replace(job, input=replace(job.input, place=place)))
        if fault == "no place":
            objects.versions[job.input.key, job.input.object_version] = b'{"train": 5}'


@pytest.mark.parametrize(
    "fault",
    [
        "gone", "another task", "another version", "shorter", "elsewhere", "nowhere", "no place",
    ],
)  # fmt: skip
def test_a_task_that_nobody_can_read_ends_its_job_once_and_no_other(fault: str) -> None:
    stack = Stack()
    stack.drop("tasks/b/one.json", ONE)
    stack.drop("tasks/b/two.json", TWO)
    runner = stack.boot(stack.scale()[0])
    spoilt(stack, fault)
    assert [lease["task_id"] for lease in runner.claim(8)] == ["two"]
    job = the_job(stack)
    assert (job.state, job.unread, job.lease) == (JobState.DEAD, True, None)
    assert job.reason.startswith("its task cannot be read: ")
    assert len(job.reason) <= 500
    assert runner.claim(8) == []
    assert [event.kind for event in stack.world.store.events if event.subject == f"job#{job.job_id}"] == [
        "unreadable"
    ]


def test_a_file_that_is_not_given_out_for_a_while_does_not_end_every_job_of_it() -> None:
    """A policy or a key that is wrong for some minutes: three tries, with pauses, then it is said."""
    stack = Stack()
    stack.drop("tasks/b/all.json", {"one": ONE, "two": TWO})
    runner = stack.boot(stack.scale()[0])
    spoilt(stack, "archived")
    for pause_s in (5 * 60, 15 * 60):
        assert runner.claim(8) == []
        waits = [(job.state, job.due(stack.world.now), job.unread) for job in jobs_of(stack)]
        assert waits == [(JobState.READY, False, False)] * 2
        assert stack.world.store.ready_count(9, stack.world.now) == 0, "no instance is started for it"
        stack.world.wait(pause_s)
    stack.world.objects.unreadable.clear()
    (lease,) = runner.claim(1)
    stack.world.objects.unreadable.add("tasks/b/all.json")
    assert runner.claim(8) == []
    assert {job.state for job in jobs_of(stack) if job.job_id != lease["job_id"]} == {JobState.DEAD}


def test_a_lease_tells_nothing_of_the_submission() -> None:
    stack = Stack()
    stack.drop("tasks/b/one.json", ONE, run="nightly-secret-name")
    (lease,) = stack.boot(stack.scale()[0]).claim()
    assert set(lease["config"]) == {"seed", "budget_s", "model"}
    assert "nightly-secret-name" not in json.dumps(lease)


def test_a_task_that_nobody_could_read_is_mended_by_dropping_it_again() -> None:
    stack = Stack()
    stack.drop("tasks/b/one.json", ONE)
    runner = stack.boot(stack.scale()[0])
    spoilt(stack, "shorter")
    assert runner.claim() == []
    stack.drop("tasks/b/one.json", ONE)
    (lease,) = runner.claim()
    assert json.loads(lease["task"])["test"] == [{"input": [[3]]}]


def test_a_bucket_that_is_slow_just_now_costs_no_job() -> None:
    stack = Stack()
    stack.drop("tasks/b/one.json", ONE)
    runner = stack.boot(stack.scale()[0])
    stack.world.objects.trouble = lambda verb, key: TimeoutError(key)
    assert runner.claim() == []
    assert the_job(stack).state is JobState.READY
    stack.world.objects.trouble = lambda verb, key: None
    assert len(runner.claim()) == 1


def test_a_lease_whose_answer_was_lost_is_told_again_with_its_task() -> None:
    stack = Stack()
    runner, (lease,) = claimed(stack, "tasks/b/one.json", ONE)
    (again,) = runner.ask("claim", want=1, held=[])["leases"]
    assert (again["task"], again["fence"]) == (lease["task"], lease["fence"])


def test_with_a_result_the_next_task_comes_the_same_way() -> None:
    stack = Stack()
    stack.drop("tasks/b/all.json", {"one": ONE, "two": TWO})
    runner = stack.boot(stack.scale()[0])
    (lease,) = runner.claim()
    files = runner.upload(lease)
    done = {"job_id": lease["job_id"], "fence": lease["fence"], "files": files, "seconds": 1, "summary": {}}
    (following,) = runner.ask("complete", **done, want=1, held=[])["leases"]
    assert [set(pair) for pair in json.loads(following["task"])["test"]] == [{"input"}]


def test_a_runner_of_an_earlier_release_is_sent_home_with_nothing_lost() -> None:
    """Its program fetches the whole file by a URL, which nobody gets any more."""
    stack = Stack()
    stack.drop("tasks/b/one.json", ONE)
    (launch_id,) = stack.scale()
    runner = Runner(stack, launch_id, stack.launch(launch_id)["instance_id"])
    proof = {
        "url": f"sts://123456789012/runner-role/AROARUNNER/{runner.instance_id}",
        "headers": {"X-Arcspot-Launch": launch_id},
    }
    runner.secret = runner.ask("hello", instance_id=runner.instance_id, proof=proof, host={})["secret"]
    assert runner.ask("claim", want=1) == {"leases": [], "drain": True}
    runner.ask("bye", why="idle")
    assert (the_job(stack).state, the_job(stack).interruptions) == (JobState.READY, 0)


def test_what_an_earlier_runner_has_in_hand_at_an_update_it_may_finish() -> None:
    stack = Stack()
    stack.drop("tasks/b/all.json", {"one": ONE, "two": TWO})
    runner = stack.boot(stack.scale()[0])
    (lease,) = runner.claim()
    row = stack.world.store.launch(runner.launch_id)
    assert row is not None
    stack.world.store.write(replace(row, contract=CONTRACT - 1))  # as a row of that release is read
    heard = runner.ask("heartbeat", leases=[{**{k: lease[k] for k in ("job_id", "fence")}, "phase": "x"}])
    assert (heard["lost"], heard["drain"]) == ([], False)
    done = {**{k: lease[k] for k in ("job_id", "fence")}, "seconds": 1, "summary": {}}
    answer = runner.ask("complete", **done, files=runner.upload(lease), want=1, held=[])
    assert (answer["leases"], answer["drain"]) == ([], True)
    assert the_job(stack, lease["task_id"]).state is JobState.DONE


def full(side: int) -> list[list[int]]:
    return [[9] * side for _ in range(side)]


def test_eight_of_the_largest_tasks_fit_into_one_answer_of_lambda() -> None:
    """6 MB: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""
    side, most = tasks.MAX_SIDE, tasks.MAX_PAIRS
    largest = tasks.task_from_json(
        "x" * tasks.MAX_ID_BYTES,
        {
            "train": [{"input": full(side), "output": full(side)}] * most,
            "test": [{"input": full(side)}] * most,
        },
    )
    text = tasks.canonical(largest).decode()
    assert len(text) < handing.MOST_TASK_BYTES
    answer = {"ok": True, "result": {"leases": [{"task": text, "config": {"x": "y" * 9_000}}] * MOST_AT_ONCE}}
    assert len(json.dumps(answer)) < 6_000_000
    assert MOST_AT_ONCE * handing.MOST_TASK_BYTES < 6_000_000


def test_a_task_above_the_bound_ends_like_one_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handing, "MOST_TASK_BYTES", 40)
    stack = Stack()
    _, leases = claimed(stack, "tasks/b/one.json", ONE)
    assert (leases, the_job(stack).state) == ([], JobState.DEAD)


def test_large_files_are_in_memory_one_after_another() -> None:
    """Seven jobs of an earlier release, each of a file of 16 MiB, in a function of 256 MB."""
    stack = Stack()
    for n in range(7):
        stack.drop(f"tasks/b/{n}.json", {"one": task(n), "note": ""})
    jobs = [replace(job, input=replace(job.input, place=())) for job in jobs_of(stack)]
    together: list[int] = []

    class Counting:
        def parts(self, wanted: Sequence[Part]) -> list[Fetched | Exception]:
            together.append(sum(part.end - part.begin for part in wanted))
            return stack.world.objects.parts(wanted)

    found = handing.handed(Counting(), [*jobs, *jobs])  # type: ignore[arg-type]
    assert all(isinstance(each, str) for each in found.values())
    assert max(together) <= tasks.MAX_FILE_BYTES


def test_what_a_task_in_bytes_cannot_be_is_refused_in_words() -> None:
    for part in (b"", b"\xff\xfe{", b"[]", b'{"train": []}', b'{"a": 1', b'{"train": NaN, "test": []}'):
        with pytest.raises(TaskFileRefused, match="one"):
            tasks.task_in("one", part)


def test_what_cannot_be_read_is_known_by_its_class_alone() -> None:
    assert ObjectUnreadable in handing.UNUSABLE
    assert not issubclass(TimeoutError, handing.UNUSABLE)
