"""The whole runner as one process under bootstrap.sh: real sockets, real solver, a played server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from arcspot.domain import results
from tests.unit.runner.runner_fakes import FakeImds

pytest.importorskip("torch")

ROOT = Path(__file__).parents[2]
TASK = {
    "train": [{"input": [[1, 2], [3, 4]], "output": [[2, 1], [4, 3]]}],
    "test": [{"input": [[5, 6], [7, 8]]}],
}


# Drawn by lot: no small hypothesis is sure of it, so the network has to work.
LONG_TASK = {
    "train": [
        {"input": [[1, 0, 3], [0, 7, 0], [2, 5, 5]], "output": [[4, 0, 9], [9, 4, 6], [0, 6, 4]]},
        {"input": [[0, 3, 0], [6, 6, 1], [0, 2, 8]], "output": [[9, 9, 0], [4, 0, 6], [6, 4, 9]]},
        {"input": [[5, 2, 2], [8, 0, 0], [1, 3, 7]], "output": [[6, 4, 4], [0, 9, 9], [9, 0, 6]]},
    ],
    "test": [{"input": [[0, 1, 6], [3, 0, 2], [7, 8, 0]]}],
}


class Cloud:
    """runner_api behind Lambda's invoke URL, and a bucket, on one port."""

    def __init__(self, *, budget_s: float, task: dict[str, Any] = TASK) -> None:
        self.calls: list[dict[str, Any]] = []
        self.task = task
        self.objects: dict[str, bytes] = {}
        self.jobs = [budget_s]
        self.left: dict[str, Any] | None = None
        self.in_hand = False
        cloud = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None: ...

            def answer(self, body: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def body(self) -> bytes:
                return self.rfile.read(int(self.headers["Content-Length"]))

            def do_GET(self) -> None:
                self.answer(cloud.objects[self.path])

            def do_PUT(self) -> None:
                cloud.objects[self.path] = self.body()
                self.answer(b"")

            def do_POST(self) -> None:
                request = json.loads(self.body())
                cloud.calls.append(request)
                self.answer(json.dumps({"ok": True, "result": cloud.result(request)}).encode())

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()

    def result(self, request: dict[str, Any]) -> dict[str, Any]:
        """What the server grants: one job, then nothing; a drain once nothing is in hand."""
        verb = request["verb"]
        if verb == "hello":
            return {
                "secret": "s", "deadline_in_s": 600, "idle_s": 1, "heartbeat_s": 0.2, "lease_s": 120,
                "parallel": 8,
            }  # fmt: skip
        if verb == "claim":
            leases = [
                {"job_id": "j", "task_id": "t", "fence": 1, "expires_in_s": 120, "config": {"seed": 1},
                 "task": json.dumps(self.task), "budget_s": self.jobs.pop(),
                 "checkpoint_url": self.left and f"{self.url}/checkpoint/state.safetensors",
                 "checkpoint": self.left}
            ] if self.jobs else []  # fmt: skip
            self.in_hand = self.in_hand or bool(leases)
            return {"leases": leases, "drain": not self.in_hand}
        if verb in ("complete", "fail", "release"):
            self.in_hand = False
        if verb == "heartbeat":
            return {"lost": [], "cancelled": [], "drain": False, "deadline_in_s": 600}
        if verb == "uploads":
            names = [each["name"] for each in request["files"]]
            return {
                "urls": {n: {"url": f"{self.url}/{request['purpose']}/{n}", "headers": {}} for n in names}
            }
        return {"result_prefix": "results/j/1/"} if verb == "complete" else {}

    def said(self, verb: str) -> list[dict[str, Any]]:
        return [each for each in self.calls if each["verb"] == verb]


@pytest.fixture
def imds() -> Iterator[FakeImds]:
    server = FakeImds()
    yield server
    server.close()


def start(cloud: Cloud, imds: FakeImds, folder: Path, *, at_once: int = 1) -> subprocess.Popen[str]:
    """Boot the runner as the local instance host does."""
    bin_folder = folder / "bin"
    bin_folder.mkdir()
    (bin_folder / "shutdown").write_text("#!/bin/sh\nexit 0\n")
    (bin_folder / "shutdown").chmod(0o755)
    env = {
        "PATH": os.pathsep.join([str(bin_folder), str(Path(sys.executable).parent), os.defpath]),
        "HOME": str(folder),
        "ARCSPOT_INSTANCE_DIR": str(folder),
        "ARCSPOT_STACK": "arcspot",
        "ARCSPOT_RUNNER_API": "runner-api",
        "ARCSPOT_BUNDLE": str(ROOT),
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ENDPOINT_URL": cloud.url,
        "AWS_ACCESS_KEY_ID": "AKID",
        "AWS_SECRET_ACCESS_KEY": "SECRET",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": imds.url,
        "OMP_NUM_THREADS": "2",
        "ARCSPOT_AT_ONCE": str(at_once),
    }
    return subprocess.Popen(
        ["bash", ROOT / "gpu_runner" / "bootstrap.sh"],
        env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def test_a_runner_solves_a_real_task_and_delivers_every_file(imds: FakeImds, tmp_path: Path) -> None:
    cloud = Cloud(budget_s=3)
    process = start(cloud, imds, tmp_path)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, out
    (done,) = cloud.said("complete")
    assert list(done["files"]) == ["result.zip"]
    delivered = results.unpacked(cloud.objects["/result/result.zip"])
    assert set(delivered) == {
        "prediction.json", "adapted.safetensors", "metrics.json", "picture.svg", "manifest.json",
    }  # fmt: skip
    (answer,) = json.loads(delivered["prediction.json"])
    assert set(answer) == {"attempt_1", "attempt_2"}
    assert cloud.said("bye")[0]["why"] == "idle"
    assert cloud.said("hello")[0]["proof"]["headers"] == {"x-arcspot-launch": "launch-1"}
    assert any(each["leases"] for each in cloud.said("heartbeat"))
    assert b"serving" in cloud.objects["/log/runner.log"]


def until_it_adapts(cloud: Cloud, process: subprocess.Popen[str]) -> None:
    """Wait until a heartbeat says that the network is being trained."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        if any(lease["phase"] == "adapt" for b in cloud.said("heartbeat") for lease in b["leases"]):
            return
        time.sleep(0.05)


@pytest.mark.parametrize("at_once", [1, 2])
def test_after_a_spot_notice_another_runner_goes_on_where_the_first_one_was(
    imds: FakeImds, tmp_path: Path, at_once: int
) -> None:
    """In the runner's own process, and in a worker's."""
    cloud = Cloud(budget_s=300, task=LONG_TASK)
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
    first = start(cloud, imds, folders[0], at_once=at_once)
    until_it_adapts(cloud, first)
    imds.documents["meta-data/spot/instance-action"] = '{"action": "terminate"}'
    out, _ = first.communicate(timeout=90)
    (released,) = cloud.said("release")
    (row,) = released["leases"]
    cloud.left = row["checkpoint"]
    assert cloud.left is not None, out
    assert cloud.left["key"] == "checkpoints/j/1/state.safetensors", out
    assert cloud.left["bytes"] == len(cloud.objects["/checkpoint/state.safetensors"])

    del imds.documents["meta-data/spot/instance-action"]
    cloud.jobs = [
        row["seconds"] + 15
    ]  # a busy machine may need most of it to come to where the first one was
    out, _ = start(cloud, imds, folders[1], at_once=at_once).communicate(timeout=120)
    assert "resumed at step" in out
    assert "resumed at step 0 " not in out
    assert len(cloud.said("complete")) == 1
    delivered = results.unpacked(cloud.objects["/result/result.zip"])
    assert json.loads(delivered["metrics.json"])["seconds_before"] > 0


def test_a_runner_told_to_stop_gives_its_job_back_within_seconds(imds: FakeImds, tmp_path: Path) -> None:
    cloud = Cloud(budget_s=300)
    process = start(cloud, imds, tmp_path)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if any(
            lease["phase"] not in ("waiting", "fetching")
            for b in cloud.said("heartbeat")
            for lease in b["leases"]
        ):
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    out, _ = process.communicate(timeout=90)
    assert time.monotonic() - began < 60  # the contract's minute
    (released,) = cloud.said("release")
    assert (released["why"], [each["job_id"] for each in released["leases"]]) == ("interrupted", ["j"]), out
    assert cloud.said("bye")[0]["why"] == "interrupted"
    assert cloud.said("complete") == []
