"""Whatever a file holds, reading it stays within the memory and time of a function."""

from __future__ import annotations

import subprocess
import sys

import pytest

from arcspot.domain.tasks import MAX_FILE_BYTES
from bench import reading

# Python itself, a body of 16 MiB and its text are 50 MB; the worst kind was measured at 161 MB in all.
ADDRESS_SPACE = 400_000_000
CPU_SECONDS = 120
"""For all kinds together on a slow machine; here it is 8. One that takes quadratic time never ends."""

READ_ALL = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_CPU, ({CPU_SECONDS}, {CPU_SECONDS}))
resource.setrlimit(resource.RLIMIT_AS, ({ADDRESS_SPACE}, {ADDRESS_SPACE}))
from arcspot.domain.tasks import describe, read_task_file
from bench.reading import KINDS
for kind in KINDS:
    body = KINDS[kind]({MAX_FILE_BYTES})
    file = read_task_file("tasks/b/x.json", body)
    faults = [describe("x", fault) for fault in file.faults]
    short = len(faults) <= 101 and max(map(len, faults), default=0) < 500
    print(kind, len(body) <= {MAX_FILE_BYTES}, len(file.tasks) > 0, short, sep="|")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps a process to RLIMIT_AS")
def test_the_worst_files_of_the_largest_size_are_read_within_a_functions_memory() -> None:
    ran = subprocess.run([sys.executable, "-c", READ_ALL], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-300:] + ran.stderr[-2000:]
    told = [line.split("|") for line in ran.stdout.splitlines()]
    assert [each[0] for each in told] == list(reading.KINDS)
    assert [each for each in told if (each[1], each[3]) != ("True", "True")] == []
    answered = {each[0] for each in told if each[2] == "True"}
    assert answered == {*reading.EARNEST, "tasks of one cell"}


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_a_measurement_says_what_was_read_and_what_it_took() -> None:
    found = reading.measure("NaN", 3 << 20)
    assert (
        found["said"] == "$ expected JSON, which has no NaN and no Infinity; found NaN at line 1, column 11."
    )
    assert (found["tasks"], found["faults"]) == (0, 1)
    assert found["peak_bytes"] > found["bytes"]
