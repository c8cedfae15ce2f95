"""A dropped file reaches its queue by S3 itself: the template's notification, policy and queue, over moto."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.fakes import house
from tests.fakes.cloudformation import Deployment, transformed
from tests.fakes.driving import GOOD_TASK

from .conftest import Cloud
from .test_handlers import call

ODD = "tasks/b/good é+ & 100%.json"


def messages(cloud: Cloud, queue: str) -> list[dict[str, Any]]:
    found = cloud.client("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])
    return [{"messageId": each["MessageId"], "body": each["Body"]} for each in found]


@pytest.fixture
def queue(whole_cloud: Cloud) -> str:
    """The queue of the template's notification, with the bucket telling it."""
    url = str(whole_cloud.client("sqs").create_queue(QueueName="ingest")["QueueUrl"])
    told = house.resources("AWS::S3::Bucket")["Bucket"]["NotificationConfiguration"]
    (wanted,) = told["QueueConfigurations"]
    rules = [{"Name": r["Name"], "Value": r["Value"]} for r in wanted["Filter"]["S3Key"]["Rules"]]
    whole_cloud.client("s3").put_bucket_notification_configuration(
        Bucket="bucket",
        NotificationConfiguration={
            "QueueConfigurations": [
                {
                    "QueueArn": "arn:aws:sqs:us-east-1:123456789012:ingest",
                    "Events": [wanted["Event"]],
                    "Filter": {"Key": {"FilterRules": rules}},
                }
            ]
        },
    )
    return url


def test_a_file_below_tasks_becomes_a_job_and_nothing_else_is_told(whole_cloud: Cloud, queue: str) -> None:
    first = messages(whole_cloud, queue)
    assert [json.loads(each["body"])["Event"] for each in first] == ["s3:TestEvent"]
    assert call("ingest", {"Records": first}) == {"batchItemFailures": []}
    s3 = whole_cloud.client("s3")
    for key in ("results/x/1/prediction.json", "logs/l/runner.log", "rejected/tasks/x.json"):
        s3.put_object(Bucket="bucket", Key=key, Body=b"{}")
    s3.put_object(Bucket="bucket", Key=ODD, Body=json.dumps(GOOD_TASK).encode())
    told = messages(whole_cloud, queue)
    assert len(told) == 1
    assert call("ingest", {"Records": told}) == {"batchItemFailures": []}
    (job,) = whole_cloud.ports.store.jobs_of_batch("b")
    assert job.input.key == ODD  # moto's notification names no version


def test_the_bucket_may_send_to_its_queue_before_it_is_told_to() -> None:
    """S3 tries the queue when it is given the notification: the policy comes first, and names no bucket."""
    resources = transformed()["Resources"]
    assert resources["Bucket"]["DependsOn"] in ("QueuePolicy", ["QueuePolicy"])
    (policy,) = Deployment().resources("AWS::SQS::QueuePolicy").values()
    (allowed,) = policy["PolicyDocument"]["Statement"]
    assert allowed["Principal"] == {"Service": "s3.amazonaws.com"}
    assert allowed["Action"] == "sqs:SendMessage"
    assert allowed["Condition"] == {
        "StringEquals": {"aws:SourceAccount": "123456789012"},
        "ArnLike": {"aws:SourceArn": "arn:aws:s3:*:*:*"},
    }
    assert policy["Queues"] == ["<IngestQueue>"]
    assert allowed["Resource"] == "<IngestQueue.Arn>"


def test_no_other_object_costs_an_event() -> None:
    """EventBridge would be told of every object, results and logs too, at a dollar a million."""
    told = house.resources("AWS::S3::Bucket")["Bucket"]["NotificationConfiguration"]
    assert set(told) == {"QueueConfigurations"}
    assert not any(
        "aws.s3" in json.dumps(rule["EventPattern"])
        for rule in house.resources("AWS::Events::Rule").values()
        if "EventPattern" in rule
    )
