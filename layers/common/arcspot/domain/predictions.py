"""Read answers: what a ``prediction.json`` may hold, and in which words it is refused.

An answer comes from a solver, which may be anybody's program, and lies in a bucket to which others may write.
Whatever its bytes are, reading one gives the attempts or raises `AnswerRefused`, and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from arcspot.domain.tasks import A_COLOUR, A_GRID, A_ROW, MAX_COLOUR, MAX_PAIRS, MAX_SIDE, Grid
from arcspot.errors import AnswerRefused

Attempts = tuple[Grid, Grid]
"""Two answers to one test input, the better-liked first."""

MAX_PREDICTION_BYTES = 1024 * 1024
"""Two attempts of 30 x 30 cells for each of 100 test inputs take 550,000 bytes as the runner writes them.
A megabyte of hostile JSON is read within a second and 100 MB; 60 of them took 1,175 MiB."""

ATTEMPTS = ("attempt_1", "attempt_2")
AN_ANSWER = f'a list of 1 to {MAX_PAIRS} objects with "attempt_1" and "attempt_2"'
TWO_ATTEMPTS = 'an object with "attempt_1" and "attempt_2"'


def size_refusal(size_bytes: int) -> str:
    """Why a prediction of this size is not read, "" where it is; callers may ask before they download."""
    if size_bytes == 0:
        return f"expected {AN_ANSWER}; found an empty file"
    if size_bytes > MAX_PREDICTION_BYTES:
        return f"expected at most {MAX_PREDICTION_BYTES:,} bytes; found {size_bytes:,}"
    return ""


def parse_prediction(body: bytes, *, tests: int | None = None) -> tuple[Attempts, ...]:
    """The attempts in the bytes of a ``prediction.json``, one pair per test input.

    ``tests`` is how many test inputs the task has, None where that is not known. Raises AnswerRefused.
    """
    if refusal := size_refusal(len(body)):
        raise AnswerRefused(refusal)
    try:
        document = json.loads(body.decode("utf-8-sig"), parse_constant=_constant, object_pairs_hook=_once)
    except UnicodeDecodeError as error:
        raise AnswerRefused(f"expected text in UTF-8; found other bytes at {error.start:,}") from None
    except json.JSONDecodeError as error:
        raise AnswerRefused(f"expected JSON; it stops at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise AnswerRefused("expected four levels of nesting; found hundreds") from None
    except ValueError:  # int() refuses thousands of digits (CVE-2020-10735)
        raise AnswerRefused(f"expected {A_COLOUR}; found a number of thousands of digits") from None
    return read_prediction(document, tests=tests)


def read_prediction(prediction: object, *, tests: int | None = None) -> tuple[Attempts, ...]:
    """The attempts of a parsed ``prediction.json``, one pair per test input.

    ``prediction`` is Kaggle's form, ``[{"attempt_1": grid, "attempt_2": grid}, ...]``; keys beside the two
    (a solver's votes) are left out. ``tests`` is how many test inputs the task has, None where that is not
    known. Raises AnswerRefused, with the JSON path of the first fault.
    """
    if not isinstance(prediction, list | tuple) or not 1 <= len(prediction) <= MAX_PAIRS:
        raise _refused("$", AN_ANSWER, prediction)
    if tests is not None and len(prediction) != tests:
        raise _refused("$", f"one answer for each of {tests} test input(s)", prediction)
    return tuple(_attempts(f"$[{index}]", each) for index, each in enumerate(prediction))


def _attempts(path: str, answer: object) -> Attempts:
    if not isinstance(answer, Mapping):
        raise _refused(path, TWO_ATTEMPTS, answer)
    for name in answer:
        if isinstance(name, str) and name.startswith("attempt_") and name not in ATTEMPTS:
            raise AnswerRefused(f"at {path} expected two attempts at most; found {_shown(name)}")
    for name in ATTEMPTS:
        if name not in answer:
            raise AnswerRefused(f"at {path}.{name} expected {A_GRID}; found nothing")
    return _grid(f"{path}.attempt_1", answer["attempt_1"]), _grid(f"{path}.attempt_2", answer["attempt_2"])


def _grid(path: str, rows: object) -> Grid:
    if not isinstance(rows, list | tuple) or not 1 <= len(rows) <= MAX_SIDE:
        raise _refused(path, A_GRID, rows)
    return tuple(_row(f"{path}[{index}]", row, rows[0]) for index, row in enumerate(rows))


def _row(path: str, row: object, first: Any) -> tuple[int, ...]:
    if not isinstance(row, list | tuple) or not 1 <= len(row) <= MAX_SIDE:
        raise _refused(path, A_ROW, row)
    if len(row) != len(first):
        raise _refused(path, f"a row as long as the first, {len(first)}", row)
    for index, cell in enumerate(row):
        if type(cell) is not int or not 0 <= cell <= MAX_COLOUR:  # True and 1.0 are no colours
            raise _refused(f"{path}[{index}]", A_COLOUR, cell)
    return tuple(row)


def _constant(name: str) -> object:
    raise AnswerRefused(f"expected JSON, which has no NaN and no Infinity; found {name}")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise AnswerRefused("expected each key once; found one twice in an object")
    return found


def _refused(path: str, expected: str, found: object) -> AnswerRefused:
    return AnswerRefused(f"at {path} expected {expected}; found {_kind(found)}")


def _kind(value: object) -> str:
    """What a value is, in few words whatever its size."""
    if isinstance(value, list | tuple):
        return f"a list of {len(value):,}"
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, str):
        return f"the text {_shown(value)}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return str(value) if abs(value) < 1e15 else "a huge number"
    return f"a {type(value).__name__}"


def _shown(text: str) -> str:
    """Foreign text, short and safe to print on one line."""
    return json.dumps(text if len(text) <= 40 else text[:39] + "…")
