"""Find what lies in the bucket: files no event told of, and the files of a recurring submission."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice

from arcspot.domain import names
from arcspot.domain.batches import Sweep
from arcspot.errors import Conflict, TaskFileRefused
from arcspot.ports import Listed, Ports
from arcspot.services.ingesting import (
    TASKS_PREFIX,
    Dropped,
    Outcome,
    batch_due,
    groups,
    ingest_together,
)
from arcspot.services.retry import until_written
from arcspot.settings import Settings

# Keys that are looked up together.
PAGE = 100
# S3's clock and ours may differ, and a file that was just dropped has an event under way.
YOUNG = timedelta(minutes=15)
Enough = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Found:
    """What one piece of the work came to; `more` when there was no time for the rest."""

    outcomes: tuple[Outcome, ...]
    more: bool

    @property
    def failures(self) -> dict[str, str]:
        """Key → why, of the files that could not be handled. Each is tried again by the next sweep."""
        return {
            outcome.key: f"{type(outcome.error).__name__}: {outcome.error}"
            for outcome in self.outcomes
            if outcome.error
        }


def sweep(ports: Ports, settings: Settings, now: datetime, *, enough_time: Enough = lambda: True) -> Found:
    """Ingest every object below `tasks/` whose newest content has no receipt.

    A sweep that found everything handled is remembered: the next one looks up only what is younger. One
    that has no time for the rest goes on where it was; it does at least one page.
    """
    row = ports.store.sweep_row()
    begun = row if row.after else replace(row, began_at=now)
    earlier = _receipted_by_objects(ports) if row.done_until is None else frozenset()
    outcomes: list[Outcome] = []
    after, more = row.after, False
    listed = iter(ports.objects.listing(TASKS_PREFIX, after))
    while page := list(islice(listed, PAGE)):
        wanted = [item for item in page if not (row.done_until and item.modified_at < row.done_until - YOUNG)]
        outcomes += _ingest(ports, settings, _untold(ports, wanted, earlier), now)
        after = page[-1].key
        if not enough_time():
            more = next(listed, None) is not None
            break
    failed = begun.failed + sum(outcome.error is not None for outcome in outcomes)
    if more:
        _remember(ports, replace(begun, after=after, failed=failed))
    else:
        until = row.done_until if failed else begun.began_at
        _remember(ports, replace(begun, after="", failed=0, done_until=until))
    return Found(tuple(outcome for outcome in outcomes if not outcome.gone), more)


def _remember(ports: Ports, row: Sweep) -> None:
    try:
        ports.store.write(row)
    except Conflict:
        return  # another sweep: what it remembers is as true


def _untold(ports: Ports, items: Sequence[Listed], earlier: Collection[str]) -> list[Dropped]:
    """Files without a receipt of their content. What an `earlier` release left tells of no content."""
    told = ports.store.receipts([item.key for item in items], fresh=False) if items else {}
    untold = []
    for item in items:
        receipt = told.get(item.key)
        if (receipt.etag and receipt.etag != item.etag) if receipt else item.key not in earlier:
            untold.append(Dropped(key=item.key, size=item.size))
    return untold


def _receipted_by_objects(ports: Ports) -> frozenset[str]:
    """Keys that an earlier release handled: it left an object for each, not a row."""
    return frozenset(
        key.removeprefix(prefix).removesuffix(".json")
        for prefix in ("accepted/", "rejected/")
        for key in ports.objects.keys(prefix)
    )


def submit_again(
    ports: Ports,
    settings: Settings,
    *,
    prefix: str,
    name: str,
    now: datetime,
    enough_time: Enough = lambda: True,
) -> tuple[list[Outcome], int]:
    """A recurring submission's turn: every file below `prefix` becomes jobs of the batch `name-<time>`.

    The same turn told twice is one run: its name has the minute in it, and a file that has the run's
    receipt is not read again. So a turn is worked off in pieces: returns the outcomes of this piece,
    and how many files there was not `enough_time` for. A piece does at least one group, whatever the time.
    Raises TaskFileRefused when no batch can be called so.
    """
    run = f"{name}-{now:%Y%m%dT%H%M}"
    if refusal := names.batch_refusal(run):
        raise TaskFileRefused(f"the run {refusal}")
    waiting: list[Dropped] = []
    done = 0
    listed = (item for item in ports.objects.listing(prefix) if item.key.endswith(".json"))
    for page in _pages(listed):
        drops = [Dropped(key=item.key, size=item.size, run=run) for item in page]
        told = ports.store.receipts([dropped.told_of for dropped in drops])
        waiting += [dropped for dropped in drops if dropped.told_of not in told]
        done += len(told)
    _count(ports, run, done, now)
    outcomes: list[Outcome] = []
    for group in groups(waiting):
        if outcomes and not enough_time():
            break
        outcomes += ingest_together(ports, settings, group, now)
    return outcomes, len(waiting) - len(outcomes)


def _count(ports: Ports, run: str, receipts: int, now: datetime) -> None:
    """Have the run reported with all its receipts: a call that died behind them left its batch behind."""

    def act() -> None:
        batch = ports.store.batch(run)
        if batch is None or batch.files < receipts:
            batch_due(ports.store, run, now, touched=False)

    if receipts:
        until_written(act, ports.pause)


def _ingest(ports: Ports, settings: Settings, drops: Iterable[Dropped], now: datetime) -> list[Outcome]:
    return [outcome for group in groups(drops) for outcome in ingest_together(ports, settings, group, now)]


def _pages(items: Iterable[Listed]) -> Iterable[list[Listed]]:
    each = iter(items)
    while page := list(islice(each, PAGE)):
        yield page
