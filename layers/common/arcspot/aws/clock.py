"""EventBridge: the rule that calls scale, watchdog and report each minute, on or off."""

from __future__ import annotations

from typing import Protocol


class Rules(Protocol):
    """As much of EventBridge's client as is needed."""

    def enable_rule(self, *, Name: str) -> object: ...
    def disable_rule(self, *, Name: str) -> object: ...


class MinuteRule:
    """`ports.Clock` over one rule of the default bus. Both calls take its name alone and may be repeated.

    https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_EnableRule.html
    """

    def __init__(self, client: Rules, name: str) -> None:
        self._client = client
        self._name = name

    def wake(self) -> None:
        self._client.enable_rule(Name=self._name)

    def sleep(self) -> None:
        self._client.disable_rule(Name=self._name)
