"""What CloudFormation makes of the template: SAM's transform, conditions, functions, schemas."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from unittest.mock import patch

from cfnlint.helpers import AVAILABILITY_ZONES
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

from tests.fakes import house

ACCOUNT = "123456789012"
NO_VALUE = object()
OTHER_PARTITIONS = {"cn": "aws-cn", "us-gov": "aws-us-gov"}
# Partitions that only some customers of AWS may use.
ISOLATED = re.compile(r"us-iso|eu-isoe|eusc-")
SUFFIXES = {"aws-cn": "amazonaws.com.cn"}


def partition(region: str) -> str:
    return next((name for start, name in OTHER_PARTITIONS.items() if region.startswith(start)), "aws")


def regions() -> list[str]:
    """Every region of the three partitions that cfn-lint knows."""
    return [region for region in AVAILABILITY_ZONES if not ISOLATED.match(region)]


class _ManagedPolicies:
    def load(self) -> dict[str, str]:
        name = "AWSLambdaBasicExecutionRole"
        return {name: f"arn:aws:iam::aws:policy/service-role/{name}"}


@cache
def _transformed() -> dict[str, Any]:
    from samtranslator.translator.transform import transform

    source = copy.deepcopy(house.template())
    for name, resource in source["Resources"].items():
        properties = resource.get("Properties", {})
        for key in ("CodeUri", "ContentUri"):
            if key in properties:
                properties[key] = {"Bucket": "artifacts", "Key": f"{name}.zip"}
        if "DefinitionUri" in properties:
            properties.pop("DefinitionUri")
            properties["Definition"] = house.state_machine()
    with patch.dict(os.environ, AWS_DEFAULT_REGION="us-east-1"):
        made: dict[str, Any] = transform(source, {}, _ManagedPolicies())
    return made


def transformed() -> dict[str, Any]:
    """The template after SAM's own transform: what CloudFormation deploys."""
    return copy.deepcopy(_transformed())


@cache
def schema(kind: str) -> Mapping[str, Any]:
    """CloudFormation's schema of a resource type, as cfn-lint carries it."""
    found: Mapping[str, Any] = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema
    return found


def at(properties: Any, pointer: str) -> Iterator[Any]:
    """The values at a schema's path, as /properties/Budget/BudgetName."""
    found = [properties]
    for part in pointer.removeprefix("/properties/").split("/"):
        found = [
            child
            for node in found
            for child in (
                node if part == "*" and isinstance(node, list) else [node[part]] if _has(node, part) else []
            )
        ]
    yield from found


def _has(node: Any, part: str) -> bool:
    return isinstance(node, dict) and part in node


def mentions(node: Any) -> set[str]:
    """What a value refers to: parameters, resources, conditions (as `?Name`), pseudo parameters."""
    if isinstance(node, list):
        return set().union(*map(mentions, node))
    if not isinstance(node, dict):
        return set()
    found: set[str] = set()
    for name, argument in node.items():
        if name == "Ref":
            found.add(argument)
        elif name == "Condition" and isinstance(argument, str):
            found.add(f"?{argument}")
        elif name == "Fn::GetAtt":
            found.add((argument if isinstance(argument, list) else argument.split("."))[0])
        elif name == "Fn::Sub":
            text, values = (argument, {}) if isinstance(argument, str) else argument
            names = {part.split(".")[0] for part in re.findall(r"\$\{([^!}][^}]*)\}", text)}
            found |= (names - set(values)) | mentions(values)
        elif name == "Fn::If":
            found |= {f"?{argument[0]}"} | mentions(argument[1:])
        else:
            found |= mentions(argument)
    return found


@dataclass(frozen=True)
class Deployment:
    """The template as one account and region would see it."""

    stack: str = "arcspot"
    region: str = "us-east-1"
    parameters: Mapping[str, str] = field(default_factory=dict)
    zones: Sequence[str] | None = None
    """What Fn::GetAZs answers; the region's own zones unless told."""
    template: Mapping[str, Any] = field(default_factory=transformed)

    def holds(self, condition: Any) -> bool:
        """Whether a condition, by name or written out, is true here."""
        if isinstance(condition, str):
            return self.holds(self.template["Conditions"][condition])
        ((name, arguments),) = condition.items()
        if name == "Condition":
            return self.holds(arguments)
        if name == "Fn::Not":
            return not self.holds(arguments[0])
        if name in ("Fn::And", "Fn::Or"):
            assert 2 <= len(arguments) <= 10, "CloudFormation takes so many"
            return (all if name == "Fn::And" else any)(map(self.holds, arguments))
        assert name == "Fn::Equals", name
        left, right = map(self.value, arguments)
        return bool(left == right)

    def resources(self, kind: str) -> dict[str, Any]:
        """Logical id → resolved properties of what is really made of a type."""
        return {
            name: self.value(resource.get("Properties", {}))
            for name, resource in self.template["Resources"].items()
            if resource["Type"] == kind and ("Condition" not in resource or self.holds(resource["Condition"]))
        }

    def value(self, node: Any) -> Any:
        """A value with its functions worked out; a resource's own name stays `<LogicalId>`."""
        if isinstance(node, list):
            return [each for each in map(self.value, node) if each is not NO_VALUE]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((name, argument),) = node.items()
            if name == "Ref":
                return self._ref(argument)
            if name.startswith("Fn::"):
                return self._function(name, argument)
        worked = {name: self.value(each) for name, each in node.items()}
        return {name: each for name, each in worked.items() if each is not NO_VALUE}

    def _function(self, name: str, argument: Any) -> Any:
        if name == "Fn::If":
            return self.value(argument[1] if self.holds(argument[0]) else argument[2])
        if name == "Fn::GetAtt":
            return f"<{'.'.join(argument) if isinstance(argument, list) else argument}>"
        if name == "Fn::Sub":
            text, values = (argument, {}) if isinstance(argument, str) else argument
            inner = {key: self.value(each) for key, each in values.items()}
            return re.sub(
                r"\$\{(!?)([^}]+)\}",
                lambda m: f"${{{m[2]}}}" if m[1] else str(inner.get(m[2]) or self._ref(m[2])),
                text,
            )
        known = self.value(argument)
        if name == "Fn::Join":
            return known[0].join(map(str, known[1]))
        if name == "Fn::Split":
            return known[1].split(known[0])
        if name == "Fn::Select":
            return known[1][int(known[0])]
        if name == "Fn::Base64":
            return known
        assert name == "Fn::GetAZs", name
        return list(self.zones if self.zones is not None else AVAILABILITY_ZONES[self.region])

    def _ref(self, name: str) -> Any:
        pseudo = {
            "AWS::StackName": self.stack,
            "AWS::Region": self.region,
            "AWS::AccountId": ACCOUNT,
            "AWS::Partition": partition(self.region),
            "AWS::URLSuffix": SUFFIXES.get(partition(self.region), "amazonaws.com"),
            "AWS::NoValue": NO_VALUE,
        }
        if name in pseudo:
            return pseudo[name]
        parameter = self.template["Parameters"].get(name)
        if parameter is None:
            return f"<{name}>"
        told = str(self.parameters.get(name, parameter.get("Default", "")))
        return told.split(",") if parameter["Type"] == "CommaDelimitedList" else told
