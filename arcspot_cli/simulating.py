"""simulate: play histories of the whole stack under faults, and say whether everything held."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from arcspot_cli import terminal
from arcspot_cli.commands import AS_JSON, example

if TYPE_CHECKING:
    from arcspot_simulator.campaign import Campaign
    from arcspot_simulator.history import Outcome

SHOWN_LINES = 60
GUARDS = (
    "margin",
    "boot-fence",
    "drain-condition",
    "hold-unknown",
    "per-item-try",
    "result-fence",
    "reserve-transaction",
    "orphan-two-rounds",
    "zone-facts",
    "new-codes",
    "same-token",
    "unlisted-proof",
    "second-call",
    "end-of-waiting",
    "late-zone",
    "forgotten-instance",
    "vcpus-by-type",
    "wake",
    "heartbeat-below-timeout",
    "pinned-version",
    "per-batch-try",
    "lease-count",
)


@click.command(
    epilog=example(
        "arcspot simulate --seeds 200",
        "arcspot simulate --seeds 1 --seed 17 --history history.txt",
        "arcspot simulate --seeds 500 --ablate hold-unknown",
        "arcspot simulate --seeds 1 --files 100000 --instances 64 --days 30",
    )
)
@click.option(
    "--seeds", type=click.IntRange(min=1), default=200, show_default=True, help="How many histories."
)
@click.option("--seed", "first", type=click.IntRange(min=0), default=0, help="The first seed.")
@click.option("--files", type=click.IntRange(min=0), default=0, help="A load test: so many task files.")
@click.option("--instances", type=click.IntRange(min=0), default=0, help="Slots of the load test.")
@click.option("--days", type=click.FloatRange(min=0.1), default=2.0, show_default=True, help="Virtual days.")
@click.option("--ablate", "guard", type=click.Choice(GUARDS), help="Take one guard out: this must be caught.")
@click.option(
    "--history", "kept", type=click.Path(path_type=Path), help="Write the first history that broke here."
)
@click.option("--workers", type=click.IntRange(min=1), help="Processes; as many as cores by default.")
@AS_JSON
def simulate(
    seeds: int,
    first: int,
    files: int,
    instances: int,
    days: float,
    guard: str | None,
    kept: Path | None,
    workers: int | None,
    as_json: bool,
) -> None:
    """Play histories of the stack under faults: nothing may break the cap or lose a job.

    The real decisions, handlers and state machine run over a fake AWS on a virtual clock; one seed
    is one history, and gives the same one again. Exit status 0 only without violations. See
    docs/guarantees.md for what is checked.
    """
    from arcspot_simulator import campaign
    from arcspot_simulator.history import Size

    size = Size(days=days, files=files, instances=instances)
    with _Progress(seeds) as progress:
        found = campaign.run(
            seeds, first=first, guard=guard, size=size, workers=workers, told=progress,
            enough=lambda so_far: guard is not None and bool(so_far.violations),
        )  # fmt: skip
    if as_json:
        terminal.document(found.to_json() + "\n")
    else:
        terminal.out(*_table(found))
    if found.violations or kept:
        seed = found.violations[0][0] if found.violations else first
        _tell(campaign.story(seed, guard=guard, size=size), kept, seed, guard)
    if found.violations:
        sys.exit(1)


def _table(found: Campaign) -> list[str]:
    from arcspot_simulator.campaign import summary

    return [
        f"{'histories':>24}  {found.seeds:,} ({found.virtual_s / 86400:,.0f} days, {found.steps:,} steps)",
        f"{'jobs':>24}  {found.jobs:,}, of them {found.jobs_done:,} answered",
        f"{'launches':>24}  {found.launches:,}",
        *(f"{name:>24}  {value}" for name, value in summary(found).items()),
        f"{'violations':>24}  {len(found.violations)}",
    ]


def _tell(story: Outcome, kept: Path | None, seed: int, guard: str | None) -> None:
    """The end of a history on stderr, all of it in a file."""
    if kept is not None:
        kept.write_text("\n".join(story.lines) + "\n")
    if story.violation:
        again = f"arcspot simulate --seeds 1 --seed {seed}" + (f" --ablate {guard}" if guard else "")
        terminal.err("", f"the last {SHOWN_LINES} lines of seed {seed}:", *story.lines[-SHOWN_LINES:], "")
        terminal.err(f"seed {seed}: {story.violation}", f"all of it: {again} --history history.txt")


class _Progress:
    """A bar on stderr while histories are played."""

    def __init__(self, seeds: int) -> None:
        self._bar = terminal.bar(seeds, "histories", counted=True)
        self._done = 0

    def __enter__(self) -> _Progress:
        self._bar.__enter__()
        return self

    def __exit__(self, *ended: object) -> None:
        self._bar.__exit__(None, None, None)

    def __call__(self, so_far: Campaign) -> None:
        self._bar.update(so_far.seeds - self._done)
        self._done = so_far.seeds
