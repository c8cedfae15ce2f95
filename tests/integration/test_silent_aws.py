"""What a file costs of a processor is measured over the real adapters, against a server of our own."""

from __future__ import annotations

from bench import dropping


def test_a_file_costs_some_processor_over_the_real_adapters() -> None:
    assert 0 < dropping.measure(files=20, batch=20) < 1
