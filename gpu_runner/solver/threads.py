"""How many CPU threads torch uses, and how they wait.

Threads that spin at a barrier while another process holds their core made an optimiser step ten times slower
on two busy cores (5.7 s instead of 0.35 s for a 3×3 task). So they sleep instead, where this module is
imported before torch: OpenMP reads the setting once, when it is loaded. And on a small canvas one thread does
the work: a second saves a third of the time on an idle machine and costs more than that on a busy one.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import contextlib
from collections.abc import Iterator

import torch

SMALL_HALF = 8


@contextlib.contextmanager
def threads_for(half: int, device: str) -> Iterator[None]:
    """One thread for a CPU and canvases of side up to 2·SMALL_HALF, else what torch was told before."""
    before = torch.get_num_threads()
    if device.startswith("cuda") or half > SMALL_HALF:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
