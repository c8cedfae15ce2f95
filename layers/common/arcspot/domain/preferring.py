"""Which READY job suits which launch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from arcspot.domain.jobs import Job


def preferred(jobs: Sequence[Job], *, on_demand: bool) -> list[Job]:
    """READY jobs in the order in which a launch tries them; urgent lanes stay first.

    Within a lane an on-demand instance takes those first that spot instances were taken away under again
    and again; a spot instance takes them last, so that they come to nobody only if there is no other work.
    """
    return sorted(jobs, key=lambda job: (job.lane, job.often_interrupted is not on_demand))


def wants_on_demand(jobs: Iterable[Job]) -> bool:
    """Whether some job was interrupted so often that an instance nobody takes away is worth its price."""
    return any(job.often_interrupted for job in jobs)
