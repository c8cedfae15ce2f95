"""How long a stack's name may be: CloudFormation takes 128 characters, what carries the name takes fewer."""

from __future__ import annotations

LONGEST_STACK_NAME = 52
"""What the narrowest name leaves: a schedule has 64 characters, and `clock-<stack>-sweep` is one."""


def too_long(stack: str) -> str | None:
    """Why a stack of this name cannot come up, or None."""
    if len(stack) <= LONGEST_STACK_NAME:
        return None
    return (
        f"{stack!r} has {len(stack)} characters, a stack's name may have {LONGEST_STACK_NAME}: functions, "
        "roles and schedules carry it with something more, and their names end at 64"
    )
