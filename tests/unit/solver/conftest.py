"""One thread: tiny networks gain nothing from a second, and lose much on a busy machine."""

from gpu_runner.solver import threads  # isort: skip  # before torch is loaded

import pytest
import torch

from gpu_runner.solver import precision, reasoning

assert threads.SMALL_HALF


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="session")
def single_precision():
    """fp32 on every machine: sums in another order then come out nearly alike."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precision, "multiplies_bf16", lambda: False)
        yield


@pytest.fixture
def bf16(monkeypatch):
    """As on a CPU that multiplies bf16."""
    monkeypatch.setattr(precision, "multiplies_bf16", lambda: True)


def nothing(task, **_):
    """As `reasoning.reason` where it finds no rule."""
    return reasoning.Reasoned((), tuple(() for _ in task.tests))


@pytest.fixture
def no_rules(monkeypatch):
    """For tests of the network: the search for rules takes seconds and finds none."""
    monkeypatch.setattr(reasoning, "reason", nothing)


@pytest.fixture(scope="module")
def rules_once():
    """A task's rules are looked for once, to their end: that would take most of each solve's time."""
    real, known = reasoning.reason, {}

    def reason(task, *, seed, go_on):
        key = repr(task), seed
        if key not in known:
            known[key] = real(task, seed=seed, go_on=go_on)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reasoning, "reason", reason)
        yield
