"""How many invocations a heap of files takes: 400 dropped at once, on the local stack.

The emulator hands over at most ten messages at a time and knows no batching window, so its figure is
the dear one. AWS gathers up to `BatchSize` messages for up to `MaximumBatchingWindowInSeconds`:
https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3

from arcspot_cli.local import stack as local

FILES = 400
AT_ONCE = 32
BATCH = "heap"
PATIENCE_SECONDS = 300.0
Say = Callable[[str], None]


def ingest(project: Path, say: Say) -> dict[str, Any]:
    """Invocations of the ingest function for the heap, and the jobs that came of it.

    No instance may start: what is measured is the way from the bucket to the table.
    """
    with tempfile.TemporaryDirectory(prefix="arcspot-bench-") as folder:
        home = Path(folder)
        options = local.LocalOptions(project_dir=project, home=home, parameters={"MaxInstances": "0"})
        try:
            seen = Seen(local.up(options, report=say))
            began = time.perf_counter()
            with ThreadPoolExecutor(AT_ONCE) as pool:
                list(pool.map(seen.drop, range(FILES)))
            dropped = time.perf_counter()
            say(f"{FILES} files dropped in {dropped - began:.1f} s")
            keys = seen.wait_for_jobs()
            done = time.perf_counter()
            seen.wait_until_idle()
            handled = seen.handled()
        finally:
            local.down(project, home=home, report=say)
    return {
        "files": FILES,
        "jobs": sum(keys.values()),
        "jobs_twice": sum(count - 1 for count in keys.values()),
        "invocations": len(set(handled)),
        "largest_batch": max(Counter(handled).values(), default=0),
        "handled": len(handled),
        "drop_s": round(dropped - began, 1),
        "last_job_s": round(done - began, 1),
    }


class Seen:
    """The stack through AWS's own APIs."""

    def __init__(self, stack: local.LocalStack) -> None:
        self._stack = stack
        environment = stack.environment()
        self._session = boto3.Session(
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
            region_name=stack.region,
        )
        told = self._client("cloudformation").describe_stacks(StackName=stack.stack_name)["Stacks"][0]
        self._outputs = {each["OutputKey"]: each["OutputValue"] for each in told["Outputs"]}
        self._s3 = self._client("s3")
        self._queues = [url for url in self._client("sqs").list_queues()["QueueUrls"] if "Ingest" in url]

    def _client(self, service: str) -> Any:
        return self._session.client(service, endpoint_url=self._stack.endpoint_url)  # type: ignore[call-overload]

    def drop(self, number: int) -> None:
        """One small task that no other file holds."""
        cells = [[(number // 10**place) % 10 for place in range(3)]]
        task = {"train": [{"input": cells, "output": cells}], "test": [{"input": cells}]}
        self._s3.put_object(
            Bucket=self._outputs["BucketName"],
            Key=f"tasks/{BATCH}/{number:04}.json",
            Body=json.dumps(task).encode(),
        )

    def wait_for_jobs(self) -> Counter[str]:
        """Object key → jobs made of it, once every file has one."""
        until = time.monotonic() + PATIENCE_SECONDS
        while len(found := self._jobs()) < FILES and time.monotonic() < until:
            time.sleep(1)
        return found

    def _jobs(self) -> Counter[str]:
        pages = (
            self._client("dynamodb")
            .get_paginator("scan")
            .paginate(TableName=self._outputs["JobsTable"], ConsistentRead=True)
        )
        rows = [row for page in pages for row in page["Items"] if "job_id" in row]
        return Counter(row["input"]["M"]["key"]["S"] for row in rows)

    def wait_until_idle(self) -> None:
        """Until no message is left or in flight: the last invocation is over and counted."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        sqs, until = self._client("sqs"), time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < until:
            each = [sqs.get_queue_attributes(QueueUrl=q, AttributeNames=names) for q in self._queues]
            if not any(int(count) for one in each for count in one["Attributes"].values()):
                return
            time.sleep(0.5)

    def handled(self) -> list[str]:
        """The request id of the invocation that handled a file, once for each time a file was handled.

        From the function's own log lines: CloudWatch counts no invocations by a queue on the emulator.
        """
        logs = self._client("logs").get_paginator("filter_log_events")
        pages = logs.paginate(logGroupName=f"/arcspot/{self._stack.stack_name}")
        lines = [event["message"] for page in pages for event in page["events"]]
        told = [json.loads(line) for line in lines if line.startswith("{") and '"ingested"' in line]
        return [each["function_request_id"] for each in told if each["message"] == "ingested"]
