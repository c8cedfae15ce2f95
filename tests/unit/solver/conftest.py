"""One thread: tiny networks gain nothing from a second, and lose much on a busy machine."""

from gpu_runner.solver import threads  # isort: skip  # before torch is loaded

import pytest
import torch

assert threads.SMALL_HALF


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
