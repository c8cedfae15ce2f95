"""100,000 files at once: what the template says of ingest, the model of Lambda, the server that answers."""

from __future__ import annotations

import json

import pytest

from bench.dropping import FILES, LIMIT_S, Deployed, deployed, waits, whole
from bench.silent_aws import answer

# Measured by `python -m bench dropping` on a busy machine; with a half more for TLS and a slower processor.
CPU_S = 0.0045 * 1.5
# A new account runs ten functions at once; the runners' door and the minute's rounds need half of them.
# https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html
ACCOUNT = 10


def test_100000_files_take_ten_minutes_at_most_on_a_new_accounts_limits() -> None:
    as_deployed = deployed()
    assert as_deployed.at_once <= ACCOUNT / 2
    found = whole(as_deployed, cpu_s=CPU_S, waits_s=waits(as_deployed.batch))
    assert found.seconds <= LIMIT_S
    assert found.invocation_s < 30, "far below the function's limit"


def test_twenty_at_a_time_one_after_the_other_would_not() -> None:
    assert whole(Deployed(1024, 20, 2, 5), cpu_s=CPU_S, waits_s=waits(20)).seconds > LIMIT_S


def test_one_partition_of_the_index_takes_what_so_many_write() -> None:
    """Two rows of `by_batch` for each file: its job's and its receipt's."""
    as_deployed = deployed()
    fastest = whole(as_deployed, cpu_s=0.003, waits_s=waits(as_deployed.batch))
    assert 2 * fastest.files_a_second < 1_000


def test_the_model_counts_every_invocation_and_shares_the_processor() -> None:
    small = Deployed(memory_mb=1_769, batch=10, at_once=1, window_s=5)
    found = whole(small, files=25, cpu_s=0.1, waits_s=0.5, boot_s=0)
    assert found.invocations == 3
    assert found.invocation_s == pytest.approx(0.05 + 0.5 + 10 * 0.1)
    assert found.seconds == pytest.approx(5 + 3 * (0.035 + found.invocation_s))
    half = whole(Deployed(1_769 // 2, 10, 1, 5), files=25, cpu_s=0.1, waits_s=0.5, boot_s=0)
    assert half.invocation_s == pytest.approx(0.05 + 0.5 + 10 * 0.2, rel=0.01)
    assert FILES == 100_000


def test_a_batch_waits_for_its_calls_a_fraction_of_a_second() -> None:
    assert 0.1 < waits(100) < 0.5 < 100 * waits(1)


def test_the_silent_server_answers_as_each_service_does() -> None:
    assert json.loads(answer("POST", "/", "DynamoDB_20120810.BatchGetItem")[1]) == {
        "Responses": {}, "UnprocessedKeys": {},
    }  # fmt: skip
    headers, body = answer("GET", "/bucket/tasks/load/000012.json", "")
    assert headers["x-amz-version-id"] == "v1"
    assert json.loads(body)["train"]
    assert answer("GET", "/bucket/tasks/load/000013.json", "")[1] != body
