"""Callbacks, mail, kicks and STS: what is sent, and what each answer is taken to mean."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError, ReadTimeoutError
from botocore.stub import Stubber

from arcspot.aws.compute import Ec2
from arcspot.aws.messages import AsyncInvoke, StepFunctions, StsWitness
from arcspot.domain.identity import Caller
from arcspot.errors import (
    LaunchMisconfigured,
    LaunchThrottled,
    LaunchUnknown,
    NotYourself,
    QuotaExceeded,
    StoreBusy,
)
from arcspot.ports import FleetOrder
from gpu_runner.identity import proof
from tests.fakes.memory import START

from .conftest import Cloud, session

ARN = "arn:aws:states:us-east-1:123456789012:stateMachine:x"
ORDER = FleetOrder(launch_id="launch-1", instance_types=("g4dn.xlarge", "g4dn.2xlarge"))
CALLER = """<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>
<Arn>arn:aws:{}</Arn><UserId>{}</UserId><Account>{}</Account></GetCallerIdentityResult>
</GetCallerIdentityResponse>"""


@dataclass
class PlayedSts:
    """An STS of our own: says what it is told to say, and remembers what it was asked."""

    status: int = 200
    caller: str = "sts::123456789012:assumed-role/runner-role/i-0123456789abcdef0"
    user_id: str = "AROARUNNER:i-0123456789abcdef0"
    account: str = "123456789012"
    endpoint: str = ""
    body: bytes | None = None
    location: str = ""
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)


@pytest.fixture
def sts() -> Iterator[PlayedSts]:
    played = PlayedSts()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            played.asked.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
            body = CALLER.format(played.caller, played.user_id, played.account).encode()
            body = body if played.body is None else played.body
            self.send_response(played.status)
            if played.location:
                self.send_header("location", played.location)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    played.endpoint = f"http://127.0.0.1:{server.server_port}"
    yield played
    server.shutdown()
    thread.join()
    server.server_close()


def signed(sts: PlayedSts, launch_id: str = "launch-1") -> dict[str, Any]:
    """The proof as a runner itself makes it."""
    return proof(
        launch_id,
        credentials=Credentials("AKIDEXAMPLE", "secret", "session-token"),
        region="us-east-1",
        endpoint=sts.endpoint,
    )


def test_the_runners_own_proof_tells_role_and_instance(sts: PlayedSts) -> None:
    made = signed(sts)
    found = StsWitness(sts.endpoint).caller(made["url"], made["headers"])
    assert found == Caller("123456789012", "runner-role", "AROARUNNER", "i-0123456789abcdef0")
    ((path, headers),) = sts.asked
    assert "Action=GetCallerIdentity" in path
    assert "x-arcspot-launch" in path, "the launch id is among the signed headers"
    assert headers["x-arcspot-launch"] == "launch-1"


@pytest.mark.parametrize(
    "caller",
    [
        "iam::123456789012:user/somebody",
        "sts::123456789012:federated-user/somebody",
        "sts::123456789012:assumed-role/runner-role/",
        "iam::123456789012:root",
    ],
)
def test_who_is_no_assumed_role_is_nobody(sts: PlayedSts, caller: str) -> None:
    sts.caller = caller
    made = signed(sts)
    with pytest.raises(NotYourself, match="assumed role"):
        StsWitness(sts.endpoint).caller(made["url"], made["headers"])


@pytest.mark.parametrize(
    ("user_id", "account"),
    [
        ("AROARUNNER:i-another", "123456789012"),
        ("AROARUNNER:i-0123456789abcdef0", "210987654321"),
        ("AIDAUSER", "123456789012"),
        ("", "123456789012"),
        ("AROARUNNER:i-0123456789abcdef0", ""),
    ],
)
def test_all_of_stss_answer_must_tell_of_one_caller(sts: PlayedSts, user_id: str, account: str) -> None:
    sts.user_id, sts.account = user_id, account
    made = signed(sts)
    with pytest.raises(NotYourself):
        StsWitness(sts.endpoint).caller(made["url"], made["headers"])


def test_an_expired_or_forged_proof_is_refused_with_stss_own_words(sts: PlayedSts) -> None:
    sts.status = 403
    made = signed(sts)
    with pytest.raises(NotYourself, match="403"):
        StsWitness(sts.endpoint).caller(made["url"], made["headers"])


@pytest.mark.parametrize(
    "change",
    [
        lambda url: url.replace("http://", "http://evil@"),
        lambda url: url.replace("GetCallerIdentity", "AssumeRole"),
        lambda url: url.replace("/?Action", "/elsewhere?Action"),
        lambda url: url.replace("x-arcspot-launch", "x-other"),
        lambda url: url + "&Action=AssumeRole",
        lambda url: "file:///etc/hostname?Action=GetCallerIdentity",
        lambda url: "not a url",
        lambda url: "http://[::1",
        lambda url: url + "&X-Amz-SignedHeaders=host",
        lambda url: url + "&x= HTTP/1.1",
        lambda url: url.replace("Action=", "Action=&Action=", 1),
        lambda url: url.replace("Action=GetCallerIdentity", "action=GetCallerIdentity"),
        lambda url: url.replace("X-Amz-SignedHeaders", "x-amz-signedheaders"),
        lambda url: url.replace("host%3Bx-arcspot-launch", "host%3Bx-arcspot-launch%3Bx-more"),
        lambda url: url.replace("host%3Bx-arcspot-launch", "x-arcspot-launch"),
        lambda url: url.replace("X-Amz-Expires=60", "X-Amz-Expires=900"),
        lambda url: url.replace("X-Amz-Expires=60", "X-Amz-Expires=60.0"),
        lambda url: url.replace("X-Amz-Expires=60", "X-Amz-Expires="),
        lambda url: re.sub("&X-Amz-Expires=60", "", url),
        lambda url: re.sub("X-Amz-Date=[^&]*", "X-Amz-Date=20261399T000000Z", url),
        lambda url: re.sub("&X-Amz-Signature=[^&]*", "", url),
        lambda url: url.replace("%2Fsts%2F", "%2Fiam%2F"),
        lambda url: url.replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
        lambda url: url + "&RoleArn=arn",
        lambda url: url + "#fragment",
        lambda url: url + "\n",
        lambda url: " " + url,
        lambda url: url.replace("http://", "HTTP://"),
        lambda url: url.replace("/?", "/%2e/?"),
        lambda url: url.replace("/?", "//?"),
        lambda url: url.replace("127.0.0.1:", "127.0.0.1:0"),
        lambda url: url.replace("Action=", "%41ction="),
        lambda url: url.replace("&Version", ";Version"),
        lambda url: url.replace("2011-06-15", "2011+06-15"),
    ],
)
def test_nothing_is_asked_of_anybody_for_another_kind_of_url(sts: PlayedSts, change: Any) -> None:
    made = signed(sts)
    with pytest.raises(NotYourself):
        StsWitness(sts.endpoint).caller(change(made["url"]), made["headers"])
    assert sts.asked == []


def test_a_header_with_a_line_break_is_refused(sts: PlayedSts) -> None:
    made = signed(sts)
    with pytest.raises(NotYourself):
        StsWitness(sts.endpoint).caller(made["url"], {**made["headers"], "x-more": "a\r\nb: c"})
    assert sts.asked == []


@pytest.mark.parametrize(
    "more",
    [
        # Signed for another instance's own call, which signs no launch: STS would believe this one instead.
        {"authorization": "AWS4-HMAC-SHA256 Credential=AK/20261123/us-east-1/sts/aws4_request, "
                          "SignedHeaders=host;x-amz-date, Signature=00", "x-amz-date": "20261123T120000Z"},
        {"host": "evil.example"},
        {"x-amz-security-token": "another"},
        {"X-Arcspot-Launch": "launch-2"},
        {"": ""},
    ],
)  # fmt: skip
def test_no_header_but_the_launchs_own_goes_to_sts(sts: PlayedSts, more: dict[str, str]) -> None:
    made = signed(sts)
    with pytest.raises(NotYourself):
        StsWitness(sts.endpoint).caller(made["url"], {**made["headers"], **more})
    with pytest.raises(NotYourself):
        StsWitness(sts.endpoint).caller(made["url"], more)
    assert sts.asked == []


def test_what_is_sent_to_sts_is_what_was_signed_and_no_more(sts: PlayedSts) -> None:
    made = signed(sts)
    before = datetime.now(UTC)
    found = StsWitness(sts.endpoint).caller(made["url"], made["headers"])
    ((path, headers),) = sts.asked
    assert path == "/?" + made["url"].partition("?")[2]
    assert {name for name in headers if name.startswith(("x-", "auth"))} == {"x-arcspot-launch"}
    assert found.signed_at is not None
    assert abs((before - found.signed_at).total_seconds()) < 5


@pytest.mark.parametrize("status", [500, 503, 429])
def test_an_sts_that_is_ill_makes_nobody_a_liar(sts: PlayedSts, status: int) -> None:
    sts.status = status
    made = signed(sts)
    with pytest.raises(StoreBusy):
        StsWitness(sts.endpoint).caller(made["url"], made["headers"])


def test_an_sts_that_is_not_there_makes_nobody_a_liar(sts: PlayedSts) -> None:
    made = proof(
        "launch-1",
        credentials=Credentials("AK", "s", "t"),
        region="us-east-1",
        endpoint="http://127.0.0.1:1",
    )
    with pytest.raises(StoreBusy):
        StsWitness("http://127.0.0.1:1").caller(made["url"], made["headers"])


def test_an_answer_that_sends_us_elsewhere_is_followed_nowhere(sts: PlayedSts) -> None:
    sts.status, sts.location = 302, f"{sts.endpoint}/elsewhere"
    made = signed(sts)
    with pytest.raises(NotYourself, match="302"):
        StsWitness(sts.endpoint).caller(made["url"], made["headers"])
    assert len(sts.asked) == 1


@pytest.mark.parametrize(
    "odd",
    [
        b"", b"\xff\xfe\x00", b"{}", b"<Arn>" * 100_000,
        # Two callers in one answer, whatever separates them: a comment, a second result, plain text.
        b"<!-- " + CALLER.format("sts::1:assumed-role/a/b", "AROAX:b", "1").encode() + b" -->" + b"%s",
        b"%s%s", b"%s<Arn>arn:aws:sts::210987654321:assumed-role/runner-role/i-2</Arn>",
        b"x" * 20_000 + b"%s",
    ],
)  # fmt: skip
def test_an_odd_answer_of_sts_makes_nobody_anybody(sts: PlayedSts, odd: bytes) -> None:
    good = CALLER.format(sts.caller, sts.user_id, sts.account).encode()
    sts.body = odd.replace(b"%s", good)
    made = signed(sts)
    with pytest.raises(NotYourself) as refused:
        StsWitness(sts.endpoint).caller(made["url"], made["headers"])
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize("gone", ["TaskTimedOut", "TaskDoesNotExist", "InvalidToken"])
def test_a_callback_nobody_waits_for_is_no_error(gone: str) -> None:
    client = session().client("stepfunctions")
    workflow = StepFunctions(client, ARN)
    with Stubber(client) as stub:
        for call in ("send_task_success", "send_task_failure", "send_task_heartbeat"):
            stub.add_client_error(call, gone)
        workflow.succeed("token", {"reason": "idle"})
        workflow.fail("token", "RunnerInterrupted", "i-1: interrupted")
        workflow.beat("token")
        stub.assert_no_pending_responses()


def test_an_execution_is_named_after_its_launch_and_gets_its_input() -> None:
    client = session().client("stepfunctions")
    expected = {"stateMachineArn": ARN, "name": "launch-1", "input": json.dumps({"launch_id": "launch-1"})}
    with Stubber(client) as stub:
        answer = {"executionArn": f"{ARN}:launch-1", "startDate": datetime(2026, 11, 1, tzinfo=UTC)}
        stub.add_response("start_execution", answer, expected)
        StepFunctions(client, ARN).start("launch-1", {"launch_id": "launch-1"})
        stub.add_client_error("start_execution", "StateMachineDeleting")
        with pytest.raises(ClientError):
            StepFunctions(client, ARN).start("launch-1", {})


def test_mail_reaches_the_topics_subscribers_with_a_subject_sns_takes(cloud: Cloud) -> None:
    sqs, sns = cloud.client("sqs"), cloud.client("sns")
    queue = sqs.create_queue(QueueName="mailbox")["QueueUrl"]
    sns.subscribe(
        TopicArn=cloud.settings.topic_arn,
        Protocol="sqs",
        Endpoint="arn:aws:sqs:us-east-1:123456789012:mailbox",
    )
    cloud.ports.mail.send(f"batch é:\n{'x' * 200}", "the bödy")
    (message,) = sqs.receive_message(QueueUrl=queue)["Messages"]
    mail = json.loads(message["Body"])
    assert mail["Message"] == "the bödy"
    assert mail["Subject"].startswith("batch ?: xxx")
    assert len(mail["Subject"]) == 99


def test_a_lost_kick_is_no_error(cloud: Cloud) -> None:
    cloud.ports.kick("scale")  # there is no such function here
    client = session().client("lambda")
    with Stubber(client) as stub:
        expected = {
            "FunctionName": "arcspot-test-scale",
            "InvocationType": "Event",
            "Payload": b'{"kicked": true}',
        }
        stub.add_response("invoke", {"StatusCode": 202}, expected)
        AsyncInvoke(client, "arcspot-test")("scale")


def test_an_event_of_its_own_arrives_or_is_an_error(cloud: Cloud) -> None:
    event = {"submit_again": {"name": "nightly"}}
    with pytest.raises(ClientError):
        cloud.ports.kick("ingest", event)
    client = session().client("lambda")
    with Stubber(client) as stub:
        payload = json.dumps(event).encode()
        expected = {"FunctionName": "arcspot-test-ingest", "InvocationType": "Event", "Payload": payload}
        stub.add_response("invoke", {"StatusCode": 202}, expected)
        AsyncInvoke(client, "arcspot-test")("ingest", event)


class FailingEc2:
    """A client whose every call fails in one way."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        def fail(**_: Any) -> Any:
            raise self._error

        return fail


def ec2_that_fails(error: Exception) -> Ec2:
    client: Any = FailingEc2(error)
    return Ec2(client, stack="s", template_id="lt-1", subnet_ids=())


def refused(code: str, operation: str = "CreateFleet") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "EC2's words"}}, operation)


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (refused("RequestLimitExceeded"), LaunchThrottled),
        (refused("MaxSpotInstanceCountExceeded"), QuotaExceeded),
        (refused("UnauthorizedOperation"), LaunchMisconfigured),
        (refused("InternalError"), LaunchUnknown),
        (ReadTimeoutError(endpoint_url="https://ec2"), LaunchUnknown),
    ],
)
def test_each_way_a_launch_can_fail_is_one_of_our_errors(error: Exception, ours: type[Exception]) -> None:
    with pytest.raises(ours, match="EC2"):
        ec2_that_fails(error).launch(ORDER)


def test_a_price_nobody_tells_is_unknown_and_a_console_nobody_has_is_empty() -> None:
    ec2 = ec2_that_fails(refused("AuthFailure", "x"))
    assert ec2.spot_price("g4dn.xlarge", "us-east-1a", since=START, until=START) is None
    assert ec2.console("i-1") == ""


def test_an_instance_nobody_knows_is_absent_and_ending_it_is_no_error() -> None:
    ec2 = ec2_that_fails(refused("InvalidInstanceID.NotFound", "x"))
    assert ec2.instance("i-1") is None
    ec2.terminate("i-1")
    broken = ec2_that_fails(refused("InternalError", "x"))
    with pytest.raises(ClientError):
        broken.terminate("i-1")
    with pytest.raises(ClientError):
        broken.instance("i-1")


def test_the_moment_of_termination_is_read_from_ec2s_sentence() -> None:
    shown = {
        "InstanceId": "i-1",
        "State": {"Name": "terminated"},
        "InstanceType": "g4dn.xlarge",
        "Placement": {"AvailabilityZone": "us-east-1a"},
        "InstanceLifecycle": "spot",
        "LaunchTime": datetime(2026, 11, 2, 9, 0, tzinfo=UTC),
        "StateTransitionReason": "User initiated (2026-11-02 10:11:12 GMT)",
        "Tags": [{"Key": "arcspot:stack", "Value": "s"}, {"Key": "arcspot:launch", "Value": "launch-1"}],
    }
    client: Any = SimpleNamespace(describe_instances=lambda **_: {"Reservations": [{"Instances": [shown]}]})
    instance = Ec2(client, stack="s", template_id="lt-1", subnet_ids=()).instance("i-1")
    assert instance is not None
    assert instance.ended_at == datetime(2026, 11, 2, 10, 11, 12, tzinfo=UTC)
    assert (instance.market, instance.launch_id, instance.zone) == ("spot", "launch-1", "us-east-1a")


def test_a_fleet_really_starts_one_tagged_instance_under_moto(whole_cloud: Cloud) -> None:
    instance = whole_cloud.ports.compute.launch(ORDER)
    assert [i.instance_id for i in whole_cloud.ports.compute.instances()] == [instance.instance_id]
    assert (instance.launch_id, instance.alive) == ("launch-1", True)
