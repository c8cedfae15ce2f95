"""IAM's judgement, as far as this stack's policies go: one action on one resource with what the request says.

Operators and their suffixes:
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
Which resources and condition keys an action knows: the service authorization reference, as cfn-lint has it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

Conditions = tuple[tuple[str, str, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class Need:
    """One right on one resource, and what the request says beside it. A key may come more than once."""

    action: str
    resource: str
    context: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Right:
    """One action on one resource pattern, as a statement allows it."""

    action: str
    resource: str
    conditions: Conditions = ()

    def allows(self, need: Need) -> bool:
        return (
            _like(need.action.lower(), self.action.lower())
            and _like(need.resource, self.resource)
            and all(holds(*condition, need.context) for condition in self.conditions)
        )


def holds(operator: str, key: str, values: tuple[str, ...], context: Iterable[tuple[str, str]]) -> bool:
    """Whether one condition is true of a request."""
    # Names of keys know no case, except what follows the slash of a tag.
    told = [value for name, value in context if name.lower() == key.lower()]
    quantifier, _, plain = operator.rpartition(":")
    bare = plain.removesuffix("IfExists")
    if bare == "Null":
        return (not told) == (values == ("true",))
    if not told:
        # Every one of none is in order: ForAllValues asks nothing of a request without the key.
        return plain.endswith("IfExists") or quantifier == "ForAllValues"
    assert quantifier in ("", "ForAllValues"), operator
    assert quantifier or len(told) == 1, f"{key} has several values: {operator} needs a quantifier"
    return all(any(_compare(bare, each, value) for value in values) for each in told)


def _compare(operator: str, told: str, value: str) -> bool:
    match operator:
        case "StringEquals":
            return told == value
        case "Bool":
            return told.lower() == value.lower()
        case "StringLike":
            return _like(told, value)
        case "ArnEquals" | "ArnLike":  # they are the same; each of the six parts for itself
            ours, theirs = value.split(":", 5), told.split(":", 5)
            return len(ours) == len(theirs) and all(map(_like, theirs, ours))
        case "NumericLessThanEquals":
            return float(told) <= float(value)
    raise AssertionError(f"a condition operator that is not understood here: {operator}")


def _like(told: str, pattern: str) -> bool:
    """`*` and `?`; all else means itself."""
    shape = "".join({"*": ".*", "?": "."}.get(each, re.escape(each)) for each in pattern)
    return re.fullmatch(shape, told, re.DOTALL) is not None


def allowed(held: Iterable[Right], need: Need) -> bool:
    return any(right.allows(need) for right in held)


def rights_in(document: Mapping[str, Any], *, effect: str = "Allow", apart: bool = False) -> Iterator[Right]:
    """What a policy document, its functions worked out, allows.

    `apart`: with one value of each condition at a time, to find one that nobody needs.
    """
    for statement in document["Statement"]:
        if statement["Effect"] != effect:
            continue
        assert not {"NotAction", "NotResource", "NotPrincipal"} & set(statement), statement
        for conditions in _conditions(statement.get("Condition", {}), apart=apart):
            for action in listed(statement["Action"]):
                for resource in listed(statement.get("Resource", "")):
                    yield Right(action, str(resource), conditions)


def _conditions(said: Mapping[str, Mapping[str, Any]], *, apart: bool) -> Iterator[Conditions]:
    found: list[Conditions] = [()]
    for operator, keys in said.items():
        for key, told in keys.items():
            values = tuple(map(str, listed(told)))
            choices = [(value,) for value in values] if apart else [values]
            found = [(*sofar, (operator, key, some)) for sofar in found for some in choices]
    yield from found


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


# ---- the service authorization reference


@cache
def _reference() -> Mapping[str, Any]:
    where = resources.files("cfnlint.data.AdditionalSpecs") / "Policies.json"
    found: Mapping[str, Any] = json.loads(where.read_text())
    return found


def faults(right: Right) -> list[str]:
    """What of a right AWS does not know: the action, a resource for it, or a condition key of the two."""
    service, _, name = right.action.partition(":")
    known = _reference().get(service, {})
    action = known.get("Actions", {}).get(name.lower())
    if action is None:
        return [f"no such action: {right.action}"]
    kinds = [
        kind
        for kind in action.get("Resources", ())
        if _is_of(right.resource, known["Resources"].get(kind, {}))
    ]
    if right.resource != "*" and not kinds:
        return [f"{right.action} knows no such resource: {right.resource}"]
    keys = {key for kind in kinds for key in known["Resources"].get(kind, {}).get("ConditionKeys", ())}
    return [
        f"{right.action} on {right.resource} has no {key}"
        for _, key, _ in right.conditions
        if key.startswith("ec2:") and key != "ec2:CreateAction" and _family(key) not in map(_family, keys)
    ]


def _family(key: str) -> str:
    return key.partition("/")[0]


def _is_of(resource: str, kind: Mapping[str, Any]) -> bool:
    # Of some kinds cfn-lint knows no ARN.
    return any(_overlap(resource, shape) for shape in kind.get("ARNFormats", (resource,)))


def _overlap(resource: str, shape: str) -> bool:
    """Whether a pattern of ours is of a kind of ARN, as `arn:${Partition}:ec2:${Region}:…:fleet/.*`."""
    regex = "".join(
        part if part == ".*" else ".*" if part.startswith("${") else re.escape(part)
        for part in re.split(r"(\$\{\w+\}|\.\*)", shape)
    )
    return re.fullmatch(regex, resource) is not None
