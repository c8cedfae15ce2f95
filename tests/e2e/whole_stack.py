"""The running stack as a user sees it: a bucket, tables, EC2, executions; and patience."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import boto3

from arcspot.aws.codec import decode
from arcspot.domain.batches import Receipt
from arcspot.domain.budget import Fleet, Ledger
from arcspot.domain.jobs import Job
from arcspot.domain.launching import Launch, Token
from arcspot_cli.local import stack as local_stack
from arcspot_cli.local.stack import LocalStack

T = TypeVar("T")
PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeStack:
    """Everything a test looks at, through AWS's own APIs."""

    local: LocalStack
    home: Path
    session: boto3.Session
    outputs: Mapping[str, str]
    """The template's outputs."""

    @classmethod
    def connect(cls, local: LocalStack, home: Path) -> WholeStack:
        environment = local.environment()
        session = boto3.Session(
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
            region_name=local.region,
        )
        told = session.client("cloudformation", endpoint_url=local.endpoint_url).describe_stacks(
            StackName=local.stack_name
        )
        outputs = {o["OutputKey"]: o["OutputValue"] for o in told["Stacks"][0]["Outputs"]}
        return cls(local=local, home=home, session=session, outputs=outputs)

    def client(self, service: str) -> Any:
        return self.session.client(service, endpoint_url=self.local.endpoint_url)  # type: ignore[call-overload]

    # --- the bucket ---------------------------------------------------------------------------

    def drop(self, key: str, body: bytes) -> None:
        self.client("s3").put_object(Bucket=self.outputs["BucketName"], Key=key, Body=body)

    def keys(self, prefix: str) -> set[str]:
        pages = self.client("s3").get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=self.outputs["BucketName"], Prefix=prefix)
        return {item["Key"] for page in found for item in page.get("Contents", [])}

    def read(self, key: str) -> bytes:
        body: bytes = self.client("s3").get_object(Bucket=self.outputs["BucketName"], Key=key)["Body"].read()
        return body

    def document(self, key: str) -> Any:
        return json.loads(self.read(key))

    # --- the tables ---------------------------------------------------------------------------

    def jobs(self, batch_id: str) -> dict[str, Job]:
        """Job id → job, of those that a batch brought."""
        rows = self._rows("JobsTable")
        return {
            row["job_id"]: decode(Job, row)
            for row in rows
            if row.get("batch_id") == batch_id and "job_id" in row
        }

    def receipt(self, key: str) -> Receipt | None:
        """What became of a dropped file, once `ingest` has handled it."""
        rows = self._rows("JobsTable")
        return next((decode(Receipt, row) for row in rows if row["pk"] == f"FILE#{key}"), None)

    def launches(self) -> list[Launch]:
        return [decode(Launch, row) for row in self._rows("LaunchesTable")]

    def tokens(self) -> dict[str, Token]:
        """Launch id → the token its execution waits for, or waited for last."""
        rows = self._rows("LedgerTable")
        found = [decode(Token, row) for row in rows if row["pk"].startswith("TOKEN#")]
        return {token.launch_id: token for token in found}

    def ledgers(self) -> list[Ledger]:
        """One for each month the test has run in."""
        rows = self._rows("LedgerTable")
        return [decode(Ledger, row) for row in rows if row["pk"].startswith("PERIOD#")]

    def fleet(self) -> Fleet:
        return next(decode(Fleet, row) for row in self._rows("LedgerTable") if row["pk"] == "FLEET")

    def events(self, subject: str) -> list[str]:
        """What happened to a subject, oldest first."""
        rows = [row for row in self._rows("EventsTable") if row["pk"] == subject]
        return [row["kind"] for row in sorted(rows, key=lambda row: str(row["sk"]))]

    def _rows(self, table: str) -> list[dict[str, Any]]:
        resource = self.session.resource("dynamodb", endpoint_url=self.local.endpoint_url)
        rows: list[dict[str, Any]] = list(
            resource.Table(self.outputs[table]).scan(ConsistentRead=True)["Items"]
        )
        return rows

    # --- instances and executions ---------------------------------------------------------------

    def instance_states(self) -> dict[str, str]:
        """Instance id → state, of every instance EC2 still tells of."""
        found = self.client("ec2").describe_instances()["Reservations"]
        return {i["InstanceId"]: i["State"]["Name"] for each in found for i in each["Instances"]}

    def schedules(self) -> set[str]:
        """Names of the schedules in the stack's own group."""
        found = self.client("scheduler").list_schedules(GroupName=self.local.stack_name)["Schedules"]
        return {schedule["Name"] for schedule in found}

    def local_instances(self) -> list[str]:
        """The instances whose processes the host runs."""
        return [str(told["instance_id"]) for told in local_stack.status(PROJECT, self.home).instances]

    def execution_arn(self, launch_id: str) -> str:
        return self.outputs["StateMachineArn"].replace(":stateMachine:", ":execution:") + f":{launch_id}"

    def execution(self, launch_id: str) -> str:
        """The status of a launch's execution."""
        arn = self.execution_arn(launch_id)
        status: str = self.client("stepfunctions").describe_execution(executionArn=arn)["status"]
        return status

    def entered(self, launch_id: str) -> str:
        """The state a launch's execution entered last."""
        return next((name for kind, name in reversed(self._history(launch_id)) if kind == "entered"), "")

    def failed_states(self, launch_id: str) -> list[str]:
        """The states in which a task failed, oldest first, whatever came of it."""
        return [name for kind, name in self._history(launch_id) if kind == "failed"]

    def _history(self, launch_id: str) -> list[tuple[str, str]]:
        """(entered or failed, state) of an execution, oldest first."""
        client, arn = self.client("stepfunctions"), self.execution_arn(launch_id)
        told: list[tuple[str, str]] = []
        for page in client.get_paginator("get_execution_history").paginate(executionArn=arn):
            for event in page["events"]:
                if event["type"] == "TaskStateEntered":
                    told.append(("entered", event["stateEnteredEventDetails"]["name"]))
                elif event["type"] == "TaskFailed":
                    told.append(("failed", told[-1][1]))
        return told


def eventually(what: str, look: Callable[[], T | None], *, seconds: float = 420.0, every: float = 1.0) -> T:
    """What `look` finds, once it finds something; fails with words. The deadline only ends a hang."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(every)
    raise AssertionError(f"gave up after {seconds:.0f} s waiting until {what}")


def hex_sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
