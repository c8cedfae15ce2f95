"""What DynamoDB says when it does not do what it was asked: lost, held, busy, or never.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar

from botocore.exceptions import ClientError, HTTPClientError

from arcspot.domain.pausing import TRIES
from arcspot.errors import ArcspotError, Conflict, Overlapped, RowRefused, StoreBusy, StoreRefused
from arcspot.ports import Pause

C = TypeVar("C", bound=type)
CANCELLED = "TransactionCanceledException"
# An error's code, without its ending, or the reason that a cancelled transaction gives for one of its rows.
MEANINGS: Mapping[str, type[ArcspotError]] = {
    "Validation": RowRefused,
    "ValidationError": RowRefused,
    "ConditionalCheckFailed": Conflict,
    "TransactionConflict": Overlapped,
    "TransactionInProgress": Overlapped,
    "ReplicatedWriteConflict": Overlapped,
    "ProvisionedThroughputExceeded": StoreBusy,
    "Throttling": StoreBusy,
    "ThrottlingError": StoreBusy,
    "Throttled": StoreBusy,
    "RequestLimitExceeded": StoreBusy,
    "InternalServerError": StoreBusy,
    "InternalFailure": StoreBusy,
    "ServiceUnavailable": StoreBusy,
    "RequestTimeout": StoreBusy,
}
WORDS: Mapping[type[ArcspotError], str] = {
    StoreRefused: "DynamoDB refuses it",
    RowRefused: "DynamoDB refuses it",
    Conflict: "changed since it was read",
    Overlapped: "held by another transaction",
    StoreBusy: "DynamoDB is busy",
}


def meaning(code: str, status: int = 400) -> type[ArcspotError]:
    """Our error for a code. An unknown one is StoreRefused, unless DynamoDB itself has failed (5xx)."""
    known = MEANINGS.get(code.removesuffix("Exception"))
    return known or (StoreBusy if status >= 500 else StoreRefused)


def told(error: ClientError, rows: Sequence[str]) -> ArcspotError:
    """What a refused write is to us; `rows` names what it was about, in the request's order.

    In a cancelled transaction each row has its reason. What will never be taken is said first, for no try
    helps; a lost condition comes before a busy row, because what was decided on is no longer true.
    """
    said = error.response.get("Error", {})
    code, words = said.get("Code", ""), said.get("Message", "")
    if code == CANCELLED:
        reasons = list(_reasons(error.response, words, rows))
    else:
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400))
        reasons = [(", ".join(rows), meaning(code, status), f"{code}: {words}")]
    for kind, what in WORDS.items():
        about = [f"{row}: {what} ({why})" for row, means, why in reasons if means is kind]
        if about:
            return kind("; ".join(about))
    return StoreBusy(f"{', '.join(rows)}: cancelled, and nobody says why ({words})")


def _reasons(
    response: Mapping[str, Any], words: str, rows: Sequence[str]
) -> Iterator[tuple[str, type[ArcspotError], str]]:
    listed = response.get("CancellationReasons")
    if not listed:  # the message has them too, and some emulators give nothing else
        found = re.search(r"\[([\w, ]*)\]", words)
        listed = [{"Code": code.strip()} for code in found[1].split(",")] if found else []
    for n, reason in enumerate(listed):
        code = reason.get("Code") or "None"
        if code != "None":
            row = rows[n] if n < len(rows) else f"row {n + 1}"
            yield row, meaning(code), f"{code}: {reason['Message']}" if reason.get("Message") else code


@contextmanager
def _busy_is_told(what: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        said = error.response.get("Error", {})
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400))
        if meaning(said.get("Code", ""), status) is StoreBusy:
            raise StoreBusy(f"{what}: {WORDS[StoreBusy]} ({error})") from error
        raise
    except HTTPClientError as error:  # no answer: a write may have been done, and reading again shows it
        raise StoreBusy(f"{what}: DynamoDB gives no answer ({error})") from error


def busy_is_told(adapter: C) -> C:
    """Let every method of a class raise StoreBusy where DynamoDB is busy, after the SDK's own tries."""
    for name, method in list(vars(adapter).items()):
        if inspect.isfunction(method) and not name.startswith("__"):
            setattr(adapter, name, _telling(method))
    return adapter


def _telling(method: Callable[..., Any]) -> Callable[..., Any]:
    if inspect.isgeneratorfunction(method):

        @wraps(method)
        def generator(*args: Any, **kwargs: Any) -> Iterator[Any]:
            with _busy_is_told(method.__name__.strip("_")):
                yield from method(*args, **kwargs)

        return generator

    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        with _busy_is_told(method.__name__.strip("_")):
            return method(*args, **kwargs)

    return call


def until_done(items: Sequence[Any], ask: Callable[[Any], Sequence[Any]], pause: Pause) -> None:
    """Ask again, after a pause, for what a batch leaves undone: `ask` returns that.

    Raises StoreBusy after `TRIES` in a row that did nothing.
    https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html
    """
    tries = 0
    while items:
        left = ask(items)
        tries = tries + 1 if len(left) == len(items) else 1
        if tries == TRIES:
            raise StoreBusy(f"{len(left)} row(s) of a batch are left undone after {TRIES} tries")
        if left:
            pause(tries)
        items = left


def insistently(act: Callable[[], object], pause: Pause) -> None:
    """Do the same again, after a pause, while a row is held or the tables are busy: nothing is decided anew.

    Raises Conflict when somebody was faster, and StoreBusy once patience ends.
    """
    for tries in range(1, TRIES + 1):
        try:
            act()
        except (Overlapped, StoreBusy) as busy:
            if tries == TRIES:
                raise StoreBusy(str(busy)) from busy
            pause(tries)
        else:
            return
