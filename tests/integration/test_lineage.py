"""The lineage's one background run, really begun, held, ended and kept, on a corpus of two tasks."""

from __future__ import annotations

import io
import json
import lzma
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpu_runner.lineage.files import read_folder
from gpu_runner.lineage.generations import STABLE
from gpu_runner.lineage.process import look, read_run, write_run

ROOT = Path(__file__).parents[2]
QUICK = ("--mix", "8:1", "--batch-tokens", "800", "--report-seconds", "0.3", "--decay-seconds", "1")


class Checkout:
    """A git repository with a corpus in it, in which the command is run as a person would."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.run, self.lineage = folder, folder / ".pretrain", folder / "lineage"
        self.git("init", "--quiet")
        (folder / ".gitignore").write_text(".pretrain/\n")
        training = folder / "arc/training"
        training.mkdir(parents=True)
        for name in ("aa", "bb"):
            pair = {"input": [[1, 2], [3, 4]], "output": [[1, 2], [3, 4]]}
            (training / f"{name}.json").write_text(json.dumps({"train": [pair], "test": [pair]}))
        raw, shapes = io.BytesIO(), np.ones((2, 2), np.uint8)
        np.savez(raw, ids=np.array(["aa"]), counts=np.array([1]), shapes=shapes, cells=np.ones(2, np.uint8))
        (folder / "arc/rearc.npz.xz").write_bytes(lzma.compress(raw.getvalue()))

    def git(self, *words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=self.folder, capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout

    def say(self, verb: str, *options: str, rc: int = 0) -> str:
        """What the command prints; it has to end with `rc`."""
        done = subprocess.run(
            [sys.executable, "-m", "gpu_runner.lineage", verb, *options], cwd=self.folder, text=True,
            capture_output=True, check=False, timeout=180, env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert done.returncode == rc, done.stdout + done.stderr
        return done.stdout + done.stderr

    def start(self, *, rc: int = 0) -> str:
        return self.say("start", "--config", "tiny", "--seconds", "900", "--", *QUICK, rc=rc)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.say("status", "--json"))
        return found

    def until(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        patience = time.monotonic() + 240  # at the lowest priority on a busy machine
        while time.monotonic() < patience:
            now = self.status()
            assert now["state"] in ("running", "paused"), now
            if holds(now):
                return now
            time.sleep(0.1)
        raise AssertionError(now)

    def kept(self) -> list[int]:
        return sorted(one.seen for one in read_folder(self.lineage, "tiny"))


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    made = Checkout(tmp_path)
    yield made
    run = read_run(made.run)
    if run is not None and look(run) != "gone":
        os.killpg(run.pid, signal.SIGKILL)


def grown(checkout: Checkout) -> int:
    """Wait until a stable checkpoint tells of a thousand samples more than the newest generation."""
    least = max(checkout.kept(), default=0) + 1000

    def seen() -> int:
        found = [one for one in read_folder(checkout.run, "tiny") if one.stable.name == f"tiny{STABLE}"]
        return found[0].seen if found else 0

    checkout.until(lambda _: seen() > least)
    return seen()


def test_a_run_is_begun_held_ended_kept_and_gone_on_from(checkout: Checkout) -> None:
    assert checkout.status()["state"] == "none"
    assert "random weights" in checkout.start()
    assert "already running" in checkout.start(rc=1)
    seen = grown(checkout)

    assert "paused" in checkout.say("pause")
    assert "paused" in checkout.say("pause")
    held = checkout.until(lambda now: now["state"] == "paused")
    assert held["samples_seen"] >= seen
    assert "already paused" in checkout.start(rc=1)
    assert "goes on" in checkout.say("resume")
    checkout.until(lambda now: now["state"] == "running" and now["samples_seen"] > held["samples_seen"])

    checkout.say("pause")
    said = checkout.say("keep")
    assert 'git commit -m "Pretraining: tiny at' in said
    (first,) = checkout.kept()
    (stem,) = {path.name.partition(".")[0] for path in checkout.lineage.iterdir()}
    staged = {f"A  lineage/{stem}.json", f"A  lineage/{stem}{STABLE}"}
    assert staged <= set(checkout.git("status", "--short").splitlines())
    assert checkout.status()["state"] == "ended"
    assert "nothing added" in checkout.say("keep")
    assert checkout.kept() == [first]
    checkout.git(
        "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "Pretraining", "lineage"
    )

    assert "the state kept here" in checkout.start()
    assert grown(checkout) > first
    checkout.say("keep")
    _, second = checkout.kept()

    # A fork with more samples arrives: it is gone on from, and the two that have seen most are left.
    ahead = second + 5_000_000
    stable = checkout.lineage / f"tiny-{round(second / 1000)}k{STABLE}"
    other = checkout.lineage / f"tiny-{round(ahead / 1000)}k{STABLE}"
    other.write_bytes(stable.read_bytes())
    card = json.loads(stable.with_name(stable.name.replace(STABLE, ".json")).read_text())
    card |= {"file": other.name, "samples_seen": ahead}
    other.with_name(other.name.replace(STABLE, ".json")).write_text(json.dumps(card))
    said = checkout.start()
    assert f"set aside as .pretrain/tiny.run.pt.behind\nbegun from lineage/{other.name}" in said
    assert grown(checkout) > ahead
    removed = checkout.say("keep")
    assert f"removed lineage/{stem}{STABLE}" in removed
    assert checkout.kept()[0] == ahead
    newest = max(read_folder(checkout.lineage, "tiny"), key=lambda one: one.seen)
    assert newest.card["history"][0]["started_from"]["samples_seen"] == ahead
    assert f"D  lineage/{stem}{STABLE}" in checkout.git("status", "--short")


def test_a_record_whose_process_is_another_one_by_now_does_not_stand_in_the_way(checkout: Checkout) -> None:
    checkout.start()
    run = read_run(checkout.run)
    assert run is not None
    os.killpg(run.pid, signal.SIGKILL)
    while look(run) != "gone":
        time.sleep(0.05)
    now = checkout.status()
    assert (now["state"], now["pid"]) == ("crashed", None)
    write_run(checkout.run, replace(run, pid=os.getpid()))  # its id was given to us
    assert checkout.status()["state"] == "crashed"
    assert "begun from" in checkout.start()
