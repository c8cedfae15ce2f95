"""Whatever comes in through the door, it is answered or refused in words: the function never fails."""

from __future__ import annotations

import copy
import importlib.util
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import pytest
from boto3.dynamodb.types import TypeSerializer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arcspot.aws.codec import encode
from arcspot.errors import ArcspotError, BadRequest, NotYourself, RowRefused, RunnerRefused, StoreRefused
from arcspot.services.asking import MAX_DEPTH, MAX_VALUES, read, shown
from arcspot_simulator.limits import number_fault
from tests.fakes.driving import Runner, Stack, task
from tests.fakes.memory import MemoryStore

SHA = "0" * 64
VERBS = ("claim", "heartbeat", "uploads", "complete", "fail", "release", "bye")
LOOKUP_BYTES = 2048


class Strict(MemoryStore):
    """Keeps only what DynamoDB would: keys of 1 to 2,048 bytes of UTF-8, rows below 400 KB, its numbers.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
    """

    def write(self, *records: Any) -> None:
        for record in records:
            item = {name: TypeSerializer().serialize(value) for name, value in encode(record).items()}
            assert [fault for number in numbers(item) if (fault := number_fault(number))] == []
            assert len(json.dumps(item, default=str).encode()) < 400 * 1024
        super().write(*records)

    def job(self, job_id: str, *, fresh: bool = True) -> Any:
        assert 0 < len(job_id.encode()) <= LOOKUP_BYTES
        assert "#" not in job_id, "other rows of the table have such keys"
        return super().job(job_id, fresh=fresh)

    def launch(self, launch_id: str, *, fresh: bool = True) -> Any:
        assert 0 < len(launch_id.encode()) <= LOOKUP_BYTES
        return super().launch(launch_id, fresh=fresh)


def numbers(item: Any) -> Iterator[str]:
    """Each number of a row, in DynamoDB's own form."""
    for value in item.values() if isinstance(item, dict) else item if isinstance(item, list) else ():
        if isinstance(value, dict) and set(value) == {"N"}:
            yield value["N"]
        else:
            yield from numbers(value)


def serving() -> tuple[Stack, Runner, dict[str, Any]]:
    """A stack whose runner holds one job of several."""
    stack = Stack()
    stack.world.store = Strict()
    for n in range(4):
        stack.drop(f"tasks/b/{n}.json", task(n))
    (launch_id,) = stack.scale()
    runner = stack.boot(launch_id)
    (lease,) = runner.claim()
    return stack, runner, lease


def valid(runner: Runner, lease: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """A valid request of each verb."""
    attempt = {"job_id": lease["job_id"], "fence": lease["fence"]}
    sums = {"bytes": 1, "sha256": SHA}
    names = ("prediction.json", "metrics.json", "manifest.json", "result.zip")
    checkpoint = {"key": f"checkpoints/{lease['job_id']}/1/state.safetensors", **sums}
    asks: dict[str, dict[str, Any]] = {
        "hello": {
            "instance_id": runner.instance_id,
            "proof": {
                "url": f"sts://123456789012/runner-role/AROARUNNER/{runner.instance_id}",
                "headers": {"X-Arcspot-Launch": runner.launch_id},
            },
            "host": {"device": "cpu", "gpu": None, "deep": {"list": [1, 2.5]}},
        },
        "claim": {"want": 1, "held": [lease["job_id"]]},
        "heartbeat": {"leases": [{**attempt, "phase": "train", "fraction": 0.5}], "gpu_utilisation": 50.0},
        "uploads": {**attempt, "purpose": "result", "files": [{"name": "prediction.json", **sums}]},
        "complete": {
            **attempt,
            "files": dict.fromkeys(names, sums),
            "seconds": 1.5,
            "summary": {"loss": 0.5},
            "want": 1,
            "held": [],
        },
        "fail": {**attempt, "error": "ValueError", "message": "no", "seconds": 1},
        "release": {"leases": [{**attempt, "seconds": 1, "checkpoint": checkpoint}], "why": "interrupted"},
        "bye": {"why": "idle"},
        "ping": {},
    }
    about = {"launch_id": runner.launch_id, "secret": runner.secret}
    return {verb: {"verb": verb, **about, **more} for verb, more in asks.items()}


def answered(stack: Stack, event: object) -> None:
    """It is an answer that JSON can say, or a refusal in words of a line."""
    words, answer = "", {}
    try:
        answer = stack.door().handle(event)
    except RunnerRefused as refused:
        words = str(refused)
    assert len(words.encode()) < 500
    json.dumps(answer, allow_nan=False).encode()


ODD: list[Any] = [
    None, True, False, 0, -1, 1.9, -0.0,
    5e-324, 1e-200, 9.9e-131, 1e-130, 1e-7, -5e-324, 1e15, 1e308, float("inf"), float("-inf"), float("nan"),
    2**63, 10**400, -(10**400), "", " ",
    "x", "\ud800", "\udfff\ud800", "\x00", "ü" * 3000, "x" * 20_000, "BATCH#b",
    "FILE#x", "../..", "a#1", "٣", [], [[]], {}, {"": ""}, {"\ud800": 1}, {"a": {"b": {"c": {}}}},
    [None] * 10_000, [{}] * 65, [1, "x", None],
]  # fmt: skip
JSON: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from(ODD)
    | st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.floats(0, 1e-100)
    | st.text(st.characters(exclude_categories=()), max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
FIELDS = (
    "job_id", "fence", "leases", "want", "held", "files", "seconds", "summary", "purpose", "error",
    "message", "why", "host", "proof", "instance_id", "gpu_utilisation", "phase", "fraction", "checkpoint",
    "secret", "launch_id",
)  # fmt: skip


@given(event=JSON)
@settings(max_examples=150, deadline=None)
def test_any_value_at_all_is_answered_or_refused(event: Any) -> None:
    stack, _, _ = serving()
    answered(stack, event)


@given(
    verb=st.sampled_from([*VERBS, "hello", "ping"]),
    more=st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=6),
    keeps=st.sets(st.sampled_from(FIELDS)),
)
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_field_of_any_verb_may_hold_anything(verb: str, more: dict[str, Any], keeps: set[str]) -> None:
    stack, runner, lease = serving()
    whole = valid(runner, lease)[verb]
    about = ("verb", "launch_id", "secret")
    kept = {name: value for name, value in whole.items() if name in keeps or name in about}
    answered(stack, kept | more | {"verb": verb})


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


def changed(whole: Any, path: tuple[Any, ...], change: Callable[[Any], Any]) -> Any:
    if not path:
        return change(whole)
    copied = copy.deepcopy(whole)
    at = copied
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = change(at[path[-1]])
    return copied


@pytest.mark.parametrize("verb", [*VERBS, "hello", "ping"])
def test_a_valid_call_with_one_thing_wrong_is_answered_or_refused(verb: str) -> None:
    """Each place of a valid request takes each odd value in turn."""
    stack, runner, lease = serving()
    for path in places(valid(runner, lease)[verb]):
        stack, runner, lease = serving()
        whole = valid(runner, lease)[verb]
        for odd in ODD:
            answered(stack, changed(whole, path, lambda _, odd=odd: odd))  # type: ignore[misc]


@pytest.mark.parametrize("seed", range(12))
def test_valid_calls_with_several_things_wrong_are_answered_or_refused(seed: int) -> None:
    rng = Random(seed)
    stack, runner, lease = serving()
    for _ in range(60):
        verb = rng.choice([*VERBS, "hello"])
        event: Any = valid(runner, lease)[verb]
        for _ in range(rng.randint(1, 4)):
            there = list(places(event))
            event = changed(event, rng.choice(there[1:] or there), lambda _: rng.choice(ODD))
            if not isinstance(event, dict):
                break
        answered(stack, event)


@pytest.mark.parametrize("verb", [*VERBS, "hello", "ping"])
def test_the_valid_calls_are_valid(verb: str) -> None:
    """Else the mutations above would all be refused for the same reason."""
    stack, runner, lease = serving()
    prefixes = {"complete": "results", "release": "checkpoints"}
    request = valid(runner, lease)[verb]
    if verb in prefixes:
        runner.complete(lease) if verb == "complete" else runner.ask("release", leases=[], why="draining")
        if verb == "release":
            request["leases"][0]["checkpoint"] = None
    assert isinstance(stack.door().handle(request), dict)


@pytest.mark.parametrize(
    ("verb", "field", "value"),
    [
        ("fail", "fence", 1.9),
        ("fail", "fence", 1.0),
        ("fail", "fence", -0.0),
        ("fail", "fence", True),
        ("fail", "fence", "1"),
        ("fail", "fence", 10**400),
        ("fail", "job_id", "BATCH#b"),
        ("fail", "job_id", "FILE#tasks/b/0.json"),
        ("fail", "job_id", ""),
        ("fail", "job_id", "x" * 3000),
        ("fail", "job_id", "\ud800"),
        ("fail", "seconds", -1),
        ("fail", "seconds", True),
        ("fail", "seconds", "5"),
        ("fail", "seconds", float("nan")),
        ("fail", "seconds", float("inf")),
        ("fail", "seconds", 10**400),
        ("fail", "message", 7),
        ("fail", "error", ["x"]),
        ("claim", "want", 1.5),
        ("claim", "want", True),
        ("claim", "held", "all"),
        ("claim", "held", ["BATCH#b"]),
        ("bye", "why", "x" * 5000),
        ("bye", "why", {"a": 1}),
        ("hello", "host", [1]),
        ("hello", "host", "cpu"),
        ("hello", "proof", {"url": "sts://x", "headers": {"x-arcspot-launch": 7}}),
        ("complete", "summary", []),
        ("complete", "summary", {"": 1}),
        ("complete", "want", -1),
        ("heartbeat", "leases", [{"job_id": "a", "fence": 1}] * 2),
        ("heartbeat", "leases", [{"job_id": "a", "fence": 1, "phase": 3}]),
        ("heartbeat", "leases", [{}] * 65),
        ("release", "leases", [{"job_id": "a", "fence": 1, "seconds": 1}] * 2),
        ("uploads", "purpose", "tasks"),
    ],
)
def test_each_of_these_is_a_bad_request(verb: str, field: str, value: object) -> None:
    stack, runner, lease = serving()
    before = dict(stack.world.store.rows)
    with pytest.raises(BadRequest):
        stack.door().handle({**valid(runner, lease)[verb], field: value})
    assert stack.world.store.rows == before


@pytest.mark.parametrize("url", ["sts://", "sts://a", "sts://a/b/c/d/e", "https://sts", "sts://\x00/b/c/d"])
def test_a_proof_that_cannot_be_read_proves_nothing(url: str) -> None:
    stack, runner, lease = serving()
    whole = valid(runner, lease)["hello"]
    with pytest.raises(NotYourself):
        stack.door().handle({**whole, "proof": {**whole["proof"], "url": url}})


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("deep", [nested(100_000), nested(MAX_DEPTH + 1)])
def test_depth_is_refused_without_recursion(deep: Any) -> None:
    with pytest.raises(BadRequest, match="nested"):
        read({"verb": "hello", "host": {"x": deep}})


def test_many_values_are_refused() -> None:
    for wide in ([0] * (MAX_VALUES + 1), {str(n): [0] * 10 for n in range(MAX_VALUES // 10)}):
        with pytest.raises(BadRequest, match="values"):
            read({"verb": "claim", "leases": wide})


@pytest.mark.parametrize("event", [None, 7, "claim", ["claim"], [], True])
def test_what_is_no_object_is_refused_by_the_function_too(event: object) -> None:
    assert handler(event)["error"] == "BadRequest"


def test_what_goes_into_the_log_is_short() -> None:
    for value in ("x" * 100_000, "\ud800" * 1000, {"a": "x" * 1000}, "🐉" * 500):
        assert len(shown(value)) < 1000
        shown(value).encode()
    about = logged({"verb": "x" * 100_000, "launch_id": "\ud800" * 100_000})
    assert len(json.dumps(about)) < 4_000


def handler(event: object) -> dict[str, Any]:
    answer: dict[str, Any] = _app(Stack()).handler.__wrapped__(event, None)
    return answer


def logged(event: object) -> dict[str, Any]:
    app, lines = _app(Stack()), []
    app.logger = type("Log", (), {"warning": lambda self, text, extra: lines.append(extra)})()  # type: ignore[attr-defined]
    app.handler.__wrapped__(event, None)
    (line,) = lines
    found: dict[str, Any] = line
    return found


def _app(stack: Stack) -> ModuleType:
    path = Path(__file__).parents[2] / "functions/runner_api/app.py"
    spec = importlib.util.spec_from_file_location("runner_api_app", path)
    assert spec is not None
    assert spec.loader is not None
    app = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(app)
    app.from_environment = lambda: (stack.settings, stack.ports)  # type: ignore[attr-defined]
    return app


TINY = [5e-324, 2.2250738585072014e-308, 1e-200, 1.2345678901234567e-140, 9.99e-131, 1e-130, 1e-100, 9e-7]


@pytest.mark.parametrize("tiny", TINY)
@pytest.mark.parametrize("verb", ["complete", "fail", "release", "heartbeat"])
def test_a_number_too_small_for_a_table_is_nothing(verb: str, tiny: float) -> None:
    """The table refused the row that the request had made, and the function failed."""
    stack, runner, lease = serving()
    attempt = {"job_id": lease["job_id"], "fence": lease["fence"]}
    if verb == "complete":
        runner.ask("complete", **attempt, files=runner.upload(lease), seconds=tiny, summary={})
    elif verb == "fail":
        runner.ask("fail", **attempt, error="E", message="", seconds=tiny)
    elif verb == "release":
        runner.ask("release", leases=[{**attempt, "seconds": tiny}], why="draining")
    else:
        stack.world.wait(200)
        lease = {**attempt, "phase": "train", "fraction": tiny}
        runner.ask("heartbeat", leases=[lease], gpu_utilisation=tiny)
    job = stack.world.store.job(attempt["job_id"])
    assert job is not None
    assert job.run_s_total == 0
    assert job.lease is None or (job.lease.phase, job.lease.fraction) == ("train", 0)


@pytest.mark.parametrize("verb", [*VERBS, "hello", "ping"])
def test_a_row_that_no_table_holds_is_the_request_of_its_runner(verb: str) -> None:
    """Should the gate let one through: the function does not fail, and nobody is told to ask again."""
    stack, runner, lease = serving()

    def refusing(*_: Any, **__: Any) -> None:
        raise RowRefused(f"{lease['job_id']}: Underflow")

    for name in ("write", "fleet"):
        setattr(stack.world.store, name, refusing)
    answer = _app(stack).handler.__wrapped__(valid(runner, lease)[verb], None)
    assert answer["ok"] or answer["error"] in ("BadRequest", "NotYourself")


def test_a_right_that_is_missing_is_no_runners_fault() -> None:
    """Else each runner would fail its jobs for it."""
    stack, runner, lease = serving()

    def refusing(*_: Any) -> None:
        raise StoreRefused("DynamoDB refuses it (AccessDeniedException)")

    stack.world.store.write = refusing  # type: ignore[method-assign]
    with pytest.raises(StoreRefused):
        _app(stack).handler.__wrapped__(valid(runner, lease)["fail"], None)


def test_a_key_of_another_row_is_no_job() -> None:
    """The tables hold batches and receipts beside the jobs; no call reaches them by a job's name."""
    stack, runner, lease = serving()
    for verb in ("uploads", "complete", "fail"):
        with pytest.raises(ArcspotError):
            stack.door().handle({**valid(runner, lease)[verb], "job_id": "BATCH#b"})
    row = stack.world.store.launch(runner.launch_id)
    assert row is not None
    assert row.leases == (lease["job_id"],)
