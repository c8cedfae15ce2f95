"""Whatever a request holds, it leaves a short line in the log, a short answer, short rows, and no mail."""

from __future__ import annotations

import json
import logging
from dataclasses import fields
from typing import Any

import pytest

from arcspot.aws.codec import encode
from arcspot.services.asking import MOST_WORDS, shown
from tests.fakes.driving import Stack
from tests.fakes.house import handler_module
from tests.property.test_any_request import VERBS, changed, places, serving, valid

LONG: list[Any] = [
    "x" * 16_000, "\n" * 16_000, "\x1b[31m\x00\u202e" * 1_600, "🐉" * 4_000, '"\\' * 8_000,
    {"k" * 4_000: "v" * 16_000}, ["x" * 16_000] * 60, {str(n): "y" * 200 for n in range(60)},
]  # fmt: skip
LINE_BYTES = 2_000
"""Of what a handler adds to a line of the log."""
ROW_BYTES = 8_000
"""A summary of 4 KiB is the most that a runner leaves in a row."""


class Heard(logging.Handler):
    """All that a call says, by the handler's own logger and by the services'."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def __getattr__(self, level: str) -> Any:
        if level not in ("debug", "info", "warning", "error", "exception"):
            raise AttributeError(level)
        return lambda text, extra: self.lines.append(json.dumps([text, extra], ensure_ascii=False))


def call(stack: Stack, event: Any) -> tuple[dict[str, Any], list[str]]:
    """The handler's answer to a request, and the lines it put into the log."""
    app, heard = handler_module("runner_api"), Heard()
    app.logger = heard  # type: ignore[attr-defined]
    app.from_environment = lambda: (stack.settings, stack.ports)  # type: ignore[attr-defined]
    root = logging.getLogger("arcspot")
    root.addHandler(heard)
    try:
        return app.handler.__wrapped__(event, None), heard.lines
    finally:
        root.removeHandler(heard)


def size(value: Any) -> int:
    return len(json.dumps(encode(value), default=str).encode())


@pytest.mark.parametrize("verb", [*VERBS, "hello", "ping", "no such verb"])
def test_a_long_value_in_any_place_leaves_nothing_long(verb: str) -> None:
    stack, runner, lease = serving()
    known = valid(runner, lease)
    whole = known.get(verb, {**known["claim"], "verb": verb})
    for path in places(whole):
        stack, runner, lease = serving()
        for long in LONG:
            answer, lines = call(stack, changed(whole, path, lambda _, long=long: long))  # type: ignore[misc]
            for line in lines:
                assert len(line.encode()) < LINE_BYTES, (path, line[:300])
                assert line.isprintable(), (path, line[:300])
            if not answer["ok"]:
                assert len(answer["message"].encode()) < LINE_BYTES
        assert stack.world.mail.sent == []
        assert all(size(row) < ROW_BYTES for row in stack.world.store.rows.values()), path
        for event in stack.world.store.events:
            assert sum(len(str(getattr(event, field.name)).encode()) for field in fields(event)) < LINE_BYTES


def test_a_long_name_in_any_object_leaves_nothing_long() -> None:
    stack, runner, lease = serving()
    for verb, whole in valid(runner, lease).items():
        for long in ("k" * 16_000, "\n" * 16_000, "🐉" * 4_000):
            for at in ({**whole, long: 1}, {**whole, "files": {long: {}}}, {**whole, "host": {long: long}}):
                stack, _, _ = serving()
                _, lines = call(stack, at)
                assert all(len(line.encode()) < LINE_BYTES and line.isprintable() for line in lines), verb
                assert all(size(row) < ROW_BYTES for row in stack.world.store.rows.values()), verb


def test_what_is_shown_of_anything_is_a_short_line_of_ascii() -> None:
    for value in (*LONG, "\ud800" * 100, None, 7, "ordinary words"):
        for most in (80, MOST_WORDS):
            found = shown(value, most)
            assert found.isascii()
            assert found.isprintable()
            assert len(found) <= 10 * most
    assert shown("ordinary words") == "ordinary words"
