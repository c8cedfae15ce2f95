"""docs/rights.md, made of the transformed template: python -m tests.fakes.rights_page renews it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tests.fakes import iam, rights
from tests.fakes.cloudformation import ACCOUNT
from tests.fakes.house import ROOT

PAGE = ROOT / "docs" / "rights.md"
HEAD = """# What each role may do

Made of `template.yaml` after SAM's own transform, by `python -m tests.fakes.rights_page`;
`tests/contract/test_roles.py` fails when it is no longer so. Every policy that the stack makes is here: those
of its roles, and those that let others in. Names are the template's logical ids, `STACK` is the stack's name,
and account and region in every ARN are the stack's own. `OnDemandFallback` is on. `…` is each hex digit: the
key of a job is a digest. Why: [decision 077](decisions/077-rights-by-row.md).
"""


def page() -> str:
    return "\n".join([HEAD, *_roles(), *_others()]) + "\n"


def _roles() -> Iterator[str]:
    for role in sorted(rights.resources("AWS::IAM::Role")):
        yield f"## {role}\n"
        for statement in rights.trust(role):
            who = ", ".join(iam.listed(statement["Principal"]["Service"]))
            yield f"Taken by {who}{_if(statement)}.\n"
        yield from _table(
            statement
            for document in rights.documents(role)
            for statement in rights.named(OnDemandFallback="true").value(dict(document))["Statement"]
        )
        yield ""


def _others() -> Iterator[str]:
    yield "## Whom others are let in by\n"
    yield "| on | who | may | if |\n|---|---|---|---|"
    for kind in ("AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy", "AWS::S3::BucketPolicy"):
        for properties in rights.resources(kind).values():
            for statement in rights.resolved(properties["PolicyDocument"])["Statement"]:
                who = statement["Principal"]
                name = "nobody" if statement["Effect"] == "Deny" else ", ".join(iam.listed(who["Service"]))
                yield f"| {_on(statement)} | {name} | {_acts(statement)} | {_if(statement, '')} |"
    for properties in rights.resources("AWS::Lambda::Permission").values():
        said = rights.resolved(properties)
        yield (
            f"| `{_short(said['FunctionName'])}` | {said['Principal']} | `{said['Action']}` "
            f"| `aws:SourceArn` is `{_short(said['SourceArn'])}` |"
        )


def _table(statements: Iterator[Mapping[str, Any]]) -> Iterator[str]:
    yield "| may | on | if |\n|---|---|---|"
    for statement in statements:
        yield f"| {_acts(statement)} | {_on(statement)} | {_if(statement, '')} |"


def _acts(statement: Mapping[str, Any]) -> str:
    return ", ".join(f"`{action}`" for action in iam.listed(statement["Action"]))


def _on(statement: Mapping[str, Any]) -> str:
    return ", ".join(f"`{_short(str(each))}`" for each in iam.listed(statement["Resource"]))


def _if(statement: Mapping[str, Any], lead: str = " if ") -> str:
    found = []
    for operator, keys in statement.get("Condition", {}).items():
        verb = "at most" if "LessThan" in operator else "is"
        absent = " (or is not told)" if operator.endswith("IfExists") else ""
        for key, told in keys.items():
            if operator == "Null":
                found.append(f"`{key}` is {'not ' if told == 'true' else ''}told")
                continue
            values = ", ".join(f"`{_short(str(value))}`" for value in _digits(iam.listed(told)))
            found.append(f"`{key}` {verb} {values}{absent}")
    return lead + "; ".join(found) if found else ""


def _digits(values: list[Any]) -> list[Any]:
    hexes = [f"{digit}*" for digit in "0123456789abcdef"]
    return ["…*", *values[16:]] if values[:16] == hexes else values


def _short(text: str) -> str:
    text = re.sub(rf"^arn:aws:(\w+):[\w-]*:(?:{ACCOUNT})?:", r"\1:", text)
    return text.replace(rights.STACK, "STACK").replace(ACCOUNT, "ACCOUNT")


if __name__ == "__main__":
    PAGE.write_text(page())
