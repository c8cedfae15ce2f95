"""EC2's codes: what each asks of us, what several add up to, and what happens then."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcspot.domain.launching import Breaker, LaunchState, refusal
from arcspot.domain.refusals import ERROR, MILDEST, TABLE, Asks, asks_of, row_of, verdict
from arcspot.errors import (
    LaunchMisconfigured,
    LaunchPostponed,
    LaunchRefused,
    LaunchThrottled,
    LaunchUnknown,
    NoCapacity,
    QuotaExceeded,
)
from tests.fakes.driving import GOOD_TASK, Stack
from tests.fakes.memory import START

INVENTED = ("QuantumEntanglementRequired", "Client.NewIn2027", "Server.NewIn2027", "", "Unknown")
# Codes of an answer, listed and not, each for one zone.
codes = st.lists(st.sampled_from([row.code.replace("*", "X") for row in TABLE] + [*INVENTED]), max_size=6)
HARDER = [ERROR[kind] for kind in MILDEST]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("InsufficientInstanceCapacity", NoCapacity),
        ("Server.InsufficientInstanceCapacity", NoCapacity),
        ("InsufficientReservedInstanceCapacity", NoCapacity),
        ("InsufficientFreeAddressesInSubnet", NoCapacity),
        ("InsufficientAddressCapacity", NoCapacity),
        ("UnfulfillableCapacity", NoCapacity),
        ("SpotMaxPriceTooLow", NoCapacity),
        ("VcpuLimitExceeded", QuotaExceeded),
        ("Client.MaxSpotInstanceCountExceeded", QuotaExceeded),
        ("RequestLimitExceeded", LaunchThrottled),
        ("Client.RequestLimitExceeded", LaunchThrottled),
        ("Throttling", LaunchThrottled),
        ("EC2ThrottledException", LaunchThrottled),
        ("InternalError", LaunchUnknown),
        ("Server.InternalError", LaunchUnknown),
        ("Unavailable", LaunchUnknown),
        ("ServiceUnavailable", LaunchUnknown),
        ("503", LaunchUnknown),
        ("IdempotentParameterMismatch", LaunchUnknown),
        ("IdempotentInstanceTerminated", LaunchUnknown),
        ("PriorRequestNotComplete", LaunchUnknown),
        ("RequestTimeout", LaunchUnknown),
        ("PendingVerification", LaunchPostponed),
        ("ResourceLimitExceeded", LaunchPostponed),
        ("OptInRequired", LaunchPostponed),
        ("Blocked", LaunchPostponed),
        ("AuthFailure", LaunchPostponed),
        ("Unsupported", LaunchPostponed),
        ("InvalidFleetConfiguration", LaunchPostponed),
        ("InvalidSubnetID.NotFound", LaunchPostponed),
        ("InvalidParameterValue", LaunchPostponed),
        ("InvalidParameterCombination", LaunchPostponed),
        ("MaxFleetCountExceeded", LaunchPostponed),
        *((code, LaunchPostponed) for code in INVENTED),
        ("UnauthorizedOperation", LaunchMisconfigured),
        ("Client.UnauthorizedOperation", LaunchMisconfigured),
        ("AuthFailure.ServiceLinkedRoleCreationNotPermitted", LaunchMisconfigured),
        ("InvalidAMIID.NotFound", LaunchMisconfigured),
        ("InvalidAMIID.Unavailable", LaunchMisconfigured),
        ("InvalidLaunchTemplateId.NotFound", LaunchMisconfigured),
        ("InvalidLaunchTemplateName.NotFoundException", LaunchMisconfigured),
    ],
)
def test_each_code_is_one_of_our_errors(code: str, error: type[LaunchRefused]) -> None:
    found = refusal({code: "EC2's words"})
    assert type(found) is error
    assert "EC2's words" in str(found)


def test_each_row_of_the_table_has_a_source_and_decides_its_own_code() -> None:
    for row in TABLE:
        assert row.source.startswith("https://")
        assert asks_of(row.code.replace("*", "X")) is row.asks
    assert len({row.code for row in TABLE}) == len(TABLE)


@given(st.text(max_size=30), st.integers(400, 499))
def test_no_code_nobody_knows_asks_for_a_person_or_counts_as_proof(code: str, status: int) -> None:
    if row_of(code) is None:
        found = refusal([(code, "")], status=status)
        assert (type(found), found.certain) == (LaunchPostponed, False)
        assert refusal([(code, "")], answered=True).certain, "EC2 answered, and started nothing"
        assert type(refusal([(code, "")], status=500)) is LaunchUnknown


def test_capacity_that_lacks_with_a_server_errors_status_is_capacity_all_the_same() -> None:
    """EC2 lists InsufficientInstanceCapacity among its server errors: HTTP 500."""
    assert type(refusal({"InsufficientInstanceCapacity": ""}, status=500)) is NoCapacity
    assert type(refusal({"RequestLimitExceeded": ""}, status=503)) is LaunchThrottled


@pytest.mark.parametrize(
    "fact",
    ["InvalidFleetConfiguration", "Unsupported", "InvalidSubnetID.NotFound", "PendingVerification",
     "ResourceLimitExceeded", "InvalidAMIID.NotFound", "UnauthorizedOperation", "NobodyKnowsThis",
     "InvalidParameterValue", "RequestLimitExceeded"],
)  # fmt: skip
def test_a_fact_of_one_zone_never_outvotes_capacity(fact: str) -> None:
    assert type(refusal({"InsufficientInstanceCapacity": "", fact: ""})) is NoCapacity


@given(codes, st.sampled_from([row for row in TABLE if row.asks in MILDEST]))
def test_one_more_zones_error_never_makes_the_verdict_worse(known: list[str], more: object) -> None:
    code = more.code.replace("*", "X")  # type: ignore[attr-defined]
    if not known:
        return
    before = type(refusal([(c, "") for c in known]))
    after = type(refusal([(c, "") for c in [*known, code]]))
    if before in HARDER:
        assert HARDER.index(after) <= HARDER.index(before)
    else:
        assert after is before, "what is true of the account stays true"


@given(codes, st.randoms())
def test_the_order_of_the_zones_changes_nothing(known: list[str], rng: object) -> None:
    said = [(code, str(n)) for n, code in enumerate(known)]
    shuffled = list(said)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = refusal(said), refusal(shuffled)
    assert (type(one), str(one), one.codes, one.certain) == (
        type(other), str(other), other.codes, other.certain,
    )  # fmt: skip


@given(codes)
def test_only_if_every_zone_needs_a_person_one_is_waited_for(known: list[str]) -> None:
    found = refusal([(code, "") for code in known])
    waits = Breaker().tripped(found, now=START).until_resumed
    assert waits == (bool(known) and all(asks_of(code) is Asks.PERSON for code in known))


def test_nothing_said_is_no_proof() -> None:
    assert verdict([]) is Asks.LOOK
    assert type(refusal([])) is LaunchUnknown


def test_two_zones_that_say_the_same_code_are_both_quoted() -> None:
    text = str(refusal([("Unsupported", "zone a"), ("Unsupported", "zone b")]))
    assert "zone a" in text
    assert "zone b" in text


# What happens then ---------------------------------------------------------------------------------------


def reserved() -> tuple[Stack, str]:
    stack = Stack()
    stack.drop("tasks/b/one.json", GOOD_TASK)
    (launch_id,) = stack.scale()
    return stack, launch_id


def refuse(stack: Stack, launch_id: str, refused: LaunchRefused) -> None:
    stack.world.ec2.refusals = [refused]
    with pytest.raises(type(refused)):
        stack.launch(launch_id)


@pytest.mark.parametrize("code", ["PendingVerification", "ResourceLimitExceeded", "NobodyKnowsThis"])
def test_the_pauses_grow_to_an_hour_and_a_person_has_one_mail_with_ec2s_words(code: str) -> None:
    stack, launch_id = reserved()
    waited = []
    for _ in range(8):
        refuse(stack, launch_id, refusal([(code, "wait for our mail")]))
        until = stack.world.store.breaker().open_until
        assert until is not None
        waited.append(until - stack.world.now)
        stack.world.wait((until - stack.world.now).total_seconds() - 1)
        stack.watch()
        assert stack.scale() == []
        stack.world.wait(1)
        started = stack.scale()
        while not started:  # the money of an unproven refusal is held for 15 minutes
            stack.world.wait(60)
            stack.watch()
            started = stack.scale()
        (launch_id,) = started
    assert waited == sorted(waited)
    assert waited[-1] == waited[-2] == timedelta(hours=1)
    ((subject, body),) = stack.world.mail.sent
    assert "tried again" in subject
    assert f"{code}: wait for our mail" in body
    assert "arcspot resume" in body
    stack.launch(launch_id)
    assert stack.world.store.breaker().told == ()


def test_another_code_is_another_mail_and_coming_and_going_is_none() -> None:
    stack, launch_id = reserved()
    for code in (
        "PendingVerification",
        "InsufficientInstanceCapacity",
        "PendingVerification",
        "OptInRequired",
    ):
        refuse(stack, launch_id, refusal({code: "x"}))
        stack.world.wait(3600)
        (launch_id,) = stack.scale()
    assert [body.split(":")[1].strip() for _, body in stack.world.mail.sent] == [
        "PendingVerification", "OptInRequired",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "quota"), [("MaxSpotInstanceCountExceeded", "L-3819A6DF"), ("VcpuLimitExceeded", "L-DB2E81BA")]
)
def test_a_quota_mail_names_the_quota_that_was_too_small(code: str, quota: str) -> None:
    stack, launch_id = reserved()
    refuse(stack, launch_id, refusal({code: "x"}))
    assert quota in stack.world.mail.sent[-1][1]


def test_no_answer_for_the_third_time_is_worth_a_mail() -> None:
    stack, launch_id = reserved()
    for n in range(5):
        refuse(stack, launch_id, LaunchUnknown("timeout"))
        stack.world.wait(16 * 60)
        stack.watch()
        (launch_id,) = stack.scale()
        assert len(stack.world.mail.sent) == (n >= 2)


@pytest.mark.parametrize(
    "refused",
    [
        refusal({"IdempotentParameterMismatch": "the first call's instance may live"}),
        refusal({"InternalError": ""}),
        refusal({"NobodyKnowsThis": ""}),
        refusal({"PendingVerification": ""}, repeated=True),
    ],
    ids=lambda refused: f"{refused.codes} {type(refused).__name__}",
)
def test_what_proves_nothing_keeps_the_money_and_a_living_instance_is_found(refused: LaunchRefused) -> None:
    stack, launch_id = reserved()
    stack.world.ec2.started_behind_a_silence = True
    refuse(stack, launch_id, refused)
    assert stack.books[2] == stack.settings.reserve
    stack.world.wait(60)
    stack.watch()
    row = stack.world.store.launch(launch_id)
    assert row is not None
    assert (row.state, row.instance_id, row.reason) == (LaunchState.LAUNCHED, "i-0000", "")
    assert stack.world.ec2.terminated == []


def test_a_second_calls_refusal_says_nothing_of_the_first_call() -> None:
    """The function died after EC2 had heard it; then the budget's deny policy was attached."""
    stack, launch_id = reserved()
    ec2 = stack.world.ec2
    ec2.refusals, ec2.started_behind_a_silence = [LaunchUnknown("died")], True
    with pytest.raises(LaunchUnknown):
        stack.launch(launch_id)
    ec2.tokens.clear()  # authorisation comes before the token is looked at
    refuse(stack, launch_id, refusal({"UnauthorizedOperation": "with an explicit deny"}))
    assert stack.books[2] == stack.settings.reserve, "the first call's instance is alive"
    stack.world.wait(60)
    stack.watch()
    row = stack.world.store.launch(launch_id)
    assert row is not None
    assert row.instance_id == "i-0000"


def test_an_answer_for_the_launchs_token_is_proof_even_after_another_call() -> None:
    """Throttled first, asked again with the same token, and then answered: no capacity."""
    stack, launch_id = reserved()
    refuse(stack, launch_id, LaunchThrottled("slow down"))
    refuse(stack, launch_id, refusal({"InsufficientInstanceCapacity": ""}, answered=True))
    assert stack.books[2] == 0


def test_a_launch_whose_refusal_is_unproven_is_not_waited_for_as_if_it_booted() -> None:
    stack, launch_id = reserved()
    refuse(stack, launch_id, refusal({"NobodyKnowsThis": ""}))
    assert stack.scale() == []
    fleet = stack.world.store.fleet()
    assert fleet is not None
    assert fleet.waits_for == "refused"
    stack.world.wait(15 * 60)
    stack.watch()
    assert stack.books[2] == 0
    assert len(stack.scale()) == 1
