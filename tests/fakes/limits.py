"""What AWS takes in a request, as far as it is written down, and a watch over every request that is built.

Two sources: botocore's service models (lengths, patterns, counts and enumerations, of which botocore itself
only checks a few), and the limits of `dynamo_limits.py` and `service_limits.py`, which stand in the services'
documentation alone.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from botocore.client import BaseClient
from botocore.exceptions import ClientError
from botocore.signers import RequestSigner
from botocore.validate import ParamValidator

from tests.fakes.dynamo_limits import DYNAMODB
from tests.fakes.limit import EVERY
from tests.fakes.service_limits import SERVICES

ROOT = Path(__file__).resolve().parents[2]
ADAPTERS = ROOT / "layers" / "common" / "arcspot" / "aws"
LIMITS = (*DYNAMODB, *SERVICES)
PRESIGNED = "presigned URL"


@dataclass(frozen=True, slots=True)
class Call:
    """One request as our code built it. `site` is the adapter's `file:function`, "" for another caller."""

    service: str
    operation: str
    params: Mapping[str, Any]
    site: str = ""


def faults(call: Call, shape: Any) -> list[str]:
    """What AWS would refuse of a request; nothing when it is good. `shape` is the model's input."""
    found = [str(error) for error in _invalid(call.params, shape)]
    if found or shape is None:
        return found
    return [*_against(shape, call.params, ""), *documented(call)]


def documented(call: Call) -> Iterator[str]:
    """What the services' documentation alone has against a request."""
    for limit in LIMITS:
        if limit.service in (call.service, "*") and (
            limit.operations == EVERY or call.operation in limit.operations
        ):
            for value in limit.find(call.params):
                if not limit.holds(value):
                    yield f"{limit.what}; found {value!r:.200} ({limit.source})"


def _invalid(params: Mapping[str, Any], shape: Any) -> Iterator[str]:
    if shape is None:
        if params:
            yield f"no parameters are taken, found {sorted(params)}"
        return
    # botocore itself fills these in where they are left out, after this look.
    tokens = {name for name, member in shape.members.items() if member.metadata.get("idempotencyToken")}
    report = ParamValidator().validate({**dict.fromkeys(tokens, "token"), **params}, shape)
    if report.has_errors():
        yield report.generate_report()


def _against(shape: Any, value: Any, at: str) -> Iterator[str]:
    """Every limit of the model that a value breaks, with its place."""
    limits = shape.metadata
    low, high = limits.get("min"), limits.get("max")
    if shape.type_name == "structure":
        for name, held in value.items():
            if held is not None:
                yield from _against(shape.members[name], held, f"{at}.{name}")
        return
    if shape.type_name == "list":
        for n, each in enumerate(value):
            yield from _against(shape.member, each, f"{at}[{n}]")
    elif shape.type_name == "map":
        for name, held in value.items():
            yield from _against(shape.key, name, f"{at} key")
            yield from _against(shape.value, held, f"{at}[{name!r}]")
    if shape.type_name in ("list", "map", "string", "blob"):
        if not hasattr(value, "__len__"):
            return
        length = len(value)
        if (low is not None and length < low) or (high is not None and length > high):
            yield f"{at}: {length} long, the model says {low} to {high}: {value!r:.100}"
    elif shape.type_name in ("integer", "long", "float", "double") and (
        (low is not None and value < low) or (high is not None and value > high)
    ):
        yield f"{at}: {value}, the model says {low} to {high}"
    if shape.type_name == "string":
        if limits.get("enum") and value not in limits["enum"]:
            yield f"{at}: {value!r} is none of the model's {len(limits['enum'])} values"
        pattern = _compiled(limits.get("pattern", ""))
        # Models write `arn:aws(-[a-z]+)?:`, which leaves GovCloud's name, with two hyphens, out by mistake.
        written = value.replace("arn:aws-us-gov:", "arn:aws-gov:")
        if pattern is not None and not (pattern.fullmatch(value) or pattern.fullmatch(written)):
            yield f"{at}: {value!r:.100} does not match {pattern.pattern}"


@cache
def _compiled(pattern: str) -> re.Pattern[str] | None:
    """Some models use the patterns of another language: those that Python cannot read are left out."""
    try:
        return re.compile(pattern) if pattern else None
    except re.error:
        return None


@dataclass
class Watch:
    """Every request that is built while it looks on."""

    calls: list[Call] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


@contextmanager
def watching(*, refusing: str = "") -> Iterator[Watch]:
    """Look at every request before botocore does anything with it: sent, stubbed, or only presigned.

    With a code in `refusing` each is answered by that error: what an adapter asks next is seen as well.
    """
    watch, original, presign = Watch(), BaseClient._emit_api_params, RequestSigner.generate_presigned_url

    def emit(self: Any, api_params: Any, operation_model: Any, context: Any) -> Any:
        built = api_params
        try:
            if refusing:
                error = {"Error": {"Code": refusing, "Message": "as asked"}}
                raise ClientError(error, operation_model.name)  # type: ignore[arg-type]
            # Tables of boto3's resources take plain values; their own hook makes them the service's.
            built = original(self, api_params, operation_model, context)
            return built
        finally:
            service = operation_model.service_model.service_id.lower().replace(" ", "-")
            call = Call(service, operation_model.name, built, _site())
            watch.calls.append(call)
            found = faults(call, operation_model.input_shape)
            watch.faults += [f"{service} {call.operation}: {fault}" for fault in found]

    def signed(self: Any, *args: Any, **kwargs: Any) -> Any:
        # How long a URL lives is no parameter of its operation.
        expires = kwargs.get("expires_in", args[2] if len(args) > 2 else None)
        watch.faults += documented(Call(self._service_id.hyphenize(), PRESIGNED, {"ExpiresIn": expires}))
        return presign(self, *args, **kwargs)

    BaseClient._emit_api_params = emit
    RequestSigner.generate_presigned_url = signed  # type: ignore[method-assign]
    try:
        yield watch
    finally:
        BaseClient._emit_api_params = original
        RequestSigner.generate_presigned_url = presign  # type: ignore[method-assign]


def _site() -> str:
    frame: Any = sys._getframe(2)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.parent == ADAPTERS:
            return f"{path.name}:{frame.f_code.co_qualname}"
        frame = frame.f_back
    return ""
