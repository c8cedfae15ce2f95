"""Files that come together are taken together, and nothing is handed out twice for being slow."""

from __future__ import annotations

from typing import Any

from tests.fakes import house

HEAP, MOST_INVOCATIONS = 400, 60
# Lambda begins to read a standard queue with five pollers, each with a batch and a window of its own.
# https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
POLLERS = 5
# How long dropping and delivering the heap may take, generously: EventBridge needs about a second.
SPREAD_SECONDS = 30


def source() -> dict[str, Any]:
    found: dict[str, Any] = house.functions()["ingest"]["Events"]["Dropped"]["Properties"]
    return found


def test_a_heap_of_files_takes_few_invocations() -> None:
    full = HEAP / source()["BatchSize"]
    cut_short_by_the_window = POLLERS * SPREAD_SECONDS / source()["MaximumBatchingWindowInSeconds"]
    assert full + cut_short_by_the_window <= MOST_INVOCATIONS


def test_more_than_ten_messages_need_a_window_to_gather_in() -> None:
    assert source()["BatchSize"] <= 10 or source()["MaximumBatchingWindowInSeconds"] >= 1


def test_a_message_stays_hidden_for_six_times_the_functions_time_and_the_window() -> None:
    (queue,) = (house.resources("AWS::SQS::Queue")[name] for name in ["IngestQueue"])
    asked = 6 * house.functions()["ingest"]["Timeout"] + source()["MaximumBatchingWindowInSeconds"]
    assert queue["VisibilityTimeout"] >= asked


def test_one_bad_or_late_message_sends_none_of_its_neighbours_round_again() -> None:
    assert source()["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
