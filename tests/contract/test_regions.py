"""Runner and door name one STS host: in every region, in every mode of the SDK."""

from __future__ import annotations

from urllib.parse import urlsplit

import boto3
import botocore.loaders
import pytest
from botocore.config import Config
from botocore.credentials import Credentials

from arcspot.aws import compose
from arcspot.aws.messages import StsWitness
from arcspot.errors import NotYourself
from gpu_runner.identity import proof, sts_endpoint

PARTITIONS = botocore.loaders.Loader().load_data("endpoints")["partitions"]
REGIONS = sorted((p["partition"], region) for p in PARTITIONS for region in p["regions"])
OVERRIDES = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_STS")
# What may stand in a function's environment or be the default of the SDK that Lambda brings.
MODES = {
    "the SDK's default": {},
    "legacy": {"AWS_STS_REGIONAL_ENDPOINTS": "legacy"},
    "regional": {"AWS_STS_REGIONAL_ENDPOINTS": "regional"},
    "dual stack": {"AWS_USE_DUALSTACK_ENDPOINT": "true"},
    "fips": {"AWS_USE_FIPS_ENDPOINT": "true"},
}


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in OVERRIDES:
        monkeypatch.delenv(name, raising=False)
    for name, value in MODES[request.param].items():
        monkeypatch.setenv(name, value)
    return str(request.param)


def session(region: str) -> boto3.Session:
    return boto3.Session(region_name=region, aws_access_key_id="testing", aws_secret_access_key="testing")


def test_all_partitions_are_looked_at() -> None:
    assert {"aws", "aws-cn", "aws-us-gov"} <= {partition for partition, _ in REGIONS}
    assert len(REGIONS) > 35


def test_door_and_runner_name_the_same_host_in_every_region(mode: str) -> None:
    for _, region in REGIONS:
        door = compose.sts_endpoint(session(region))
        assert door == sts_endpoint(region, {}), region
        assert urlsplit(door).netloc.startswith(f"sts.{region}."), "and it is the region's own"


@pytest.mark.parametrize(("partition", "region"), REGIONS)
def test_the_host_is_the_one_that_botocore_knows_for_the_region(
    partition: str, region: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in OVERRIDES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_STS_REGIONAL_ENDPOINTS", "regional")
    (suffix,) = {p["dnsSuffix"] for p in PARTITIONS if p["partition"] == partition}
    assert sts_endpoint(region, {}) == f"https://sts.{region}.{suffix}"


def test_botocore_itself_says_so_where_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few of them through a real client: the model's own rules, not only the older list of endpoints."""
    monkeypatch.setenv("AWS_STS_REGIONAL_ENDPOINTS", "regional")
    for name in OVERRIDES:
        monkeypatch.delenv(name, raising=False)
    for region in (
        "us-east-1",
        "eu-central-2",
        "cn-northwest-1",
        "us-gov-west-1",
        "us-iso-east-1",
        "us-isob-east-1",
    ):
        client = session(region).client("sts", config=Config(ignore_configured_endpoint_urls=True))  # type: ignore[call-arg]
        assert client.meta.endpoint_url == sts_endpoint(region, {}), region


def test_an_sdk_in_legacy_mode_would_have_named_another_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this is about: the door used to ask the SDK. If this fails, no SDK does so any more."""
    monkeypatch.setenv("AWS_STS_REGIONAL_ENDPOINTS", "legacy")
    for name in OVERRIDES:
        monkeypatch.delenv(name, raising=False)
    asked = session("us-east-1").client("sts", config=compose.client_config("sts")).meta.endpoint_url
    assert asked == "https://sts.amazonaws.com"
    made = proof(
        "launch-1",
        credentials=Credentials("AK", "s", "t"),
        region="us-east-1",
        endpoint=sts_endpoint("us-east-1", {}),
    )
    with pytest.raises(NotYourself, match=r"not for https://sts\.amazonaws\.com"):
        StsWitness(asked).caller(made["url"], made["headers"])


@pytest.mark.parametrize("name", OVERRIDES)
def test_an_emulators_endpoint_is_taken_by_both(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for other in OVERRIDES:
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, "http://127.0.0.1:4566/")
    assert compose.sts_endpoint(session("eu-west-1")) == "http://127.0.0.1:4566"
    assert sts_endpoint("eu-west-1", {name: "http://127.0.0.1:4566/"}) == "http://127.0.0.1:4566"


def test_the_door_gets_account_and_role_id_from_the_template() -> None:
    from tests.fakes import house

    given = house.variables("runner_api")
    assert given["ACCOUNT_ID"] == {"Ref": "AWS::AccountId"}
    assert given["RUNNER_ROLE"] == {"Ref": "RunnerRole"}
    assert given["RUNNER_ROLE_ID"] == {"Fn::GetAtt": ["RunnerRole", "RoleId"]}
