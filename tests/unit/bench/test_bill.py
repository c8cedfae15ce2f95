"""The bill counts as AWS counts, and leaves no line without a price."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import pytest
from aws_lambda_powertools import Logger

from arcspot.domain.jobs import Job, JobState, TaskInput
from arcspot_simulator import capacity, metering
from arcspot_simulator.capacity import Index
from arcspot_simulator.metering import Meter, Shape
from arcspot_simulator.tariff import LEFT_OUT, PRICES, Bill
from bench import bill, standing
from tests.fakes import house
from tests.fakes.memory import START

SPARSE = Index(("due", "due_at"), whole=True)
KEYS = Index(("in_batch", "state"))
TEMPLATE = standing.read(house.ROOT)


def item(**values: str) -> dict[str, Any]:
    return {name: {"S": value} for name, value in {"pk": "j", **values}.items()}


def job(**changes: Any) -> Job:
    made = Job(
        job_id="j", batch_id="b", input=TaskInput(bucket="b", key="tasks/x", object_version="", task_id="x"),
        config={}, solver_version="1", created_at=START, updated_at=START, ready_at=START, estimate_s=1.0,
    )  # fmt: skip
    return replace(made, **changes)


def meter() -> Meter:
    return Meter(replace(standing.shape(TEMPLATE), memory_gb={"scale": 0.5}))


# ---- DynamoDB


def test_a_row_counts_its_names_and_its_values() -> None:
    assert capacity.size({"pk": {"S": "äb"}, "n": {"N": "123"}, "yes": {"BOOL": True}}) == 5 + 4 + 4


def test_a_write_costs_the_larger_of_the_row_before_and_after_by_the_kilobyte() -> None:
    small, large = item(x="x"), item(x="x" * 3000)
    assert capacity.write_units(None, small, ()) == 1
    assert capacity.write_units(large, small, ()) == capacity.write_units(small, large, ()) == 3
    assert capacity.write_units(small, large, (), transaction=True) == 6


@pytest.mark.parametrize(
    ("before", "after", "units"),
    [
        (None, item(x="1"), 0),
        (None, item(due="A", due_at="1"), 1),
        (item(due="A", due_at="1"), item(due="A", due_at="1"), 0),
        (item(due="A", due_at="1"), item(due="A", due_at="1", x="1"), 1),
        (item(due="A", due_at="1"), item(due="A", due_at="2"), 2),
        (item(due="A", due_at="1"), item(x="1"), 1),
    ],
)
def test_an_index_of_whole_rows_is_written_when_anything_of_its_row_changes(
    before: Any, after: Any, units: int
) -> None:
    assert capacity.write_units(before, after, (SPARSE,)) - 1 == units


def test_an_index_of_keys_alone_is_not_written_when_something_else_changes() -> None:
    before, after = item(in_batch="b", state="READY"), item(in_batch="b", state="READY", x="y")
    assert capacity.write_units(before, after, (KEYS,)) == 1
    assert capacity.write_units(before, item(in_batch="b", state="DONE"), (KEYS,)) == 1 + 2


def test_a_transaction_doubles_the_row_and_not_its_indexes() -> None:
    after = item(in_batch="b", state="READY")
    assert capacity.write_units(None, after, (KEYS,), transaction=True) == 2 + 1


def test_reads_count_by_four_kilobytes_and_queries_half() -> None:
    assert capacity.read_units([0, 1, 4096, 4097]) == 1 + 1 + 1 + 2
    assert (capacity.query_units(0), capacity.query_units(5000)) == (0.5, 1.0)


def test_the_meter_writes_the_rows_that_the_adapter_writes() -> None:
    counted = meter()
    counted.called("scale", "store.write", (job(),), None, seconds=0.0)
    first = counted.units["DynamoDB write units"]
    assert first == 1 + 2, "a new READY job stands in its queue and in its batch"
    counted.called("scale", "store.write", (job(version=1, lane=0),), None, seconds=0.0)
    assert counted.units["DynamoDB write units"] > first + 1, "another lane is another key of an index"


def test_a_call_that_nobody_has_priced_is_an_error_and_not_nothing() -> None:
    for name in ("store.forget_everything", "objects.rename"):
        with pytest.raises(KeyError, match="no price"):
            meter().called("scale", name, ("x",), None, seconds=0.0)


def test_jobs_that_were_known_already_cost_no_write() -> None:
    counted = meter()
    counted.called("scale", "store.add", ([job()],), {"j": job()}, seconds=0.0)
    once = counted.units["DynamoDB write units"]
    counted.called("scale", "store.add", ([job(), job(job_id="k")],), {}, seconds=0.0)
    assert counted.units["DynamoDB write units"] == 2 * once
    assert counted.units["DynamoDB read units"] == 3 / 2, "each is looked for, at half the price"


# ---- The rest


def test_lambda_time_is_billed_by_memory_and_a_pause_costs_a_new_environment() -> None:
    counted = meter()
    for now in (0.0, 1.0, 2.0 + metering.WARM_S):
        counted.invoked("scale", now)
    own = 3 * metering.OWN_CPU_S * metering.WHOLE_CPU_GB
    assert counted.gb_seconds == pytest.approx(own + 0.5 * 2 * metering.COLD_S)


def test_more_memory_costs_more_while_a_call_waits_and_nothing_while_it_works() -> None:
    def cost(memory: float, *, waits: float) -> float:
        counted = Meter(Shape(memory_gb={"scale": memory}))
        counted.called("scale", "kick", ("report",), None, seconds=waits)
        return counted.gb_seconds

    assert cost(1.0, waits=0.0) == pytest.approx(cost(0.25, waits=0.0))
    assert cost(1.0, waits=1.0) > 3 * cost(0.25, waits=1.0)


def test_an_object_is_an_event_only_where_the_whole_bucket_tells_eventbridge() -> None:
    for told in (True, False):
        counted = Meter(Shape(memory_gb={}, object_events=told))
        counted.stored("results/x", 1)
        assert counted.units["S3 PUT and LIST requests"] == 1
        assert counted.units["S3 events through EventBridge"] == told


def test_a_message_is_sent_received_and_deleted() -> None:
    counted = meter()
    counted.polled(20)
    assert counted.units["SQS requests"] == 20 + 1 + 2


def test_a_log_line_is_as_long_as_powertools_makes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "_X_AMZN_TRACE_ID", "Root=1-62e900b2-710d76f009d6e7785905449a;Parent=0efbd19962d95b05;Sampled=0"
    )
    stream, fields = io.StringIO(), {"wanted": 1, "launches": ["L0000001"], "waits_for": ""}
    logger = Logger(service="counted", stream=stream)

    class Context:
        function_name, memory_limit_in_mb = "arcspot-runner_api", 512
        invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:arcspot-runner_api"
        aws_request_id = "6d68ca91-49c9-448d-89b8-7ca3e6dc66aa"

    @logger.inject_lambda_context
    def handler(event: Any, context: Any) -> None:
        logger.info("scaled", extra=fields)

    handler({}, Context())
    counted = meter()
    counted.logged("scaled", fields)
    real = len(stream.getvalue().encode())
    assert counted.units["CloudWatch logs taken in, bytes"] == pytest.approx(real, rel=0.1)


def test_every_price_says_where_it_stands() -> None:
    assert all(price.source.startswith("https://aws.amazon.com/") for price in PRICES.values())
    with pytest.raises(KeyError):
        _ = Bill({"a line without a price": 1}).total_usd


def test_a_bill_says_each_line_and_what_it_leaves_out() -> None:
    one = {"Lambda requests": {"units": 2e6, "usd": 0.4}}
    found = {
        "tasks": 1000, "usd": 0.4, "lines": one, "standing_usd_a_month": 0.5, "standing_lines": one,
        "kept_usd_a_month": 0.1, "kept_lines": one, "left_out": LEFT_OUT,
    }  # fmt: skip
    said = bill.lines(found)
    assert "| Lambda requests | 2,000,000 | $0.2 | 40.000 |" in said
    assert all(each in said for each in LEFT_OUT)


def test_what_stands_is_read_from_the_template() -> None:
    assert standing.alarms(TEMPLATE) == len(house.resources("AWS::CloudWatch::Alarm"))
    assert set(standing.shape(TEMPLATE).memory_gb) == set(house.functions())
    assert standing.calls_a_month("rate(1 hour)") == standing.HOURS
    with pytest.raises(ValueError, match="no rate"):
        standing.calls_a_month("cron(0 22 * * ? *)")


def test_a_row_kept_counts_with_its_rows_in_indexes() -> None:
    counted = meter()
    counted.called("scale", "store.write", (job(),), None, seconds=0.0)
    ready = counted.bytes_kept(of="tables")
    counted.called(
        "scale", "store.write", (job(version=1, state=JobState.DEAD, ready_at=None),), None, seconds=0.0
    )
    assert counted.bytes_kept(of="tables") < ready
    counted.stored("results/x", 77)
    assert counted.bytes_kept(of="objects") == 77


def test_the_counted_lines_are_those_of_json() -> None:
    counted = meter()
    counted.logged("x", {"y": "z"})
    assert counted.units["CloudWatch logs taken in, bytes"] == metering.LINE_BYTES + len(
        json.dumps({"message": "x", "y": "z"})
    )


def test_without_a_template_the_indexes_are_those_that_anything_is_written_to() -> None:
    told = standing.shape(TEMPLATE).indexes
    for table, indexes in metering.INDEXES.items():
        earlier = [Index(("due", "due_at"), whole=True)] if table == "jobs" else []
        assert sorted(map(str, [*indexes, *earlier])) == sorted(map(str, told[table]))
