"""IAM, as far as this stack uses it: what each role is allowed, and what each call needs.

Allowed: the policies of the transformed template, with its intrinsic functions resolved.
Needed: the calls that a function comes to (in simulated histories, and by its code), said again by the real
adapters, translated by the service authorization reference:
https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from arcspot.aws.rows import is_job
from tests.fakes import cloudformation, iam
from tests.fakes.cloudformation import ACCOUNT
from tests.fakes.iam import Need, Right
from tests.fakes.limits import Call

STACK, REGION = "arcspot-test", "us-east-1"
HERE = f"{REGION}:{ACCOUNT}"


# ---- allowed


@cache
def transformed() -> dict[str, Any]:
    """The template as CloudFormation gets it, by the library that CloudFormation itself uses."""
    return cloudformation.transformed()


@dataclass(frozen=True)
class Named(cloudformation.Deployment):
    """The same with names and ARNs: names are logical ids, except where the template gives a name."""

    def _ref(self, name: str) -> Any:
        if name.endswith(".Arn"):
            return _arn(self, name.removesuffix(".Arn"))
        kind = self.template["Resources"].get(name, {}).get("Type", "")
        if kind in ("AWS::SNS::Topic", "AWS::IAM::ManagedPolicy", "AWS::Lambda::LayerVersion"):
            return _arn(self, name)
        if kind == "AWS::Lambda::Function":
            return self.value(self.template["Resources"][name]["Properties"].get("FunctionName", name))
        if kind == "AWS::Logs::LogGroup":
            return self.value(self.template["Resources"][name]["Properties"]["LogGroupName"])
        if kind == "AWS::Scheduler::ScheduleGroup":
            return self.value(self.template["Resources"][name]["Properties"]["Name"])
        if kind == "AWS::S3::Bucket":
            return "bucket"
        return name if kind or "." in name else super()._ref(name)

    def _function(self, name: str, argument: Any) -> Any:
        if name == "Fn::GetAtt":
            return self._ref(".".join(argument) if isinstance(argument, list) else argument)
        return super()._function(name, argument)


@cache
def named(**parameters: str) -> Named:
    """The stack with some parameters said."""
    return Named(stack=STACK, region=REGION, parameters=parameters, template=transformed())


def resources(kind: str) -> dict[str, dict[str, Any]]:
    return {
        name: resource["Properties"]
        for name, resource in transformed()["Resources"].items()
        if resource["Type"] == kind
    }


def resolved(value: Any) -> Any:
    return named().value(value)


def _arn(here: Named, name: str) -> str:
    resource = here.template["Resources"].get(name)
    if resource is None:
        return name
    kind, given, base = resource["Type"], resource["Properties"], HERE
    match kind:
        case "AWS::S3::Bucket":
            return "arn:aws:s3:::bucket"
        case "AWS::DynamoDB::Table":
            return f"arn:aws:dynamodb:{base}:table/{name}"
        case "AWS::Lambda::Function":
            return f"arn:aws:lambda:{base}:function:{here.value(given.get('FunctionName', name))}"
        case "AWS::Lambda::LayerVersion":
            return f"arn:aws:lambda:{base}:layer:{here.value(given['LayerName'])}:1"
        case "AWS::IAM::Role":
            return f"arn:aws:iam::{ACCOUNT}:role/{name}"
        case "AWS::IAM::ManagedPolicy":
            return f"arn:aws:iam::{ACCOUNT}:policy/{name}"
        case "AWS::SNS::Topic":
            return f"arn:aws:sns:{base}:{name}"
        case "AWS::SQS::Queue":
            return f"arn:aws:sqs:{base}:{name}"
        case "AWS::StepFunctions::StateMachine":
            return f"arn:aws:states:{base}:stateMachine:{here.value(given.get('StateMachineName', name))}"
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


def trust(role: str) -> list[dict[str, Any]]:
    """The statements by which a role may be assumed."""
    found: list[dict[str, Any]] = resolved(
        resources("AWS::IAM::Role")[role]["AssumeRolePolicyDocument"]["Statement"]
    )
    return found


def trusted(role: str) -> list[str]:
    """The services that may assume a role."""
    found = []
    for statement in trust(role):
        assert (statement["Effect"], set(statement["Principal"])) == ("Allow", {"Service"}), role
        found += iam.listed(statement["Principal"]["Service"])
    return found


def aws_policies(role: str) -> set[str]:
    """AWS's own policies that a role has."""
    arns = resources("AWS::IAM::Role")[role].get("ManagedPolicyArns", ())
    return {str(arn) for arn in arns if isinstance(arn, str)}


@cache
def rights(role: str, *, apart: bool = False, **parameters: str) -> set[Right]:
    """What a role is allowed, one action on one resource pattern at a time; `apart` as in `iam.rights_in`."""
    return {
        right
        for document in documents(role)
        for right in iam.rights_in(named(**parameters).value(dict(document)), apart=apart)
    }


def may(role: str, action: str, resource: str, *context: tuple[str, str]) -> bool:
    return iam.allowed(rights(role), Need(action, resource, context))


# ---- needed

MACHINE = f"arn:aws:states:{HERE}:stateMachine:{STACK}-RunnerLifecycle"
OWN_INSTANCE = (("aws:ResourceTag/arcspot:stack", STACK),)


def needs(call: Call) -> set[Need]:
    """The rights that a request of an adapter needs."""
    return set(_needs(call.service, call.operation, call.params))


def _needs(service: str, operation: str, params: Mapping[str, Any]) -> Iterator[Need]:
    base = HERE
    match service, operation:
        case "dynamodb", "TransactWriteItems":
            # A transaction needs what its actions need, and no right of its own.
            # https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis-iam.html
            for each in params["TransactItems"]:
                for kind, inside in each.items():
                    yield from _row(f"dynamodb:{kind}Item", inside["TableName"], inside["Item"])
        case "dynamodb", "BatchGetItem":
            for table, asked in params["RequestItems"].items():
                for key in asked["Keys"]:
                    yield from _row("dynamodb:BatchGetItem", table, key)
        case "dynamodb", "BatchWriteItem":
            for table, asked in params["RequestItems"].items():
                for each in asked:
                    yield from _row("dynamodb:BatchWriteItem", table, each["PutRequest"]["Item"])
        case "dynamodb", "GetItem" | "PutItem":
            yield from _row(f"dynamodb:{operation}", params["TableName"], params.get("Key") or params["Item"])
        case "dynamodb", _:
            yield Need(f"dynamodb:{operation}", f"{_table(params['TableName'])}/index/{params['IndexName']}")
        case "s3", "ListObjectsV2" | "ListObjectVersions":
            action = "s3:ListBucket" if operation == "ListObjectsV2" else "s3:ListBucketVersions"
            yield Need(action, f"arn:aws:s3:::{params['Bucket']}", (("s3:prefix", params["Prefix"]),))
        case "s3", "GetObject" | "HeadObject":
            at = f"arn:aws:s3:::{params['Bucket']}/{params['Key']}"
            yield Need("s3:GetObjectVersion" if "VersionId" in params else "s3:GetObject", at)
        # https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html#mpuAndPermissions
        case "s3", "CreateMultipartUpload" | "UploadPart" | "CompleteMultipartUpload":
            yield Need("s3:PutObject", f"arn:aws:s3:::{params['Bucket']}/{params['Key']}")
        case "s3", _:
            once = (("s3:if-none-match", params["IfNoneMatch"]),) if "IfNoneMatch" in params else ()
            yield Need(f"s3:{operation}", f"arn:aws:s3:::{params['Bucket']}/{params['Key']}", once)
        case "ec2", "CreateFleet":
            yield from _fleet(params)
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


def _row(action: str, table: str, row: Mapping[str, Any]) -> Iterator[Need]:
    """One row by its key. A job's is a digest: it may begin with any hex digit."""
    key = row["pk"]["S"]
    for pk in [f"{digit}{key}" for digit in "0123456789abcdef"] if _job(table, key) else [key]:
        yield Need(action, _table(table), (("dynamodb:LeadingKeys", pk),))


def _job(table: str, key: str) -> bool:
    return table == "JobsTable" and is_job(key)


TAG = ("aws:RequestTag/arcspot:stack", STACK)
EC2 = f"arn:aws:ec2:{HERE}"
LAUNCH_TEMPLATE = ("ec2:LaunchTemplate", f"{EC2}:launch-template/RunnerTemplate")
VPC = ("ec2:Vpc", f"{EC2}:vpc/Vpc")
IMAGE = f"arn:aws:ec2:{REGION}::image/ami-1"


def _fleet(request: Mapping[str, Any]) -> Iterator[Need]:
    """An instant fleet from a launch template with tags and an instance profile.

    What it consists of: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-fleet-prerequisites.html
    What each condition key says, and of what: the reference's page of EC2.
    """
    market = request["TargetCapacitySpecification"]["DefaultTargetCapacityType"]
    (config,) = request["LaunchTemplateConfigs"]
    for kind in {override["InstanceType"] for override in config["Overrides"]}:
        of_type = ("ec2:InstanceType", kind)
        yield Need("ec2:CreateFleet", f"{EC2}:instance/*", (TAG, of_type))
        yield Need(
            "ec2:RunInstances",
            f"{EC2}:instance/*",
            (TAG, of_type, ("ec2:InstanceMarketType", market), LAUNCH_TEMPLATE),
        )
    yield Need("ec2:CreateFleet", f"{EC2}:fleet/*", (TAG,))
    for action in ("ec2:CreateFleet", "ec2:RunInstances"):
        yield Need(action, f"{EC2}:launch-template/RunnerTemplate")
        yield Need(action, f"{EC2}:subnet/subnet-1", (VPC,))
        yield Need(action, IMAGE, (("ec2:IsLaunchTemplateResource", "true"),))
        yield Need(action, f"{EC2}:volume/*", (TAG, ("ec2:VolumeSize", "75")))
    yield Need("ec2:RunInstances", f"{EC2}:network-interface/*", (VPC,))
    yield Need("ec2:RunInstances", f"{EC2}:security-group/RunnerSecurityGroup.GroupId")
    yield Need("ec2:RunInstances", f"{EC2}:spot-instances-request/*")
    # The fleet's request tags fleet and instance, the template the volume.
    for creating, kinds in (("CreateFleet", ("fleet", "instance")), ("RunInstances", ("instance", "volume"))):
        for kind in kinds:
            yield Need("ec2:CreateTags", f"{EC2}:{kind}/x-1", (("ec2:CreateAction", creating), TAG))
    yield Need(
        "iam:PassRole",
        f"arn:aws:iam::{ACCOUNT}:role/RunnerRole",
        (("iam:PassedToService", "ec2.amazonaws.com"),),
    )
    # An account that never used spot has no such role, an instant fleet needs no other.
    at = f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/spot.amazonaws.com/AWSServiceRoleForEC2Spot"
    yield Need("iam:CreateServiceLinkedRole", at, (("iam:AWSServiceName", "spot.amazonaws.com"),))


def _table(name: str) -> str:
    return f"arn:aws:dynamodb:{HERE}:table/{name}"


def missing(role: str, wanted: Iterable[Need], **parameters: str) -> set[Need]:
    held = rights(role, **parameters)
    return {need for need in wanted if not iam.allowed(held, need)}


def unused(role: str, wanted: Iterable[Need], **parameters: str) -> set[Right]:
    needed, held = list(wanted), rights(role, apart=True, **parameters)
    return {right for right in held if not any(right.allows(need) for need in needed)}


def as_json(found: Iterable[Need]) -> str:
    """For a person who mends the template: actions by resource."""
    by: dict[str, set[str]] = {}
    for need in found:
        by.setdefault(need.resource, set()).add(need.action)
    return json.dumps({at: sorted(actions) for at, actions in sorted(by.items())}, indent=1)
