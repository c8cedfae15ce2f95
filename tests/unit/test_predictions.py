"""Answers are read strictly: whatever the bytes are, there are attempts or one named error."""

from __future__ import annotations

import contextlib
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcspot.domain import predictions, scoring, tasks
from arcspot.domain.predictions import parse_prediction, read_prediction
from arcspot.errors import AnswerRefused

GRID = [[1, 2], [3, 4]]
GOOD = [{"attempt_1": GRID, "attempt_2": [[0]]}]


def with_grid(grid: Any) -> Any:
    return [{"attempt_1": grid, "attempt_2": [[0]]}]


# What was found, with what the refusal says of it.
BAD: dict[str, tuple[Any, str]] = {
    "one attempt": ([{"attempt_1": [[0]]}], r"\$\[0\].attempt_2 expected a grid.*found nothing"),
    "no answer": ([], r"a list of 1 to 100 objects.*found a list of 0"),
    "an object": ({"attempt_1": [[0]], "attempt_2": [[0]]}, "found an object"),
    "null": (None, "found null"),
    "a number": (7, "found 7"),
    "a list of lists": ([[[0]]], r"\$\[0\] expected an object"),
    "a hundred and one": (GOOD * 101, "found a list of 101"),
    "a third attempt": ([{**GOOD[0], "attempt_3": [[0]]}], "two attempts at most"),
    "no rows": (with_grid([]), "a list of 1 to 30 rows"),
    "31 rows": (with_grid([[0]] * 31), "found a list of 31"),
    "31 cells": (with_grid([[0] * 31]), "1 to 30 colours"),
    "no cells": (with_grid([[]]), "1 to 30 colours"),
    "rows that differ": (with_grid([[1, 2], [3]]), "as long as the first, 2"),
    "a row that is none": (with_grid([[1], "x"]), r"attempt_1\[1\] expected a row"),
    "a text for a cell": (with_grid([["1"]]), 'found the text "1"'),
    "true for a cell": (with_grid([[True]]), "found true"),
    "1.0 for a cell": (with_grid([[1.0]]), "found 1.0"),
    "ten": (with_grid([[10]]), "found 10"),
    "less than nothing": (with_grid([[-1]]), "found -1"),
    "huge": (with_grid([[10**300]]), "a huge number"),
    "infinite": (with_grid([[1e999]]), "no NaN and no Infinity|huge"),
    "an object for a row": (with_grid([{"0": 1}]), "found an object"),
    "a text for a grid": (with_grid("[[0]]"), "found the text"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_answer_is_told_with_its_place(name: str) -> None:
    answer, words = BAD[name]
    with pytest.raises(AnswerRefused, match=words):
        read_prediction(answer)
    with pytest.raises(AnswerRefused, match=words):
        parse_prediction(json.dumps(answer).encode())


BAD_BYTES = {
    "nothing": (b"", "an empty file"),
    "not JSON": (b"<Error>", "stops at line 1, column 1"),
    "cut short": (json.dumps(GOOD).encode()[:-3], "stops at line 1"),
    "not UTF-8": (b'[{"attempt_1": "\xff"}]', "text in UTF-8"),
    "NaN": (b'[{"attempt_1": [[NaN]], "attempt_2": [[0]]}]', "found NaN"),
    "a key twice": (b'[{"attempt_1": [[0]], "attempt_1": [[1]], "attempt_2": [[0]]}]', "each key once"),
    "depth": (b"[" * 500_000, "levels of nesting"),
    "digits": (b"[" + b"9" * 100_000 + b"]", "thousands of digits"),
    "too much": (b" " * (60 << 20), "at most 1,048,576 bytes; found 62,914,560"),
}


@pytest.mark.parametrize("name", BAD_BYTES)
def test_bad_bytes_are_one_named_error(name: str) -> None:
    body, words = BAD_BYTES[name]
    with pytest.raises(AnswerRefused, match=words):
        parse_prediction(body)


def test_how_many_test_inputs_there_are_is_held_against_the_task() -> None:
    assert read_prediction(GOOD * 2, tests=2) == parse_prediction(json.dumps(GOOD * 2).encode(), tests=2)
    with pytest.raises(AnswerRefused, match="each of 2 test input"):
        read_prediction(GOOD, tests=2)


def test_the_largest_answer_of_the_runner_is_within_the_limit() -> None:
    grid = [[9] * tasks.MAX_SIDE] * tasks.MAX_SIDE
    body = json.dumps([{"attempt_1": grid, "attempt_2": grid}] * tasks.MAX_PAIRS).encode()
    assert len(body) < 0.6 * predictions.MAX_PREDICTION_BYTES
    assert len(parse_prediction(body, tests=tasks.MAX_PAIRS)) == tasks.MAX_PAIRS


@pytest.mark.parametrize("piece", [b"[],", b'{"a":0},', b"1,", b'"",'])
def test_hostile_bytes_at_the_limit_take_little_memory(piece: bytes) -> None:
    body = b"[" + piece * ((predictions.MAX_PREDICTION_BYTES - 8) // len(piece)) + b"0]"
    tracemalloc.start()
    try:
        with pytest.raises(AnswerRefused):
            parse_prediction(body)
        assert tracemalloc.get_traced_memory()[1] < 100 * 2**20
    finally:
        tracemalloc.stop()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["attempt_1", "attempt_2", "attempt_3", "x"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(json_values)
def test_whatever_is_read_there_are_attempts_or_the_one_error(value: Any) -> None:
    words, attempts = "", tuple[scoring.Attempts, ...]()
    try:
        attempts = read_prediction(value)
    except AnswerRefused as refused:
        words = str(refused)
    assert bool(words) != bool(attempts)
    assert len(words) < 300
    assert not words or ("expected" in words and "found" in words)
    assert not attempts or read_prediction(scoring.write_prediction(attempts)) == attempts


@given(st.binary(max_size=200))
def test_whatever_the_bytes_are_there_is_nothing_but_the_one_error(body: bytes) -> None:
    with contextlib.suppress(AnswerRefused):
        parse_prediction(body)
