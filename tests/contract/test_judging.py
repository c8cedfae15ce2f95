"""The judge of the other tests: conditions, wildcards and lists are read as IAM reads them.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes import iam
from tests.fakes.iam import Need, Right

OF_A_TYPE = (("StringEquals", "ec2:InstanceType", ("x",)),)
A, B = ("k", "a"), ("k", "b")


@pytest.mark.parametrize(
    ("operator", "values", "context", "true"),
    [
        ("StringEquals", ("a",), (A,), True),
        ("StringEquals", ("a", "b"), (B,), True),
        ("StringEquals", ("a",), (("k", "A"),), False),
        ("StringEquals", ("a*",), (("k", "ab"),), False),
        ("StringEquals", ("a",), (), False),
        ("StringEqualsIfExists", ("a",), (), True),
        ("StringEqualsIfExists", ("a",), (B,), False),
        ("StringLike", ("a*",), (("k", "ab"),), True),
        ("StringLike", ("a?",), (("k", "abc"),), False),
        ("StringLike", ("a[b]",), (("k", "ab"),), False),
        ("ArnEquals", ("arn:aws:s3:*:*:b",), (("k", "arn:aws:s3:::b"),), True),
        ("ArnLike", ("arn:aws:x:r:1:a/*",), (("k", "arn:aws:x:r:2:a/b"),), False),
        # A wildcard does not reach over a colon.
        ("ArnLike", ("arn:aws:x:*:a/b",), (("k", "arn:aws:x:r:1:a/b"),), False),
        ("Bool", ("true",), (("k", "True"),), True),
        ("Bool", ("true",), (("k", "false"),), False),
        ("NumericLessThanEquals", ("500",), (("k", "500"),), True),
        ("NumericLessThanEquals", ("500",), (("k", "1000"),), False),
        ("NumericLessThanEqualsIfExists", ("500",), (), True),
        ("Null", ("false",), (), False),
        ("Null", ("true",), (), True),
        ("ForAllValues:StringLike", ("a*", "b*"), (A, B), True),
        ("ForAllValues:StringLike", ("a*",), (A, B), False),
        ("ForAllValues:StringLike", ("a*",), (), True),
    ],
)
def test_a_condition_is_read_as_iam_reads_it(
    operator: str, values: tuple[str, ...], context: tuple[tuple[str, str], ...], true: bool
) -> None:
    assert iam.holds(operator, "k", values, context) is true
    assert iam.holds(operator, "K", values, context) is true, "names of keys know no case"


@pytest.mark.parametrize(
    ("right", "need", "allowed"),
    [
        (Right("s3:GetObject", "b/tasks/*"), Need("s3:GetObject", "b/tasks/a/b"), True),
        (Right("s3:GetObject", "b/tasks/*"), Need("s3:getobject", "b/tasks/a"), True),
        (Right("s3:GetObject", "b/tasks/*"), Need("s3:GetObject", "b/results/a"), False),
        (Right("s3:GetObject", "*"), Need("s3:GetObjectVersion", "x"), False),
        (Right("s3:*", "*"), Need("s3:GetObject", "x"), True),
        (Right("a:b", "x", (("Bool", "k", ("true",)), ("Null", "l", ("true",)))), Need("a:b", "x"), False),
    ],
)
def test_a_right_is_read_as_iam_reads_it(right: Right, need: Need, allowed: bool) -> None:
    assert right.allows(need) is allowed


def test_an_unknown_operator_is_no_silent_yes() -> None:
    with pytest.raises(AssertionError, match="not understood here: DateLessThan"):
        iam.holds("DateLessThan", "k", ("1",), (A,))


def test_a_statement_with_lists_is_as_many_rights() -> None:
    said: dict[str, Any] = {"Effect": "Allow", "Action": ["a:b", "a:c"], "Resource": ["x", "y"]}
    document = {"Statement": [said | {"Condition": {"StringEquals": {"k": ["1", "2"]}}}]}
    assert len(set(iam.rights_in(document))) == 4
    assert len(set(iam.rights_in(document, apart=True))) == 8
    assert set(iam.rights_in(document, effect="Deny")) == set()


@pytest.mark.parametrize(
    ("right", "said"),
    [
        (Right("ec2:RunInstance", "*"), "no such action"),
        (Right("ec2:TerminateInstances", "arn:aws:ec2:r:1:volume/*"), "knows no such resource"),
        (Right("ec2:RunInstances", "arn:aws:ec2:r:1:volume/*", OF_A_TYPE), "has no ec2:InstanceType"),
    ],
)
def test_what_aws_does_not_know_is_named(right: Right, said: str) -> None:
    (fault,) = iam.faults(right)
    assert said in fault
