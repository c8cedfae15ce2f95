"""The watchdog rings at runner_api's door; everything but a plain "yes" means that it is ill."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError
from botocore.response import StreamingBody
from botocore.stub import Stubber

from arcspot.aws.messages import DoorBell
from tests.fakes import house

from .conftest import Cloud, session


@pytest.fixture
def bell() -> Iterator[tuple[DoorBell, Stubber]]:
    client = session().client("lambda")
    with Stubber(client) as stub:
        yield DoorBell(client, "arcspot-test"), stub
        stub.assert_no_pending_responses()


def said(answer: Any, **more: Any) -> dict[str, Any]:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return {"StatusCode": 200, "Payload": StreamingBody(io.BytesIO(body), len(body)), **more}


def test_a_door_that_answers_is_well(bell: Any) -> None:
    ring, stub = bell
    expected = {"FunctionName": "arcspot-test-runner_api", "Payload": b'{"verb": "ping"}'}
    stub.add_response("invoke", said({"ok": True, "result": {}}), expected)
    assert ring() is True


@pytest.mark.parametrize(
    "answer",
    [
        said({"errorMessage": "no tables", "errorType": "ClientError"}, FunctionError="Unhandled"),
        said({"ok": False, "error": "BadRequest"}),
        said({}),
        said(None),
        said(b"not json"),
        said(b""),
    ],
    ids=["it raised", "it refused", "it said nothing", "it said null", "it stammered", "it was mute"],
)
def test_a_door_that_says_anything_but_yes_is_ill(bell: Any, answer: dict[str, Any]) -> None:
    ring, stub = bell
    stub.add_response("invoke", answer)
    assert ring() is False


@pytest.mark.parametrize(
    "code", ["TooManyRequestsException", "ResourceNotFoundException", "ServiceException"]
)
def test_a_door_that_lambda_does_not_open_is_ill(bell: Any, code: str) -> None:
    ring, stub = bell
    stub.add_client_error("invoke", code)
    assert ring() is False


def test_a_door_that_never_answers_is_ill() -> None:
    class Mute:
        def invoke(self, **_: Any) -> Any:
            raise ReadTimeoutError(endpoint_url="https://lambda")

    client: Any = Mute()
    assert DoorBell(client, "arcspot-test")() is False


def test_ringing_takes_far_less_than_the_watchdogs_minute(cloud: Cloud) -> None:
    """A door that hangs is found ill, and the watchdog still does its round."""
    bell: Any = cloud.ports.bell
    config = bell._client.meta.config
    attempts = config.retries["total_max_attempts"]
    longest = attempts * (config.connect_timeout + config.read_timeout)
    assert longest <= house.template()["Globals"]["Function"]["Timeout"] / 3


def test_the_real_door_knows_the_bell(whole_cloud: Cloud) -> None:
    class Context:
        function_name = memory_limit_in_mb = invoked_function_arn = aws_request_id = "x"

    assert house.handler_module("runner_api").handler({"verb": "ping"}, Context())["ok"] is True
