"""What DynamoDB takes in a request, beyond its model: sizes, keys, numbers, batches and expressions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from moto.dynamodb.parsing.reserved_keywords import ReservedKeywords

from arcspot_simulator.limits import (
    ITEM_BYTES,
    KEYS,
    TRANSACTION_BYTES,
    item_weight,
    key_fault,
    number_fault,
    size,
    value_faults,
    weight,
)
from tests.fakes.limit import EVERY, Limit, nothing

Found = Iterator[Mapping[str, Any]]
CONSTRAINTS = "https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html"
EXPRESSIONS = (
    "KeyConditionExpression", "ConditionExpression", "FilterExpression", "ProjectionExpression",
    "UpdateExpression",
)  # fmt: skip
# moto keeps the list of DynamoDB's documentation.
RESERVED = frozenset(ReservedKeywords.get_reserved_keywords())
PARTS_OF_EXPRESSIONS = {"AND", "OR", "NOT", "BETWEEN", "IN", "SET", "REMOVE", "ADD", "DELETE"}
TOKENS = re.compile(r"(?P<name>#\w+)|(?P<value>:\w+)|(?P<word>[A-Za-z_]\w*)(?P<called>\s*\()?")
EQUAL = re.compile(r"(#?\w+)\s*(?:=|<=?|>=?)\s*(:\w+)")


def actions(params: Mapping[str, Any]) -> Found:
    """The request itself, and each action of a transaction and each table of a batch that is read."""
    yield params
    for each in params.get("TransactItems", ()):
        yield from each.values()
    if isinstance(params.get("RequestItems"), dict):
        yield from (each for each in params["RequestItems"].values() if isinstance(each, dict))


def written(params: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(table, put or deletion) of a batch that is written."""
    if isinstance(params.get("RequestItems"), dict):
        for table, requests in params["RequestItems"].items():
            if isinstance(requests, list):
                for request in requests:
                    yield from ((table, each) for each in request.values())


def items(params: Mapping[str, Any]) -> Found:
    """Every item that a request puts."""
    yield from (action["Item"] for action in actions(params) if "Item" in action)
    yield from (each["Item"] for _, each in written(params) if "Item" in each)


def keys(params: Mapping[str, Any]) -> Found:
    """Every key by which a request names an item."""
    for action in actions(params):
        yield from (action[name] for name in ("Key", "ExclusiveStartKey") if action.get(name))
        yield from action.get("Keys", ())
    yield from (each["Key"] for _, each in written(params) if "Key" in each)


def key_faults(params: Mapping[str, Any]) -> Iterator[str]:
    for each in (*items(params), *keys(params)):
        yield from (key_fault(name, value) for name, value in each.items() if name in KEYS)
    for action in actions(params):
        names, values = (
            action.get("ExpressionAttributeNames", {}),
            action.get("ExpressionAttributeValues", {}),
        )
        for name, value in EQUAL.findall(action.get("KeyConditionExpression", "")):
            if names.get(name, name) in KEYS and value in values:
                yield key_fault(names.get(name, name), values[value])


def insides(params: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong inside of values, numbers apart: nesting, texts, names, sets."""
    for each in (*items(params), *keys(params)):
        for name, value in each.items():
            yield from (fault for fault in value_faults(value, at=name) if not _of_number(fault))


def _of_number(fault: str) -> bool:
    return any(words in fault for words in ("digits", "no number", "1E-130"))


def numbers(value: Any) -> Iterator[str]:
    """Every number of a request, of whatever attribute."""
    if isinstance(value, Mapping):
        for name, held in value.items():
            if name == "N" and isinstance(held, str):
                yield number_fault(held)
            else:
                yield from numbers(held)
    elif isinstance(value, list):
        for each in value:
            yield from numbers(each)


def in_transaction(params: Mapping[str, Any]) -> Iterator[list[tuple[Any, ...]]]:
    """The rows that a transaction is about."""
    if "TransactItems" in params:
        yield [
            (action["TableName"], *_row(action.get("Item") or action["Key"]))
            for each in params["TransactItems"]
            for action in each.values()
        ]


def asked_for(params: Mapping[str, Any]) -> Iterator[list[tuple[Any, ...]]]:
    """The rows that a batch reads, or writes."""
    requests = params.get("RequestItems")
    if isinstance(requests, dict):
        reads = {table: each["Keys"] for table, each in requests.items() if isinstance(each, dict)}
        yield [
            *((table, *_row(key)) for table, asked in reads.items() for key in asked),
            *((table, *_row(each.get("Item") or each["Key"])) for table, each in written(params)),
        ]


def _row(item: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(tuple(item[name].items()) for name in ("pk", "sk") if name in item)


def once(rows: list[Any]) -> bool:
    return not rows or max(Counter(rows).values()) == 1


def expressions(params: Mapping[str, Any]) -> Iterator[str]:
    for action in actions(params):
        yield from (action[name] for name in EXPRESSIONS if name in action)


def bare_words(params: Mapping[str, Any]) -> Iterator[str]:
    """Attribute names that stand in an expression as they are."""
    for expression in expressions(params):
        for token in TOKENS.finditer(expression):
            word = token["word"]
            if word and not token["called"] and word.upper() not in PARTS_OF_EXPRESSIONS:
                yield word.upper()


def placeholders(params: Mapping[str, Any]) -> Iterator[str]:
    """Names and values that stand in no expression, or that an expression names and nobody gives."""
    for action in actions(params):
        text = " ".join(action[name] for name in EXPRESSIONS if name in action)
        for kind, given in (("name", "ExpressionAttributeNames"), ("value", "ExpressionAttributeValues")):
            used = {token[kind] for token in TOKENS.finditer(text) if token[kind]}
            known = set(action.get(given, ()))
            yield from (f"{each} is in no expression" for each in sorted(known - used))
            yield from (f"{each} is not given" for each in sorted(used - known))
            if given in action and not known:
                yield f"{given} is empty"


def of_an_index(params: Mapping[str, Any]) -> Iterator[bool]:
    if params.get("IndexName"):
        yield bool(params.get("ConsistentRead"))


def total(*, of: Callable[[Mapping[str, Any]], Found]) -> Callable[[Mapping[str, Any]], Iterator[int]]:
    return lambda params: iter([sum(item_weight(item) for item in of(params))])


def values(params: Mapping[str, Any]) -> Iterator[int]:
    for action in actions(params):
        yield sum(weight(each) for each in action.get("ExpressionAttributeValues", {}).values())


API = "https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_"
DYNAMODB = (
    Limit(
        "dynamodb", EVERY, "an item of at most 400 KB",
        items, lambda item: item_weight(item) <= ITEM_BYTES, CONSTRAINTS,
    ),
    Limit(
        "dynamodb", EVERY,
        "keys that are texts, not empty and at most 2,048 (partition) or 1,024 (sort) bytes",
        key_faults, nothing, CONSTRAINTS,
    ),
    Limit(
        "dynamodb", EVERY, "numbers of at most 38 digits, from 1E-130 to 9.99E+125, no NaN and no infinity",
        numbers, nothing, CONSTRAINTS,
    ),
    Limit(
        "dynamodb", EVERY, "values of at most 32 levels, in valid UTF-8, with no empty name and no empty set",
        insides, nothing, CONSTRAINTS,
    ),
    Limit(
        "dynamodb", ("TransactWriteItems", "TransactGetItems"), "no two actions of a transaction on one item",
        in_transaction, once, API + "TransactWriteItems.html",
    ),
    Limit(
        "dynamodb", ("TransactWriteItems",), "at most 4 MB together",
        total(of=items), lambda weights: weights <= TRANSACTION_BYTES, API + "TransactWriteItems.html",
    ),
    Limit(
        "dynamodb", ("BatchGetItem",), "at most 100 keys of all tables together",
        asked_for, lambda rows: 1 <= len(rows) <= 100, API + "BatchGetItem.html",
    ),
    Limit(
        "dynamodb", ("BatchGetItem",), "no key that is asked for twice",
        asked_for, once, API + "BatchGetItem.html",
    ),
    Limit(
        "dynamodb", ("BatchWriteItem",), "at most 25 writes to all tables together",
        asked_for, lambda rows: 1 <= len(rows) <= 25, API + "BatchWriteItem.html",
    ),
    Limit(
        "dynamodb", ("BatchWriteItem",), "no item that is written twice in a batch",
        asked_for, once, API + "BatchWriteItem.html",
    ),
    Limit(
        "dynamodb", ("BatchWriteItem",), "at most 16 MB in a batch",
        total(of=items), lambda weights: weights <= 16 * 1024 * 1024, API + "BatchWriteItem.html",
    ),
    Limit(
        "dynamodb", EVERY, "expressions of 1 byte to 4 KB",
        expressions, lambda text: 1 <= size(text) <= 4096, CONSTRAINTS,
    ),
    Limit(
        "dynamodb", EVERY, "no reserved word as it is in an expression",
        bare_words, lambda word: word not in RESERVED,
        "https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ReservedWords.html",
    ),
    Limit(
        "dynamodb", EVERY, "each placeholder of an expression given, each given one used",
        placeholders, nothing,
        "https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.ExpressionAttributeNames.html",
    ),
    Limit(
        "dynamodb", EVERY, "values of expressions of at most 2 MB together",
        values, lambda weights: weights <= 2 * 1024 * 1024, CONSTRAINTS,
    ),
    Limit(
        "dynamodb", ("Query", "Scan"), "no consistent read of a global index",
        of_an_index, lambda consistent: not consistent, API + "Query.html",
    ),
)  # fmt: skip
