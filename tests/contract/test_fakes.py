"""The simulator's EC2 and bucket keep the promises that AWS keeps, as far as moto can tell.

Most of what is known about this stack was learnt on the fakes, so they must not promise more than the
real services. Each promise here is held against the simulator's fake and against our adapter over moto.
`tests/integration/test_store.py` does the same for the tables.

Where moto is silent or wrong, AWS's documentation is the measure, the simulator follows it, and the
tests at the end show what moto does instead, so that we notice when that changes:

=====================================  =================================  ==================
AWS                                    moto                               shown by
=====================================  =================================  ==================
CreateFleet with a known ClientToken   starts another instance            test_moto_ignores…
answers with the first instance
DescribeInstances lags by seconds      shows everything at once           test_moto_ignores…
no capacity, no quota, throttling      always starts an instance          test_moto_ignores…
StateTransitionReason tells GMT        tells UTC: `ended_at` is not read  test_moto_ignores…
a terminated instance is shown for     shows it for ever                  (by no test: its
about an hour                                                             clock is the real)
a PUT must match the signed checksum   takes any bytes                    test_moto_takes_any…
and length, before it expires
rows past their TTL disappear          keeps them                         test_moto_keeps_rows…
an index shows a change later          at once                            test_parts.py (ours)
=====================================  =================================  ==================
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from random import Random
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from arcspot.aws.compute import Ec2
from arcspot.domain.launching import Instance
from arcspot.errors import RecordMissing
from arcspot.ports import Compute, Fetched, FleetOrder, Objects, Part, Stored
from arcspot_simulator.bucket import MemoryObjects
from arcspot_simulator.cloud import Prices, SimEc2
from arcspot_simulator.loop import Loop
from arcspot_simulator.weather import CALM, HOUR, Sky
from tests.fakes.memory import FakeEc2
from tests.integration.conftest import Cloud, cloud, whole_cloud

__all__ = ["cloud", "whole_cloud"]  # fixtures

UNKNOWN = "i-0123456789abcdef0"


@dataclass
class World:
    """EC2 in one of three shapes, and a way to let a minute pass where time matters."""

    compute: Compute
    pass_a_minute: Callable[[], object] = lambda: None

    def launch(self, launch_id: str, *, market: str = "spot") -> Instance:
        order = FleetOrder(launch_id=launch_id, instance_types=("g4dn.xlarge",), market=market)
        started = self.compute.launch(order)
        self.pass_a_minute()
        return started

    def shown(self, instance_id: str) -> Instance:
        found = self.compute.instance(instance_id)
        assert found is not None
        return found

    def terminate(self, instance_id: str) -> None:
        self.compute.terminate(instance_id)
        self.pass_a_minute()


def simulated() -> tuple[Loop, SimEc2]:
    loop = Loop()
    return loop, SimEc2(loop, Sky(CALM, Random(0)), Prices(0), max_lifetime_s=lambda: 24 * HOUR)


@pytest.fixture(params=["simulator", "unit fake", "adapter over moto"])
def world(request: pytest.FixtureRequest) -> World:
    if request.param == "simulator":
        loop, ec2 = simulated()
        return World(ec2, lambda: loop.run(loop.now + 60))
    if request.param == "unit fake":
        return World(FakeEc2())
    whole: Cloud = request.getfixturevalue("whole_cloud")
    return World(whole.ports.compute)


def test_a_launched_instance_says_what_it_is_and_for_whom_and_is_found_by_its_tag(world: World) -> None:
    begun = [world.launch(f"launch-{market}", market=market) for market in ("spot", "on-demand")]
    assert [started.market for started in begun] == ["spot", "on-demand"]
    listed = {instance.instance_id: instance for instance in world.compute.instances()}
    assert list(listed) == [started.instance_id for started in begun]
    for started in begun:
        shown = world.shown(started.instance_id)
        assert listed[started.instance_id] == shown
        for told in (started, shown):
            assert (told.launch_id, told.instance_type) == (f"launch-{started.market}", "g4dn.xlarge")
            assert told.alive
            assert (told.gone, told.ended_at) == (False, None)
            assert told.launched_at.tzinfo is not None
        assert shown.zone.startswith("us-east-1")
        assert abs((shown.launched_at - started.launched_at).total_seconds()) < 5


def test_a_terminated_instance_stays_visible_ends_once_and_alone(world: World) -> None:
    one, other = (world.launch(f"launch-{n}").instance_id for n in range(2))
    world.terminate(one)
    ended = world.shown(one)
    assert ended in world.compute.instances()
    assert (ended.gone, ended.alive, ended.launch_id) == (True, False, "launch-0")
    if not isinstance(world.compute, Ec2):  # see the last tests
        assert ended.ended_at is not None
        assert ended.ended_at >= ended.launched_at
    world.terminate(one)
    assert world.shown(one) == ended, "ending it again ends nothing new"
    assert world.shown(other).alive


def test_an_unknown_instance_is_absent_and_ending_it_is_no_error(world: World) -> None:
    world.compute.terminate(UNKNOWN)
    assert world.compute.instance(UNKNOWN) is None
    assert world.compute.instances() == []
    assert isinstance(world.compute.console(UNKNOWN), str), "evidence that is not there is no error either"


# The bucket ----------------------------------------------------------------------------------------------


@pytest.fixture(params=["simulator", "adapter over moto"])
def objects(request: pytest.FixtureRequest) -> Objects:
    if request.param == "simulator":
        return MemoryObjects()
    known: Cloud = request.getfixturevalue("cloud")
    return known.ports.objects


def put(objects: Objects, *keys: str) -> None:
    for key in keys:
        objects.write(key, key.encode(), content_type="text/plain")


def test_what_was_written_last_is_read(objects: Objects) -> None:
    put(objects, "a")
    objects.write("a", b"newer", content_type="text/plain")
    assert objects.read("a") == b"newer"
    assert objects.size("a") == 5


def test_a_missing_object_is_named(objects: Objects) -> None:
    for version in (None, "no-such-version"):
        with pytest.raises(RecordMissing, match=r"tasks/ü \+\.json"):
            objects.read("tasks/ü +.json", version=version)
    assert objects.size("tasks/ü +.json") is None


def test_an_empty_object_is_there(objects: Objects) -> None:
    objects.write("empty", b"", content_type="x")
    assert (objects.read("empty"), objects.size("empty"), list(objects.keys("empty"))) == (b"", 0, ["empty"])


def test_keys_come_by_prefix_and_in_the_order_of_their_bytes(objects: Objects) -> None:
    put(objects, "t/b", "t/ü", "t/a/2", "t/a/10", "t/B", "tt/x", "u", "t/\U0001f600", "t/\uffee")
    listed = ["t/B", "t/a/10", "t/a/2", "t/b", "t/ü", "t/\uffee", "t/\U0001f600"]
    assert list(objects.keys("t/")) == listed
    assert list(objects.keys("t/a/")) == ["t/a/10", "t/a/2"]
    assert list(objects.keys("t/a")) == ["t/a/10", "t/a/2"]
    assert list(objects.keys("none/")) == []


def test_a_list_shows_every_change(objects: Objects) -> None:
    def listed() -> list[list[str]]:
        return [list(objects.keys(prefix)) for prefix in ("", "ta", "tasks", "tasks/", "tasks/a")]

    put(objects, "tasks/a1")
    assert listed() == [["tasks/a1"]] * 5
    put(objects, "tasks/a2")
    assert listed() == [["tasks/a1", "tasks/a2"]] * 5
    objects.delete("tasks/a1")
    assert listed() == [["tasks/a2"]] * 5


def test_deleting_twice_is_deleting_once(objects: Objects) -> None:
    put(objects, "a", "b")
    for _ in range(2):
        objects.delete("a")
    assert list(objects.keys("")) == ["b"]
    assert objects.size("a") is None
    with pytest.raises(RecordMissing):
        objects.read("a")
    put(objects, "a")
    assert objects.read("a") == b"a"


@pytest.mark.parametrize("sizes", [[], [0], [3], [9 << 20], [9 << 20, 1], [1, 5 << 20, 5 << 20, 3]])
def test_an_object_of_many_parts_is_their_bytes_one_after_another(objects: Objects, sizes: list[int]) -> None:
    parts = [bytes([65 + n]) * size for n, size in enumerate(sizes)]
    objects.write_parts("reports/b/large", iter(parts), content_type="text/plain")
    assert objects.read("reports/b/large") == b"".join(parts)


@pytest.mark.parametrize("size", [1, 9 << 20])
def test_an_object_whose_parts_break_off_is_not_there(objects: Objects, size: int) -> None:
    def parts() -> Iterator[bytes]:
        yield b"x" * size
        yield b"x" * size
        raise RuntimeError("no more of it can be read")

    put(objects, "reports/b/old")
    for key in ("reports/b/new", "reports/b/old"):
        with pytest.raises(RuntimeError, match="no more"):
            objects.write_parts(key, parts(), content_type="text/plain")
    assert objects.size("reports/b/new") is None
    assert objects.read("reports/b/old") == b"reports/b/old"


def test_the_last_bytes_of_many_objects_come_in_order_and_each_fails_alone(objects: Objects) -> None:
    put(objects, "a/long", "a/b")
    objects.write("a/empty", b"", content_type="x")
    wanted = [("a/long", None), ("a/none", None), ("a/empty", None), ("a/b", None)]
    found = objects.fetch_many(wanted, last=4)
    bodies = [each.body if isinstance(each, Fetched) else type(each).__name__ for each in found]
    assert bodies == [b"long", "RecordMissing", b"", b"a/b"]


def test_parts_of_many_objects_come_in_order_and_each_fails_alone(objects: Objects) -> None:
    put(objects, "a/0123456789", "a/b")
    objects.write("a/empty", b"", content_type="x")
    wanted = [
        Part("a/0123456789", None, 2, 5),
        Part("a/none", None, 0, 5),
        Part("a/empty", None, 0, 5),
        Part("a/b", None, 2, 50),
        Part("a/b", None, 7, 9),
    ]
    found = objects.parts(wanted)
    bodies = [each.body if isinstance(each, Fetched) else type(each).__name__ for each in found]
    assert bodies == [b"012", "RecordMissing", b"", b"b", b""]


def promised(objects: Objects, body: bytes) -> tuple[str, Mapping[str, str]]:
    digest = hashlib.sha256(body).hexdigest()
    return objects.presign_put("results/x", sha256_hex=digest, size=len(body), seconds=60)


def send(objects: Objects, url: str, headers: Mapping[str, str], body: bytes) -> None:
    if isinstance(objects, MemoryObjects):
        objects.put(url, headers, body)
    else:
        requests.put(url, data=body, headers=dict(headers), timeout=10).raise_for_status()


def test_the_promised_bytes_are_taken(objects: Objects) -> None:
    url, headers = promised(objects, b"result")
    send(objects, url, headers, b"result")
    assert objects.read("results/x") == b"result"


def test_a_url_for_one_put_takes_no_second_one(objects: Objects) -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html"""
    digest = hashlib.sha256(b"result").hexdigest()
    url, headers = objects.presign_put("results/x", sha256_hex=digest, size=6, seconds=60, once=True)
    assert headers["if-none-match"] == "*"
    statuses = []
    for _ in range(2):
        if isinstance(objects, MemoryObjects):
            statuses.append(objects.put(url, headers, b"result"))
        else:
            signed = parse_qs(urlsplit(url).query)["X-Amz-SignedHeaders"][0].split(";")
            assert {"if-none-match", "x-amz-checksum-sha256", "content-length"} <= set(signed)
            statuses.append(requests.put(url, data=b"result", headers=dict(headers), timeout=10).status_code)
    assert statuses == [200, 412]
    objects.delete("results/x")
    assert objects.stored("results/x") is None


def test_what_is_stored_is_told_with_its_checksum(cloud: Cloud) -> None:
    """moto keeps a checksum only of a PUT that names the algorithm; S3 keeps every one it was given."""
    body, memory = b"result", MemoryObjects()
    cloud.session.client("s3").put_object(
        Bucket=cloud.settings.bucket, Key="results/x", Body=body, ChecksumAlgorithm="SHA256"
    )
    memory.write("results/x", body, content_type="x")
    expected = Stored(len(body), hashlib.sha256(body).hexdigest())
    there = cloud.ports.objects.stored("results/x")
    assert there is not None
    assert there.version, "the bucket keeps versions"
    assert replace(there, version="") == memory.stored("results/x") == expected
    cloud.ports.objects.write("unsummed", body, content_type="x")
    unsummed = cloud.ports.objects.stored("unsummed")
    assert unsummed is not None
    assert unsummed.size == len(body)


def test_a_fake_bucket_refuses_any_other_bytes() -> None:
    """As S3 does: the checksum is signed, and S3 computes it again. moto computes nothing, see below."""
    objects = MemoryObjects()
    url, headers = promised(objects, b"result")
    with pytest.raises(ValueError, match="BadDigest"):
        objects.put(url, headers, b"forged")
    assert objects.size("results/x") is None


# What the simulator does as AWS documents it, and moto does not ------------------------------------------


@pytest.mark.parametrize("shape", [lambda: simulated()[1], FakeEc2])
def test_a_fake_starts_one_instance_for_one_token(shape: Callable[[], Compute]) -> None:
    ec2 = shape()
    order = FleetOrder(launch_id="launch-1", instance_types=("g4dn.xlarge",))
    assert ec2.launch(order).instance_id == ec2.launch(order).instance_id


def test_a_repeated_token_tells_of_the_first_instance_even_when_that_is_gone() -> None:
    loop, ec2 = simulated()
    order = FleetOrder(launch_id="launch-1", instance_types=("g4dn.xlarge",))
    first = ec2.launch(order).instance_id
    ec2.terminate(first)
    loop.run(HOUR / 2)
    again = ec2.launch(order)
    assert (again.instance_id, again.gone) == (first, True)


def test_the_simulators_describe_lags_and_forgets_after_an_hour() -> None:
    loop, ec2 = simulated()
    instance_id = ec2.launch(FleetOrder(launch_id="launch-1", instance_types=("g4dn.xlarge",))).instance_id
    assert ec2.instance(instance_id) is None
    loop.run(CALM.describe_lag_s)
    assert ec2.instance(instance_id) is not None
    ec2.terminate(instance_id)
    loop.run(HOUR)
    assert ec2.instance(instance_id) is not None
    loop.run(2 * HOUR)
    assert ec2.instance(instance_id) is None
    assert ec2.instances() == []


def test_moto_ignores_tokens_shows_at_once_has_every_capacity_and_says_utc(whole_cloud: Cloud) -> None:
    """`User initiated (2026-11-02 10:11:12 UTC)`: EC2 says GMT, which test_messages.py reads.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Instance.html
    """
    compute = whole_cloud.ports.compute
    order = FleetOrder(launch_id="launch-1", instance_types=("p5.48xlarge",))  # a new account's quota is 0
    first, second = compute.launch(order), compute.launch(order)
    assert first.instance_id != second.instance_id
    assert {i.instance_id for i in compute.instances()} == {first.instance_id, second.instance_id}
    compute.terminate(first.instance_id)
    ended = compute.instance(first.instance_id)
    assert ended is not None
    assert (ended.gone, ended.ended_at) == (True, None)


def test_moto_takes_any_bytes_for_a_signed_checksum(cloud: Cloud) -> None:
    objects = cloud.ports.objects
    url, headers = promised(objects, b"result")
    for body in (b"forged", b"of another length"):
        send(objects, url, {**headers, "content-length": str(len(body))}, body)
        assert objects.read("results/x") == body


def test_moto_keeps_rows_past_their_time(cloud: Cloud) -> None:
    table = cloud.session.resource("dynamodb").Table(cloud.settings.events_table)
    table.put_item(Item={"pk": "job#1", "sk": "1", "ttl": int(datetime(2020, 1, 1, tzinfo=UTC).timestamp())})
    assert table.scan()["Count"] == 1
