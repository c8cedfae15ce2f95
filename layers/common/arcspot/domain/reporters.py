"""Who writes reports at the moment, in what order, and which batches made trouble.

One at a time: a new account's ten concurrent executions allow no reserved concurrency, so the table says
whose turn it is. Whoever dies loses it when its time is over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from arcspot.domain.batches import Batch
from arcspot.errors import Conflict

# Longer than the function may run (template.yaml), so that a turn that is over is nobody's.
TURN = timedelta(minutes=6)
MAX_TROUBLES = 100
MAX_WORDS = 300
SAID_AFTER = 3
"""At this failure a person is told, once."""
PATIENCE = 5
"""After so many failures what cannot be read is told as a fault of the report, whatever the reason."""
MAX_FOLDER_BYTES = 900


@dataclass(frozen=True, slots=True)
class Trouble:
    """A batch whose report failed: so many times in a row, when it is tried again, and why."""

    tries: int
    again_at: datetime
    why: str


@dataclass(frozen=True, slots=True)
class Reporter:
    """The one row of all reports. `working_on` is the batch in hand, `after` the last that had its turn."""

    owner: str = ""
    expires_at: datetime | None = None
    working_on: str = ""
    after: str = ""
    troubles: Mapping[str, Trouble] = field(default_factory=dict)
    version: int = 0

    def held(self, now: datetime) -> bool:
        """Whether somebody is at work and has time left."""
        return self.expires_at is not None and now < self.expires_at

    def taken(self, owner: str, now: datetime) -> Reporter:
        """The turn is the owner's. Raises Conflict while it is somebody else's."""
        if self.held(now) and self.owner != owner:
            raise Conflict(f"{self.owner} writes reports until {self.expires_at}")
        return replace(self, owner=owner, expires_at=now + TURN, working_on="")

    def after_a_death(self, now: datetime) -> Reporter:
        """A turn that was never given back ended with its function: the batch in hand is tried later."""
        if not self.working_on:
            return self
        return self.failed(self.working_on, "the function ended in the midst of it", now)

    def at(self, batch_id: str) -> Reporter:
        return replace(self, working_on=batch_id, after=batch_id)

    def left(self, after: str = "") -> Reporter:
        """The turn is given back."""
        return replace(self, owner="", expires_at=None, working_on="", after=after or self.after)

    def failed(self, batch_id: str, why: str, now: datetime) -> Reporter:
        """One more failure: it is tried again in the next round, then ever more slowly, in the end hourly."""
        known = self.troubles.get(batch_id)
        tries = known.tries + 1 if known else 1
        # A few seconds less, so that a round that comes a moment early is not a minute late.
        slower = timedelta(minutes=min(60, 2 ** max(0, min(tries - 2, 6)))) - timedelta(seconds=10)
        pause = slower if tries > 1 else timedelta()
        others = {name: each for name, each in self.troubles.items() if name != batch_id}
        kept = dict(list(others.items())[-MAX_TROUBLES + 1 :])
        trouble = Trouble(tries, now + pause, why[:MAX_WORDS])
        return replace(self, working_on="", troubles={**kept, batch_id: trouble})

    def well(self, batch_id: str) -> Reporter:
        """Nothing is wrong with this batch (any more)."""
        others = {name: each for name, each in self.troubles.items() if name != batch_id}
        return replace(self, working_on="", troubles=others)

    def tries(self, batch_id: str) -> int:
        """How many times in a row this batch failed."""
        known = self.troubles.get(batch_id)
        return known.tries if known else 0

    def in_turn(self, batches: Sequence[Batch], now: datetime) -> list[Batch]:
        """Those that may be tried now, beginning behind the last one that had its turn."""
        ordered = sorted(batches, key=lambda batch: batch.batch_id)
        later = [batch for batch in ordered if batch.batch_id > self.after]
        earlier = [batch for batch in ordered if batch.batch_id <= self.after]
        return [
            batch
            for batch in (*later, *earlier)
            if (trouble := self.troubles.get(batch.batch_id)) is None or trouble.again_at <= now
        ]


def report_folder(batch_id: str) -> str:
    """Where a batch's report lies: `reports/<batch>/`.

    A name that would make a key of more than S3's 1,024 bytes, or one that SDKs take for a path's dots, is
    shortened and told apart by a digest.
    """
    name = batch_id.encode("utf-8", "surrogatepass")
    if len(name) <= MAX_FOLDER_BYTES and batch_id not in ("", ".", ".."):
        return f"reports/{batch_id}/"
    mark = hashlib.sha256(name).hexdigest()[:16]
    return f"reports/{name[:200].decode('utf-8', 'ignore')}~{mark}/"
