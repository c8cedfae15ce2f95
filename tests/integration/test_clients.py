"""A function makes the clients it asks something of, and no others: each costs a cold start its time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest

from arcspot.aws import compose
from tests.fakes.driving import GOOD_TASK

from .conftest import Cloud, session
from .test_handlers import call, dropped


class Counting:
    """A session that notes which clients it makes."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.region_name = session().region_name

    def client(self, service: str, **more: Any) -> Any:
        self.made.append(service)
        return session().client(service, **more)


@pytest.fixture
def counting(whole_cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counting]:
    """A process that begins: no client is there yet."""
    counted = Counting()
    monkeypatch.setattr(boto3, "Session", lambda: counted)
    compose.from_environment.cache_clear()
    yield counted
    compose.from_environment.cache_clear()


def a_file(cloud: Cloud) -> dict[str, Any]:
    return {"Records": [dropped(cloud, "tasks/b/good.json", json.dumps(GOOD_TASK).encode())]}


def hello(cloud: Cloud) -> dict[str, Any]:
    return {"verb": "heartbeat", "launch_id": "nobody", "secret": "x", "leases": []}


COMMON: list[tuple[str, Callable[[Cloud], dict[str, Any]], set[str]]] = [
    ("ingest", a_file, {"dynamodb", "s3", "lambda"}),
    ("ingest", lambda cloud: {"sweep": True}, {"dynamodb", "s3"}),
    ("scale", lambda cloud: {"clock": "minute"}, {"dynamodb"}),
    ("report", lambda cloud: {"clock": "minute"}, {"dynamodb"}),
    ("watchdog", lambda cloud: {"clock": "slow"}, {"dynamodb", "ec2"}),
    ("runner_api", hello, {"dynamodb"}),
    ("runner_api", lambda cloud: {"verb": "ping"}, {"dynamodb"}),
]


@pytest.mark.parametrize(("function", "event", "clients"), COMMON)
def test_what_a_function_usually_does_needs_few_clients(
    whole_cloud: Cloud,
    counting: Counting,
    function: str,
    event: Callable[[Cloud], dict[str, Any]],
    clients: set[str],
) -> None:
    asked = event(whole_cloud)
    if function == "watchdog":  # its first round of a day asks for prices, and puts a new stack to sleep
        call(function, asked)
        counting.made.clear()
        compose.from_environment.cache_clear()
    call(function, asked)
    assert set(counting.made) <= clients
    assert len(counting.made) == len(set(counting.made)), "each is made once"


def test_building_the_ports_makes_no_client(cloud: Cloud) -> None:
    counted = Counting()
    ports = compose.build(cloud.settings, counted)  # type: ignore[arg-type]
    assert counted.made == []
    ports.store.fleet()
    ports.store.breaker()
    assert counted.made == ["dynamodb"]
    ports.kick("scale")
    assert counted.made == ["dynamodb", "lambda"]


def test_threads_that_ask_at_once_share_one_client(cloud: Cloud) -> None:
    counted = Counting()
    ports = compose.build(cloud.settings, counted)  # type: ignore[arg-type]
    keys = [f"tasks/b/{n}.json" for n in range(40)]
    for key in keys:
        cloud.ports.objects.write(key, b"x", content_type="")
    assert len(ports.objects.read_many([(key, None) for key in keys])) == 40
    assert counted.made == ["s3"]
