"""The emulator itself behind its gate: everything works with the stack's key, and nothing without."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

from arcspot_cli.local import keys, sam
from arcspot_cli.local.ports import bound, number
from arcspot_cli.local.stack import HEALTH, _signed
from tests.unit.local.strangers import listening, loopback

TRUST = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
ROLE = {"Version": "2012-10-17", "Statement": [TRUST]}
HANDLER = b"""
import os
def handler(event, context):
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    return {name: os.environ[name] for name in names}
"""


@cache
def session(*key: str) -> Any:
    """One for each key: making its first client takes half a second."""
    return boto3.Session(*key, region_name="us-east-1")


@dataclass(frozen=True)
class Emulator:
    """A running one."""

    url: str
    key: keys.AccessKey
    folder: Path
    pid: int

    def client(self, service: str, *key: str, **config: Any) -> Any:
        own = (self.key.access_key_id, self.key.secret_access_key)
        return session(*(key or own)).client(service, endpoint_url=self.url, config=Config(**config))

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, bytes, str]:
        """Status, body and headers of a request as it is given: nobody signs it."""
        url = path if path.startswith("http") else self.url + path
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(url, body, named, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read(), str(answer.headers).lower()
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, refusal.read(), str(refusal.headers).lower()


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    folder, key = tmp_path_factory.mktemp("state"), keys.draw()
    keys.keep(folder, key)
    module = [sys.executable, "-m", "arcspot_cli.local.emulator", "--state-dir", str(folder)]
    with (folder / "log").open("wb") as log, bound(1) as (at,):
        url = f"http://127.0.0.1:{number(at)}"
        process = subprocess.Popen(
            [*module, "--socket", str(at.fileno())],
            env=sam.clean_environment(os.environ),
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=(at.fileno(),),
        )
    try:
        until = time.monotonic() + 60
        while True:
            try:
                _signed(url + HEALTH, key, timeout=2).close()
                break
            except OSError:
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < until
                time.sleep(0.05)
        yield Emulator(url, key, folder, process.pid)
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def function(emulator: Emulator) -> str:
    """A function of the stack; its code would like to leave its folder."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("app.py", HANDLER)
        archive.writestr("../../../../escaped", b"out")
        archive.writestr("/tmp/../escaped-too", b"out")
    role = emulator.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument=json.dumps(ROLE))["Role"]
    made = emulator.client("lambda").create_function(
        FunctionName="f", Runtime="python3.13", Handler="app.handler", Role=role["Arn"],
        Code={"ZipFile": packed.getvalue()},
    )  # fmt: skip
    arn: str = made["FunctionArn"]
    return arn


def test_a_page_cannot_make_a_function_nor_run_one(emulator: Emulator, function: str) -> None:
    """The attack as it was found: a simple request, for which no browser asks beforehand."""
    body = json.dumps(
        {"FunctionName": "evil", "Runtime": "python3.13", "Handler": "a.b", "Role": "r"}
    ).encode()
    page = {"Content_Type": "text/plain", "Origin": "https://evil.example"}
    for path in ("/2015-03-31/functions", "/2015-03-31/functions/f/invocations"):
        for headers in (
            page,
            {"Content_Type": "text/plain"},
            {"Content_Type": "text/plain", "Host": "evil:80"},
        ):
            status, told, said = emulator.ask("POST", path, body, **headers)
            assert status == 403, told
            assert "access-control" not in said
    named = {each["FunctionName"] for each in emulator.client("lambda").list_functions()["Functions"]}
    assert named == {"f"}


@pytest.mark.parametrize(
    ("service", "call", "codes"),
    [
        ("s3", "list_buckets", {"InvalidAccessKeyId", "SignatureDoesNotMatch"}),
        ("sts", "get_caller_identity", {"InvalidClientTokenId", "SignatureDoesNotMatch"}),
        ("dynamodb", "list_tables", {"UnrecognizedClientException", "InvalidSignatureException"}),
        ("ec2", "describe_vpcs", {"AuthFailure"}),
    ],
)
def test_another_key_is_refused_in_the_services_own_words(
    emulator: Emulator, service: str, call: str, codes: set[str]
) -> None:
    found = set()
    for key in (("test", "test"), ("000000000000", "test"), (emulator.key.access_key_id, "wrong")):
        with pytest.raises(ClientError) as refusal:
            getattr(emulator.client(service, *key), call)()
        error = refusal.value.response["Error"]
        assert 'eval "$(arcspot local env)"' in error["Message"]
        found.add(error["Code"])
    assert found == codes


@pytest.mark.parametrize(
    ("service", "call"),
    [
        ("s3", "list_buckets"), ("dynamodb", "list_tables"), ("lambda", "list_functions"),
        ("stepfunctions", "list_state_machines"), ("scheduler", "list_schedules"), ("events", "list_rules"),
        ("ec2", "describe_instances"), ("iam", "list_roles"), ("sts", "get_caller_identity"),
        ("cloudformation", "list_stacks"), ("sqs", "list_queues"), ("sns", "list_topics"),
        ("cloudwatch", "list_metrics"), ("logs", "describe_log_groups"), ("ssm", "describe_parameters"),
    ],
)  # fmt: skip
def test_every_service_of_the_stack_answers_its_key(emulator: Emulator, service: str, call: str) -> None:
    answer = getattr(emulator.client(service), call)()
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert not [
        name for name in answer["ResponseMetadata"]["HTTPHeaders"] if name.startswith("access-control")
    ]


def test_presigned_uploads_and_downloads_need_no_key_of_their_own(emulator: Emulator) -> None:
    s3 = emulator.client("s3", signature_version="s3v4", s3={"addressing_style": "path"})
    s3.create_bucket(Bucket="uploads")
    s3.put_bucket_cors(
        Bucket="uploads",
        CORSConfiguration={"CORSRules": [{"AllowedMethods": ["GET", "PUT"], "AllowedOrigins": ["*"]}]},
    )
    asked = {"Bucket": "uploads", "Key": "results/job 1/+ä.json"}
    up = s3.generate_presigned_url("put_object", Params=asked, ExpiresIn=60)
    down = s3.generate_presigned_url("get_object", Params=asked, ExpiresIn=60)
    assert emulator.ask("PUT", up, b"answers")[0] == 200
    status, told, said = emulator.ask("GET", down)
    assert (status, told) == (200, b"answers")
    assert "access-control" not in said
    for url in (down.replace("results", "other"), down.replace("X-Amz-Expires=60", "X-Amz-Expires=600")):
        assert emulator.ask("GET", url)[0] == 403
    for url, method in ((up, "PUT"), (down, "GET"), (down, "OPTIONS")):
        status, _, said = emulator.ask(method, url, Origin="https://evil.example")
        assert status == 403
        assert "access-control" not in said, "nor what the bucket itself allows"


TARGETS = (
    "AWSSecurityTokenServiceV20110615.AssumeRole", "DynamoDB_20120810.ListTables", "AmazonSQS.ListQueues",
    "AWSStepFunctions.ListStateMachines", "AWSEvents.ListRules", "AmazonSSM.DescribeParameters",
    "Logs_20140328.DescribeLogGroups",
)  # fmt: skip
ACTIONS = (
    "RunInstances&ImageId=ami-1&MinCount=1&MaxCount=1", "AssumeRole&RoleArn=arn:aws:iam::000000000000:role/x"
    "&RoleSessionName=evil", "CreateUser&UserName=evil", "CreateTopic&Name=evil", "DescribeStacks",
)  # fmt: skip


@pytest.mark.parametrize("operation", ["get_object", "put_object", "delete_object"])
def test_a_link_is_for_its_object_and_nothing_else(emulator: Emulator, operation: str) -> None:
    """As it was found: the emulator went by a header, then by a form, and never by who was signed for."""
    s3 = emulator.client("s3", signature_version="s3v4", s3={"addressing_style": "path"})
    s3.create_bucket(Bucket="linked")
    s3.put_object(Bucket="linked", Key="secret", Body=b"another's")
    link = s3.generate_presigned_url(operation, Params={"Bucket": "linked", "Key": "own"}, ExpiresIn=60)
    method = operation.partition("_")[0].upper()
    for target in TARGETS:
        for kind in ("application/x-amz-json-1.0", "application/x-amz-json-1.1"):
            assert emulator.ask(method, link, b"{}", X_Amz_Target=target, Content_Type=kind)[0] == 403
    assert emulator.ask(method, link, b"", x_amz_copy_source="/linked/secret")[0] == 403
    for action in ACTIONS:
        form = f"Action={action}".encode()
        status, told, _ = emulator.ask(method, link, form, Content_Type="application/x-www-form-urlencoded")
        assert status in (200, 204, 404), told
        assert b"Response" not in told, "an answer of another service"
    if method == "PUT":
        assert s3.get_object(Bucket="linked", Key="own")["Body"].read() == form, "bytes like any other"
    assert not emulator.client("ec2").describe_instances()["Reservations"]
    assert not emulator.client("iam").list_users()["Users"]
    assert not emulator.client("sns").list_topics()["Topics"]


def test_a_roles_session_signs_as_well_but_not_without_its_token(emulator: Emulator, function: str) -> None:
    arn = emulator.client("lambda").get_function(FunctionName="f")["Configuration"]["Role"]
    told = emulator.client("sts").assume_role(RoleArn=arn, RoleSessionName="i-1")["Credentials"]
    session = (told["AccessKeyId"], told["SecretAccessKey"], told["SessionToken"])
    assert emulator.client("sts", *session).get_caller_identity()["Arn"].endswith("assumed-role/r/i-1")
    for wrong in (session[:2], (*session[:2], "another"), (session[0], "another", session[2])):
        with pytest.raises(ClientError):
            emulator.client("sts", *wrong).get_caller_identity()


def test_a_function_signs_as_its_role_and_its_code_stays_in_its_folder(
    emulator: Emulator, function: str
) -> None:
    answer = emulator.client("lambda").invoke(FunctionName=function)
    own = json.loads(answer["Payload"].read())
    assert "AWS_ACCESS_KEY_ID" in own, own
    identity = emulator.client("sts", *own.values()).get_caller_identity()
    assert identity["Arn"] == "arn:aws:sts::000000000000:assumed-role/r/f"
    assert own["AWS_SECRET_ACCESS_KEY"] != emulator.key.secret_access_key
    outside = [path for path in (emulator.folder, *emulator.folder.parents) if (path / "escaped").exists()]
    assert not outside
    assert not Path("/tmp/escaped-too").exists()
    assert not Path("/escaped-too").exists()


def test_a_link_to_code_is_presigned(emulator: Emulator, function: str) -> None:
    link = emulator.client("lambda").get_function(FunctionName=function)["Code"]["Location"]
    status, code, _ = emulator.ask("GET", link)
    assert status == 200
    assert code.startswith(b"PK")
    assert emulator.ask("GET", link.partition("?")[0])[0] == 403
    assert emulator.ask("GET", link.replace("lambda-code", "lambda-layers"))[0] == 403


def test_it_listens_once_and_on_this_machine_only(emulator: Emulator) -> None:
    """Services that would open a port of their own, some of them to the network, are not there."""
    for service, call, asked in (
        ("rds", "create_db_instance",
         {"DBInstanceIdentifier": "d", "DBInstanceClass": "db.t3.micro", "Engine": "postgres"}),
        ("transfer", "create_server", {}),
    ):  # fmt: skip
        with pytest.raises((ClientError, ResponseParserError), match=r"Unsupported service|\(400\)"):
            getattr(emulator.client(service), call)(**asked)
    port = int(emulator.url.rpartition(":")[2])
    assert listening(emulator.pid) == [loopback(port)]
