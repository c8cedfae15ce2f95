"""The state of a solve under way, in one file that another machine can go on from.

A safetensors file: tensors named "<part>/<name>", and in its metadata one JSON text with everything else,
the seconds used so far, and a SHA-256 over all of it. No pickle: the file comes back from a bucket, and one
that is torn, foreign or changed is refused (BadState) before any of it is used. It is written beside its
place and renamed, so whoever sees the name can read the whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .errors import BadState

FORMAT = "arcspot-resume-1"

MOST_BYTES = 1024 * 1024 * 1024

EVERY_S = 60.0
"""Seconds of work between two saves that nobody asked for."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Part:
    """What one stage of the work has to remember: JSON-able facts, and tensors."""

    facts: dict[str, Any]
    tensors: dict[str, Tensor] = field(default_factory=dict)


class Journal:
    """What a solve would need to go on elsewhere, kept in a file; without a path nothing is kept.

    A stage says how to ask for its state (`hold`) and takes up what an earlier run left (`found`). What was
    found stays in the file until the stage holds or drops it, so a save in between loses nothing.
    """

    def __init__(
        self,
        path: Path | None,
        identity: str,
        *,
        parts: Mapping[str, Part] | None = None,
        seconds: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path, self.identity = path, identity
        self.seconds_before = seconds
        self._clock = clock
        self._began = self._saved = clock()
        self._found = dict(parts or {})
        self.resumed = bool(self._found)
        self._held: dict[str, Callable[[], Part]] = {}

    @classmethod
    def open(
        cls, path: Path | None, identity: str, *, clock: Callable[[], float] = time.monotonic
    ) -> Journal:
        """Raises BadState when there is a file at `path` that this solve cannot go on from."""
        if path is None or not path.exists():
            return cls(path, identity, clock=clock)
        parts, seconds = read(path, identity)
        return cls(path, identity, parts=parts, seconds=seconds, clock=clock)

    def found(self, name: str) -> Part | None:
        """A part as an earlier run left it; None where there is nothing to go on from."""
        return self._found.get(name)

    def hold(self, name: str, state: Callable[[], Part]) -> None:
        """From now on a save asks `state` for this part."""
        self._found.pop(name, None)
        self._held[name] = state

    def drop(self, name: str) -> None:
        self._found.pop(name, None)
        self._held.pop(name, None)

    def tick(self) -> None:
        """Save once enough work is at stake."""
        if self._clock() - self._saved >= EVERY_S:
            self.save()

    def save(self) -> None:
        """Write all that is held. A disk that refuses costs the state, never the work."""
        if self.path is None or not self._held:
            return
        parts = self._found | {name: state() for name, state in self._held.items()}
        seconds = self.seconds_before + self._clock() - self._began
        try:
            write(self.path, self.identity, parts, seconds)
        except (OSError, SafetensorError) as fault:
            log.warning("the state was not kept: %s", fault)
        self._saved = self._clock()


def write(path: Path, identity: str, parts: Mapping[str, Part], seconds: float) -> None:
    """Write the parts of the solve that `identity` names, after `seconds` of work. Raises OSError."""
    tensors = {
        f"{name}/{key}": tensor.detach().cpu().contiguous()
        for name, part in parts.items()
        for key, tensor in part.tensors.items()
    }
    facts = {name: part.facts for name, part in parts.items()}
    text = json.dumps({"identity": identity, "seconds": seconds, "parts": facts})
    beside = path.with_suffix(".part")
    save_file(tensors, beside, metadata={"format": FORMAT, "state": text, "sha256": _digest(text, tensors)})
    beside.replace(path)


def read(path: Path, identity: str) -> tuple[dict[str, Part], float]:
    """The parts, and the seconds of work in them. Raises BadState unless all is as it was written."""
    with understood():
        if path.stat().st_size > MOST_BYTES:
            raise BadState(f"it has more than {MOST_BYTES:,} bytes")
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise BadState(f"it is not in the format {FORMAT}")
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        text = metadata.get("state", "")
        if metadata.get("sha256") != _digest(text, tensors):
            raise BadState("its content does not have the checksum it was written with")
        state = json.loads(text)
        if state["identity"] != identity:
            raise BadState("it belongs to another task, seed, model, device or solver version")
        parts = {str(name): Part(dict(facts)) for name, facts in state["parts"].items()}
        for key, tensor in tensors.items():
            name, _, rest = key.partition("/")
            parts[name].tensors[rest] = tensor
        return parts, number(state, "seconds")


@contextlib.contextmanager
def understood() -> Iterator[None]:
    """Whatever goes wrong while a state is taken up means that the state is of no use: BadState."""
    try:
        yield
    except BadState:
        raise
    except Exception as fault:  # whoever made the file chose which: none of them may end a solve
        raise BadState(f"it does not fit: {type(fault).__name__}: {str(fault)[:300]}") from fault


def number(facts: Mapping[str, Any], name: str, *, most: float = math.inf) -> float:
    """A finite number from zero up to `most`. Raises ValueError or KeyError."""
    value = facts[name]
    if type(value) not in (int, float) or not math.isfinite(value) or not 0 <= value <= most:
        raise ValueError(f"{name} is {value!r:.40}, no number within 0..{most}")
    return float(value)


def word(facts: Mapping[str, Any], name: str, known: Collection[str]) -> str:
    """One of the words that are known. Raises ValueError or KeyError."""
    value = facts[name]
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name} is {value!r:.40}, none of {', '.join(sorted(known))}")
    return value


def whole(facts: Mapping[str, Any], name: str, *, least: int = 0, most: int = 10**9) -> int:
    """A whole number within bounds. Raises ValueError or KeyError."""
    value = facts[name]
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{name} is {value!r:.40}, not within {least}..{most}")
    return value


def _digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of the text and of every tensor's name, type, shape and bytes."""
    found = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        found.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
