"""Which endpoint a target's clients really talk to, whatever else is configured on the machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from arcspot_cli.errors import CommandFailed
from arcspot_cli.target import TARGET_VARIABLE, Choice, Target, resolve

ELSEWHERE = "http://127.0.0.1:1"
HERE = "http://127.0.0.1:2"
REAL = {
    "s3": "https://s3.eu-west-1.amazonaws.com",
    "dynamodb": "https://dynamodb.eu-west-1.amazonaws.com",
}
PROFILE = f"""\
[default]
endpoint_url = {ELSEWHERE}
[profile emulated]
endpoint_url = {ELSEWHERE}
services = of-the-emulator
[services of-the-emulator]
s3 =
    endpoint_url = {ELSEWHERE}
"""


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.delenv("AWS_PROFILE", raising=False)


@pytest.fixture(params=["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "the profile", "the default profile"])
def emulated(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str | None:
    """An emulator is configured, in one of the places where boto3 looks; the profile to use."""
    if request.param.startswith("AWS_"):
        monkeypatch.setenv(request.param, ELSEWHERE)
        return None
    (tmp_path / "config").write_text(PROFILE)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    return "emulated" if request.param == "the profile" else None


@pytest.mark.parametrize("service", REAL)
def test_aws_is_aws_whatever_endpoint_is_configured(
    service: str, emulated: str | None, tmp_path: Path
) -> None:
    aws = resolve(Choice(project_dir=tmp_path, where="aws", region="eu-west-1", profile=emulated))
    assert aws.client(service).meta.endpoint_url == REAL[service]


def test_without_a_word_the_configured_profile_does_not_lead_to_an_emulator_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text(PROFILE)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    said = resolve(Choice(project_dir=tmp_path, region="eu-west-1"), {})
    assert said.label == "AWS eu-west-1"
    assert said.client("s3").meta.endpoint_url == REAL["s3"], "the label and the client tell one story"


@pytest.mark.parametrize(
    ("choice", "variable", "label"),
    [
        (Choice(where="aws"), "", "AWS default region"),
        (Choice(region="eu-west-1"), "", "AWS eu-west-1"),
        (Choice(profile="emulated"), "", "AWS default region"),
        (Choice(), "aws", "AWS default region"),
        (Choice(where="aws"), "local", "AWS default region"),
    ],
)
def test_aws_is_used_where_somebody_said_so(
    choice: Choice, variable: str, label: str, tmp_path: Path
) -> None:
    env = {TARGET_VARIABLE: variable} if variable else {}
    assert resolve(replace(choice, project_dir=tmp_path), env).label == label


@pytest.mark.parametrize(
    ("choice", "variable"),
    [
        (Choice(), ""),
        (Choice(where="local"), ""),
        (Choice(stack="arcspot"), ""),
        (Choice(), "local"),
        (Choice(region="x"), "local"),
        (Choice(where="local"), "aws"),
    ],
)
def test_and_nowhere_else(choice: Choice, variable: str, tmp_path: Path) -> None:
    env = {TARGET_VARIABLE: variable} if variable else {}
    with pytest.raises(CommandFailed, match="no local stack is up in this folder"):
        resolve(replace(choice, project_dir=tmp_path), env)


def test_a_target_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="expected local or aws"):
        resolve(Choice(project_dir=tmp_path), {TARGET_VARIABLE: "prod"})


@pytest.mark.parametrize("service", REAL)
def test_a_local_target_is_not_led_astray_by_what_is_configured(service: str, emulated: str | None) -> None:
    there = Target("arcspot", "us-east-1", HERE, emulated, "there")
    assert there.client(service).meta.endpoint_url == HERE
