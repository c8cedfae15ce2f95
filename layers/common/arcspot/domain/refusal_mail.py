"""What a person is told when EC2 refuses: its words, what happens next, and what to do."""

from __future__ import annotations

from arcspot.domain import edges
from arcspot.domain.launching import Breaker
from arcspot.domain.quotas import LINK, ON_DEMAND, QUOTA_OF, SPOT, VCPU_QUOTA_CODES
from arcspot.errors import LaunchMisconfigured, LaunchRefused, LaunchUnknown, QuotaExceeded

AT_ONCE = "`arcspot resume` tries at once. Jobs wait; nothing is lost."


def refusal_mail(refused: LaunchRefused, breaker: Breaker, *, market: str) -> tuple[str, str]:
    """Subject and body. `breaker` is the one after this refusal; `market` is what was asked for."""
    subject, what = _said(refused, market)
    again = f"{breaker.open_until:%Y-%m-%d %H:%M} UTC" if breaker.open_until else "the next minute"
    return subject, f"EC2 says: {edges.line(refused)}\n\n{what}\nThe next try is at {again}; {AT_ONCE}\n"


def _said(refused: LaunchRefused, market: str) -> tuple[str, str]:
    if isinstance(refused, QuotaExceeded):
        named = next((VCPU_QUOTA_CODES[code] for code in refused.codes if code in VCPU_QUOTA_CODES), None)
        quota = named or QUOTA_OF.get(market, SPOT)
        kind = "on-demand" if quota == ON_DEMAND else "spot"
        return (
            "arcspot: the vCPU quota for GPU instances is too small",
            f"This is the {kind} quota {quota}. Ask for more vCPUs: {LINK.format(quota=quota)}\n"
            "It is tried again every 30 minutes; this mail is not repeated.",
        )
    if isinstance(refused, LaunchMisconfigured):
        return (
            "arcspot: launching fails until a person mends it",
            "The image, the launch template or a permission is wrong, or launching is denied "
            "(AWS Budgets does that when the account's budget is spent).\n"
            "It is tried once a day all the same; this mail is not repeated.",
        )
    if isinstance(refused, LaunchUnknown):
        return (
            "arcspot: EC2 gives no clear answer; it is tried again by itself",
            "This was the third time. An instance may have started: its money is held for 15 minutes, and "
            "the watchdog looks for it.\nThis mail is not repeated.",
        )
    return (
        "arcspot: EC2 does not launch; it is tried again by itself",
        "This may pass by itself: a new account is verified within hours, for example. "
        "If EC2's words ask something of you, do that.\n"
        "The pauses between tries grow to an hour at most; this mail is not repeated.",
    )
