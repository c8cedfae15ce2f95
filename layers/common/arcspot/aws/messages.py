"""Step Functions, SNS, asynchronous invocations, and STS as a witness."""

from __future__ import annotations

import http.client
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from arcspot.domain import documents, edges
from arcspot.domain.identity import Caller
from arcspot.errors import NotYourself

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_stepfunctions import SFNClient

# What SendTask* says when nobody waits for the token any more: the state timed out, or the execution ended.
_NOBODY_WAITS = ("TaskTimedOut", "TaskDoesNotExist", "InvalidToken")
# https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html: the unique id of an assumed
# role's session is the role's own id, a colon, and the session's name.
_SESSION = re.compile(r"<Arn>arn:[\w-]+:sts::(\d{12}):assumed-role/([^/<]+)/([^/<]+)</Arn>")
_USER_ID = re.compile(r"<UserId>(AROA\w+):([^<]+)</UserId>")
_ACCOUNT = re.compile(r"<Account>(\d{12})</Account>")


class StepFunctions:
    """`ports.Workflow` over one state machine."""

    def __init__(self, client: SFNClient, arn: str) -> None:
        self._client = client
        self._arn = arn

    def start(self, launch_id: str, input: Mapping[str, Any]) -> None:
        try:
            self._client.start_execution(
                stateMachineArn=self._arn, name=launch_id, input=json.dumps(dict(input))
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ExecutionAlreadyExists":
                raise

    def succeed(self, token: str, output: Mapping[str, Any]) -> None:
        self._send(lambda: self._client.send_task_success(taskToken=token, output=json.dumps(dict(output))))

    def fail(self, token: str, error: str, cause: str) -> None:
        self._send(lambda: self._client.send_task_failure(taskToken=token, error=error, cause=cause[:32_000]))

    def beat(self, token: str) -> None:
        self._send(lambda: self._client.send_task_heartbeat(taskToken=token))

    @staticmethod
    def _send(call: Callable[[], object]) -> None:
        try:
            call()
        except ClientError as error:
            if error.response["Error"]["Code"] not in _NOBODY_WAITS:
                raise


class Topic:
    """`ports.Mail` over an SNS topic with e-mail subscribers."""

    def __init__(self, client: SNSClient, arn: str) -> None:
        self._client = client
        self._arn = arn

    def send(self, subject: str, body: str) -> None:
        """As SNS takes it: a mail that is refused is a warning nobody gets."""
        self._client.publish(TopicArn=self._arn, Subject=edges.subject(subject), Message=edges.body(body))


class AsyncInvoke:
    """`ports.Kick`: invoke one of the stack's functions without waiting for it."""

    def __init__(self, client: LambdaClient, stack: str) -> None:
        self._client = client
        self._stack = stack

    def __call__(self, function: str, event: Mapping[str, Any] | None = None) -> None:
        payload = json.dumps(event).encode() if event else b'{"kicked": true}'
        try:
            self._client.invoke(
                FunctionName=f"{self._stack}-{function}", InvocationType="Event", Payload=payload
            )
        except (ClientError, BotoCoreError):
            if event:
                raise
            return  # the schedule looks within the minute anyway; a lost kick loses time only


class DoorBell:
    """`ports.Bell`: call runner_api as a runner would, and see whether it answers."""

    def __init__(self, client: LambdaClient, stack: str) -> None:
        self._client = client
        self._stack = stack

    def __call__(self) -> bool:
        try:
            answer = self._client.invoke(
                FunctionName=f"{self._stack}-runner_api", Payload=json.dumps({"verb": "ping"}).encode()
            )
            if answer.get("FunctionError"):
                return False
            said = documents.parsed(answer["Payload"].read())
            return isinstance(said, dict) and said.get("ok") is True
        except (ClientError, BotoCoreError, ValueError):
            return False


class StsWitness:
    """`ports.Identity`: ask STS itself who signed a GetCallerIdentity request.

    The request is sent nowhere but to this stack's own STS endpoint, whatever the URL says,
    so a caller cannot make us ask a server of theirs.
    """

    def __init__(self, endpoint: str, *, timeout_s: float = 5.0) -> None:
        self._endpoint = urllib.parse.urlsplit(endpoint)
        self._timeout_s = timeout_s

    def caller(self, url: str, headers: Mapping[str, str]) -> Caller:
        try:
            asked = urllib.parse.urlsplit(url)
            query = urllib.parse.parse_qs(asked.query)
        except ValueError as error:
            raise NotYourself(f"the proof is no URL: {error}") from error
        if (asked.scheme, asked.netloc) != (self._endpoint.scheme, self._endpoint.netloc):
            raise NotYourself(f"the proof is for {asked.netloc}, expected {self._endpoint.netloc}")
        if query.get("Action") != ["GetCallerIdentity"] or asked.path not in ("", "/"):
            raise NotYourself("the proof is not a GetCallerIdentity request")
        signed = query.get("X-Amz-SignedHeaders", [])
        if len(signed) != 1 or "x-arcspot-launch" not in signed[0].split(";"):
            raise NotYourself("the proof does not sign the launch id")
        request = urllib.request.Request(
            url, headers={k: v for k, v in headers.items() if k.lower() != "host"}
        )
        try:
            with urllib.request.urlopen(request, timeout=self._timeout_s) as answer:
                body = answer.read(65_536).decode()
        except (http.client.InvalidURL, ValueError) as error:
            raise NotYourself(f"the proof cannot be sent: {error}") from error
        except urllib.error.HTTPError as error:
            raise NotYourself(f"STS refuses the proof: {error.code} {error.read(500)!r}") from error
        return caller_in(body)


def caller_in(body: str) -> Caller:
    """Who STS says signed. Raises NotYourself unless all of its answer tells of one role's session."""
    arn, user, owner = (pattern.findall(body) for pattern in (_SESSION, _USER_ID, _ACCOUNT))
    if not (len(arn) == len(user) == len(owner) == 1):
        raise NotYourself("STS knows the caller, but not as an assumed role")
    ((account, role, session),), ((role_id, named),) = arn, user
    if (account, session) != (owner[0], named):
        raise NotYourself(f"STS tells of two callers: {account}/{session} and {owner[0]}/{named}")
    return Caller(account=account, role=role, role_id=role_id, session=session)
