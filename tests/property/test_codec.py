"""Whatever a record holds comes back from DynamoDB's own types unchanged."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from hypothesis import given, settings
from hypothesis import strategies as st

from arcspot.aws.codec import decode, encode
from arcspot.domain.batches import Batch
from arcspot.domain.budget import Fleet, Hold, Leak, Ledger, Prices
from arcspot.domain.jobs import Estimate, Job, JobState, Lease, TaskInput
from arcspot.domain.launching import Breaker, Launch, LaunchState, Token
from arcspot.domain.reaping import Suspects

text = st.text(max_size=12)
whole = st.integers(-(10**15), 10**15)
count = st.integers(0, 10**6)
real = st.floats(allow_nan=False, allow_infinity=False, min_value=0, max_value=1e12).filter(
    lambda x: x == 0 or x > 1e-100
)
moment = st.datetimes(timezones=st.just(UTC), min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1))  # noqa: DTZ001
maybe = st.none() | moment
scalar: st.SearchStrategy[Any] = st.none() | st.booleans() | whole | real | text
plain: st.SearchStrategy[Any] = st.recursive(
    scalar,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
document = st.dictionaries(st.text(min_size=1, max_size=5), plain, max_size=3)

jobs = st.builds(
    Job,
    job_id=text,
    batch_id=text,
    input=st.builds(TaskInput, bucket=text, key=text, object_version=text, task_id=text),
    config=document,
    solver_version=text,
    created_at=moment,
    updated_at=moment,
    estimate_s=real,
    state=st.sampled_from(JobState),
    lane=st.integers(0, 2),
    ready_at=maybe,
    fence=count,
    lease=st.none()
    | st.builds(
        Lease, launch_id=text, fence=count, expires_at=moment, phase=text, fraction=st.floats(0, 1, width=32)
    ),
    run_s_total=real,
    failures=count,
    interruptions=count,
    silent_deaths=count,
    checkpoint=st.none() | document,
    result_prefix=text,
    summary=document,
    reason=text,
    cancelled=st.booleans(),
    cost_usd_micros=count,
    version=count,
)
launches = st.builds(
    Launch,
    launch_id=text,
    period=text,
    reserve=count,
    created_at=moment,
    hard_deadline=moment,
    boot_deadline=moment,
    state=st.sampled_from(LaunchState),
    attempted_at=maybe,
    started_at=maybe,
    heartbeat_at=maybe,
    gone_at=maybe,
    instance_id=text,
    task_token=text,
    host=text,
    drain=st.booleans(),
    leases=st.lists(st.text(max_size=8), max_size=3).map(tuple),
    gpu_idle_since=maybe,
    price=count,
)
records: dict[str, st.SearchStrategy[Any]] = {
    "job": jobs,
    "launch": launches,
    "token": st.builds(Token, launch_id=text, until=moment, phase=text, token=text, version=count),
    "batch": st.builds(Batch, batch_id=text, created_at=moment, report_due_at=maybe, reported_jobs=count),
    "ledger": st.builds(
        Ledger,
        period=text,
        cap=count,
        available=whole,
        reserved=whole,
        settled=whole,
        alerted=st.lists(st.integers(0, 100), max_size=3).map(tuple),
    ),
    "fleet": st.builds(
        Fleet,
        slots_total=count,
        slots_available=whole,
        paused=st.booleans(),
        pause_reason=text,
        waits_for=text,
        waits_since=maybe,
        holds_from=maybe,
    ),
    "breaker": st.builds(
        Breaker, failures=count, error=text, message=text, open_until=maybe, until_resumed=st.booleans()
    ),
    "suspects": st.builds(
        Suspects, since=st.dictionaries(st.text(min_size=1), moment, max_size=3), door_ill_at=maybe
    ),
    "leak": st.builds(Leak, instance_id=text, launch_id=text, usd_micros=count, booked_at=moment),
    "hold": st.builds(Hold, launch_id=text, period=text, amount=count, until=moment, closed=st.booleans()),
    "prices": st.builds(
        Prices, on_demand=st.dictionaries(st.text(min_size=1), count, max_size=3), read_at=moment
    ),
    "estimate": st.builds(Estimate, key=text, seconds=real, count=count),
}


@pytest.mark.parametrize("kind", records)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_record_survives_the_table_whatever_it_holds(kind: str, data: st.DataObject) -> None:
    record = data.draw(records[kind])
    item = {name: TypeSerializer().serialize(value) for name, value in encode(record).items()}
    back = {name: TypeDeserializer().deserialize(value) for name, value in item.items()}
    again = decode(type(record), {**back, "pk": "an attribute only the table needs"})
    assert again == record
    assert repr(encode(again)) == repr(encode(decode(type(record), encode(again)))), "and stays as it is"


def test_what_no_record_holds_is_refused() -> None:
    with pytest.raises(TypeError, match="set"):
        encode({"a": {1, 2}})
