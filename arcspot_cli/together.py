"""Do many things of one kind at once, and hear of each as it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def together(
    act: Callable[[T], R], items: Iterable[T], *, at_once: int
) -> Iterator[tuple[T, R | None, Exception | None]]:
    """Each item with what `act` gave or raised, in the order in which they end.

    No more are under way than twice as many as run at once. Whoever stops listening, by Ctrl-C too, waits
    for those that run and starts no other.
    """
    pool = ThreadPoolExecutor(max_workers=at_once)
    under_way: dict[Future[R], T] = {}
    try:
        for item in items:
            under_way[pool.submit(act, item)] = item
            if len(under_way) >= 2 * at_once:
                yield from _ended(under_way)
        while under_way:
            yield from _ended(under_way)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _ended(under_way: dict[Future[R], T]) -> Iterator[tuple[T, R | None, Exception | None]]:
    for future in wait(under_way, return_when=FIRST_COMPLETED).done:
        item, error = under_way.pop(future), future.exception()
        if error is not None and not isinstance(error, Exception):
            raise error
        yield item, None if error else future.result(), error
