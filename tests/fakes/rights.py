"""IAM, as far as this stack uses it: what each role is allowed, and what each call needs.

Allowed: the policies of the transformed template, with its intrinsic functions resolved.
Needed: the calls that a function comes to (in simulated histories, and by its code), said again by the real
adapters, translated by the service authorization reference:
https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
"""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Any
from unittest.mock import patch

from samtranslator.translator.transform import transform

from tests.fakes import house
from tests.fakes.limits import Call

STACK, ACCOUNT, REGION = "arcspot-test", "123456789012", "us-east-1"
BASIC = "AWSLambdaBasicExecutionRole"
QUEUE = "AWSLambdaSQSQueueExecutionRole"


@dataclass(frozen=True, slots=True)
class Need:
    """One right on one resource, and what the request says beside it."""

    action: str
    resource: str
    context: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Right:
    """One action on one resource pattern, as a statement allows it."""

    action: str
    resource: str
    conditions: tuple[tuple[str, str, tuple[str, ...]], ...] = ()

    def allows(self, need: Need) -> bool:
        return (
            fnmatchcase(need.action.lower(), self.action.lower())
            and fnmatchcase(need.resource, self.resource.replace("[", "[[]"))
            and all(self._holds(*condition, dict(need.context)) for condition in self.conditions)
        )

    @staticmethod
    def _holds(operator: str, key: str, values: tuple[str, ...], context: Mapping[str, str]) -> bool:
        if key not in context:
            return False
        if operator in ("StringEquals", "ArnEquals"):
            return context[key] in values
        if operator in ("StringLike", "ArnLike"):
            return any(fnmatchcase(context[key], value) for value in values)
        raise AssertionError(f"a condition operator that is not understood here: {operator}")


# ---- allowed


class _AwsPolicies:
    """Names of AWS's own policies, which SAM turns into ARNs."""

    def load(self) -> dict[str, str]:
        return {name: f"arn:aws:iam::aws:policy/service-role/{name}" for name in (BASIC, QUEUE)}


@cache
def transformed() -> dict[str, Any]:
    """The template as CloudFormation gets it, by the library that CloudFormation itself uses."""
    template = copy.deepcopy(house.template())
    for name, resource in template["Resources"].items():
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::Serverless::Function":
            properties["CodeUri"] = {"Bucket": "artifacts", "Key": f"{name}.zip"}
        elif resource["Type"] == "AWS::Serverless::LayerVersion":
            properties["ContentUri"] = {"Bucket": "artifacts", "Key": f"{name}.zip"}
        elif resource["Type"] == "AWS::Serverless::StateMachine":
            properties.pop("DefinitionUri")
            properties["Definition"] = copy.deepcopy(house.state_machine())
    with patch.dict(os.environ, {"AWS_DEFAULT_REGION": REGION}):
        made: dict[str, Any] = transform(template, {}, _AwsPolicies())  # type: ignore[no-untyped-call]
    return made


def resources(kind: str) -> dict[str, dict[str, Any]]:
    return {
        name: resource["Properties"]
        for name, resource in transformed()["Resources"].items()
        if resource["Type"] == kind
    }


PSEUDO = {
    "AWS::StackName": STACK, "AWS::AccountId": ACCOUNT, "AWS::Region": REGION, "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com",
}  # fmt: skip


def resolved(value: Any) -> Any:
    """Intrinsic functions as text: names are logical ids, except where the template gives a name."""
    if isinstance(value, list):
        return [resolved(each) for each in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"Ref"}:
        return _ref(value["Ref"])
    if set(value) == {"Fn::GetAtt"}:
        name, attribute = (
            value["Fn::GetAtt"] if isinstance(value["Fn::GetAtt"], list) else value["Fn::GetAtt"].split(".")
        )
        return _arn(name) if attribute == "Arn" else f"{name}.{attribute}"
    if set(value) == {"Fn::Sub"}:
        return _sub(value["Fn::Sub"])
    if set(value) == {"Fn::Join"}:
        separator, parts = value["Fn::Join"]
        return separator.join(str(resolved(part)) for part in parts)
    if set(value) == {"Fn::If"}:
        return resolved(value["Fn::If"][1])
    return {name: resolved(each) for name, each in value.items()}


def _sub(said: Any) -> str:
    text, given = (
        (said, {}) if isinstance(said, str) else (said[0], {k: resolved(v) for k, v in said[1].items()})
    )

    def put(found: re.Match[str]) -> str:
        name = found.group(1)
        if name in given:
            return str(given[name])
        return str(_arn(name.removesuffix(".Arn")) if name.endswith(".Arn") else _ref(name))

    return re.sub(r"\$\{([\w:.]+)\}", put, text)


def _ref(name: str) -> str:
    if name in PSEUDO:
        return PSEUDO[name]
    kind = transformed()["Resources"].get(name, {}).get("Type", "")
    if kind in ("AWS::SNS::Topic", "AWS::IAM::ManagedPolicy", "AWS::Lambda::LayerVersion"):
        return _arn(name)
    if kind == "AWS::Lambda::Function":
        return str(resolved(transformed()["Resources"][name]["Properties"].get("FunctionName", name)))
    return "bucket" if kind == "AWS::S3::Bucket" else name


def _arn(name: str) -> str:
    resource = transformed()["Resources"].get(name)
    if resource is None:
        return name
    kind, given = resource["Type"], resource["Properties"]
    base = f"{REGION}:{ACCOUNT}"
    match kind:
        case "AWS::S3::Bucket":
            return "arn:aws:s3:::bucket"
        case "AWS::DynamoDB::Table":
            return f"arn:aws:dynamodb:{base}:table/{name}"
        case "AWS::Lambda::Function":
            return f"arn:aws:lambda:{base}:function:{resolved(given.get('FunctionName', name))}"
        case "AWS::Lambda::LayerVersion":
            return f"arn:aws:lambda:{base}:layer:{resolved(given['LayerName'])}:1"
        case "AWS::IAM::Role":
            return f"arn:aws:iam::{ACCOUNT}:role/{name}"
        case "AWS::IAM::ManagedPolicy":
            return f"arn:aws:iam::{ACCOUNT}:policy/{name}"
        case "AWS::SNS::Topic":
            return f"arn:aws:sns:{base}:{name}"
        case "AWS::SQS::Queue":
            return f"arn:aws:sqs:{base}:{name}"
        case "AWS::StepFunctions::StateMachine":
            return f"arn:aws:states:{base}:stateMachine:{resolved(given.get('StateMachineName', name))}"
        case "AWS::Events::Rule":
            return f"arn:aws:events:{base}:rule/{name}"
    raise AssertionError(f"how is the ARN of a {kind} written?")


def role_of(function: str) -> str:
    """The logical id of the role of a function (by its folder)."""
    for properties in resources("AWS::Lambda::Function").values():
        if resolved(properties["FunctionName"]) == f"{STACK}-{function}":
            return str(properties["Role"]["Fn::GetAtt"][0])
    raise AssertionError(f"no function {function}")


def documents(role: str) -> Iterator[Mapping[str, Any]]:
    """Every policy document of a role: its own, and the stack's policies that are attached to it."""
    properties = resources("AWS::IAM::Role")[role]
    for policy in properties.get("Policies", ()):
        yield policy["PolicyDocument"]
    for attached in properties.get("ManagedPolicyArns", ()):
        if isinstance(attached, dict):
            yield resources("AWS::IAM::ManagedPolicy")[attached["Ref"]]["PolicyDocument"]
    for policy in resources("AWS::IAM::Policy").values():
        if {"Ref": role} in policy.get("Roles", ()):
            yield policy["PolicyDocument"]
    for policy in resources("AWS::IAM::RolePolicy").values():
        if policy["RoleName"] == {"Ref": role}:
            yield policy["PolicyDocument"]
    for policy in resources("AWS::IAM::ManagedPolicy").values():
        if {"Ref": role} in policy.get("Roles", ()):
            yield policy["PolicyDocument"]


def trusted(role: str) -> list[str]:
    """The services that may assume a role."""
    found = []
    for statement in resources("AWS::IAM::Role")[role]["AssumeRolePolicyDocument"]["Statement"]:
        assert (statement["Effect"], set(statement["Principal"])) == ("Allow", {"Service"}), role
        found += _list(resolved(statement["Principal"]["Service"]))
    return found


def aws_policies(role: str) -> set[str]:
    """Names of AWS's own policies that a role has."""
    arns = resources("AWS::IAM::Role")[role].get("ManagedPolicyArns", ())
    return {arn.rpartition("/")[2] for arn in arns if isinstance(arn, str)}


def rights(role: str) -> set[Right]:
    """What a role is allowed, one action on one resource pattern at a time."""
    return {right for document in documents(role) for right in rights_in(document)}


def rights_in(document: Mapping[str, Any]) -> Iterator[Right]:
    for statement in document["Statement"]:
        assert statement["Effect"] == "Allow", statement
        conditions = tuple(
            (operator, key, tuple(_list(values)))
            for operator, keys in resolved(statement.get("Condition", {})).items()
            for key, values in keys.items()
        )
        for action in _list(statement["Action"]):
            for resource in _list(resolved(statement["Resource"])):
                yield Right(action, str(resource), conditions)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


# ---- needed

MACHINE = f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:{STACK}-RunnerLifecycle"
OWN_INSTANCE = (("aws:ResourceTag/arcspot:stack", STACK),)


def needs(call: Call) -> set[Need]:
    """The rights that a request of an adapter needs."""
    return set(_needs(call.service, call.operation, call.params, call.site))


def _needs(service: str, operation: str, params: Mapping[str, Any], site: str) -> Iterator[Need]:
    base = f"{REGION}:{ACCOUNT}"
    match service, operation:
        case "dynamodb", "TransactWriteItems":
            # A transaction needs what its actions need, and no right of its own.
            # https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis-iam.html
            for each in params["TransactItems"]:
                for kind, inside in each.items():
                    yield Need(f"dynamodb:{kind}Item", _table(inside["TableName"]))
        case "dynamodb", "BatchGetItem" | "BatchWriteItem":
            for table in params["RequestItems"]:
                yield Need(f"dynamodb:{operation}", _table(table))
        case "dynamodb", _:
            table = _table(params["TableName"])
            yield Need(
                f"dynamodb:{operation}",
                f"{table}/index/{params['IndexName']}" if "IndexName" in params else table,
            )
        case "s3", "ListObjectsV2":
            yield Need("s3:ListBucket", f"arn:aws:s3:::{params['Bucket']}")
        case "s3", "GetObject" | "HeadObject":
            at = f"arn:aws:s3:::{params['Bucket']}/{params['Key']}"
            yield Need("s3:GetObjectVersion" if "VersionId" in params else "s3:GetObject", at)
            if "presign" not in site:
                # Without it a key that is not there is a 403 instead of a 404, and absence is an answer.
                # https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
                yield Need("s3:ListBucket", f"arn:aws:s3:::{params['Bucket']}")
        # https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html#mpuAndPermissions
        case "s3", "CreateMultipartUpload" | "UploadPart" | "CompleteMultipartUpload":
            yield Need("s3:PutObject", f"arn:aws:s3:::{params['Bucket']}/{params['Key']}")
        case "s3", _:
            yield Need(f"s3:{operation}", f"arn:aws:s3:::{params['Bucket']}/{params['Key']}")
        case "ec2", "CreateFleet":
            yield from _fleet(base)
        case "ec2", "TerminateInstances":
            for instance in params["InstanceIds"]:
                yield Need("ec2:TerminateInstances", f"arn:aws:ec2:{base}:instance/{instance}", OWN_INSTANCE)
        case "ec2", "GetConsoleOutput":
            yield Need(
                "ec2:GetConsoleOutput", f"arn:aws:ec2:{base}:instance/{params['InstanceId']}", OWN_INSTANCE
            )
        case "ec2", _:
            yield Need(f"ec2:{operation}", "*")
        case "sfn", "StartExecution":
            yield Need("states:StartExecution", params["stateMachineArn"])
        case "sfn", _:
            # The reference names no resource; SAM's StepFunctionsCallbackPolicy names the state machine.
            # https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/serverless-policy-template-list.html
            yield Need(f"states:{operation}", MACHINE)
        case "sns", _:
            yield Need(f"sns:{operation}", params["TopicArn"])
        case "lambda", "Invoke":
            yield Need("lambda:InvokeFunction", f"arn:aws:lambda:{base}:function:{params['FunctionName']}")
        case "scheduler", _:
            at = f"arn:aws:scheduler:{base}:schedule/{params['GroupName']}/{params['Name']}"
            yield Need(f"scheduler:{operation}", at)
            if "Target" in params:
                role = params["Target"]["RoleArn"]
                yield Need("iam:PassRole", role, (("iam:PassedToService", "scheduler.amazonaws.com"),))
        case "eventbridge", _:
            yield Need(f"events:{operation}", f"arn:aws:events:{base}:rule/{params['Name']}")
        case "pricing", _:
            yield Need(f"pricing:{operation}", "*")
        case _:
            raise AssertionError(f"what does {service} {operation} need?")


def _fleet(base: str) -> Iterator[Need]:
    """An instant fleet from a launch template with tags and an instance profile.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-fleet-prerequisites.html
    """
    for action in ("ec2:CreateFleet", "ec2:RunInstances"):
        yield Need(action, "*")
    for creating, kinds in (("CreateFleet", ("fleet", "instance")), ("RunInstances", ("instance", "volume"))):
        for kind in kinds:
            yield Need("ec2:CreateTags", f"arn:aws:ec2:{base}:{kind}/x-1", (("ec2:CreateAction", creating),))
    yield Need(
        "iam:PassRole",
        f"arn:aws:iam::{ACCOUNT}:role/RunnerRole",
        (("iam:PassedToService", "ec2.amazonaws.com"),),
    )
    for service, role in (
        ("spot.amazonaws.com", "AWSServiceRoleForEC2Spot"),
        ("ec2fleet.amazonaws.com", "AWSServiceRoleForEC2Fleet"),
    ):
        at = f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/{service}/{role}"
        yield Need("iam:CreateServiceLinkedRole", at, (("iam:AWSServiceName", service),))


def _table(name: str) -> str:
    return f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{name}"


def missing(role: str, wanted: Iterable[Need]) -> set[Need]:
    held = rights(role)
    return {need for need in wanted if not any(right.allows(need) for right in held)}


def unused(role: str, wanted: Iterable[Need]) -> set[Right]:
    needed = list(wanted)
    return {right for right in rights(role) if not any(right.allows(need) for need in needed)}


def as_json(found: Iterable[Need]) -> str:
    """For a person who mends the template: actions by resource."""
    by: dict[str, set[str]] = {}
    for need in found:
        by.setdefault(need.resource, set()).add(need.action)
    return json.dumps({at: sorted(actions) for at, actions in sorted(by.items())}, indent=1)
