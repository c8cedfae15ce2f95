"""Minutes-long measurements: the local stack, the demo, the solver."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import boto3

from arcspot.domain import results, scoring, tasks
from arcspot_cli.local import stack as local
from bench.processes import PeakMemory
from gpu_runner import saying

FOUR = ("6150a2bd", "67a3c6ac", "0d3d703e", "a5313dff")
SOLVE_SECONDS = 110
SEED = 0
DEMO_SECONDS = 900.0
LAYERS = ("CommonLayer", "RunnerBundle")
Say = Callable[[str], None]


def stack(project: Path, say: Say) -> dict[str, Any]:
    """Seconds for `up` with nothing built and with everything built; peak memory; sizes of the layers."""
    with tempfile.TemporaryDirectory(prefix="arcspot-bench-") as folder:
        home = Path(folder)
        options = local.LocalOptions(project_dir=project, home=home)
        with PeakMemory() as memory:
            clean = _up_and_down(options, home, say)
            built = _up_and_down(options, home, say)
        sizes = {name: zipped_bytes(home / "build" / "sam" / name) for name in LAYERS}
    return {
        "up_clean_s": round(clean, 1),
        "up_built_s": round(built, 1),
        "peak_bytes": memory.peak_bytes,
        "peak_proportional_bytes": memory.peak_proportional_bytes,
        "zip_bytes": sizes,
    }


def _up_and_down(options: local.LocalOptions, home: Path, say: Say) -> float:
    began = time.perf_counter()
    try:
        local.up(options, report=say)
        return time.perf_counter() - began
    finally:
        local.down(options.project_dir, home=home, report=say)


def zipped_bytes(folder: Path) -> int:
    """Size of the zip that `sam deploy` uploads of a built folder; 0 when it was not built."""
    if not folder.is_dir():
        return 0
    with tempfile.TemporaryFile() as target:
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(folder.rglob("*")):
                archive.write(path, path.relative_to(folder))
        return target.tell()


def demo(project: Path, say: Say, command: Sequence[str] = ()) -> dict[str, Any]:
    """Seconds from the demo's start to the first right answer in the bucket; peak memory of all of it.

    The bucket is looked at from outside, so the figure does not depend on what the demo prints.
    """
    known = {
        task.task_id: task
        for path in (project / "examples" / "tasks").glob("*.json")
        for task in tasks.read_task_file(path.name, path.read_bytes()).tasks
    }
    with tempfile.TemporaryDirectory(prefix="arcspot-bench-") as out, PeakMemory() as memory:
        began = time.perf_counter()
        process = subprocess.Popen(
            command or ("make", "demo", f"OUT={out}/results"),
            cwd=project,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
        )
        up_s = first_s = None
        rights: set[str] = set()
        while process.poll() is None and time.perf_counter() - began < DEMO_SECONDS:
            time.sleep(0.5)
            running = local.load(project)
            if running is None:
                continue
            up_s = up_s or time.perf_counter() - began
            rights |= _right_answers(running, known)
            if rights and first_s is None:
                first_s = time.perf_counter() - began
                say(f"first right answer after {first_s:.0f} s")
        if process.poll() is None:
            process.send_signal(signal.SIGINT)  # as Ctrl-C: it takes its stack down
        code = process.wait()
        whole_s = time.perf_counter() - began
    return {
        "stack_up_s": None if up_s is None else round(up_s, 1),
        "first_right_s": None if first_s is None else round(first_s, 1),
        "whole_s": round(whole_s, 1),
        "right": sorted(rights),
        "tasks": len(known),
        "exit_code": code,
        "peak_bytes": memory.peak_bytes,
        "peak_proportional_bytes": memory.peak_proportional_bytes,
        "peak_processes": memory.peak_processes,
    }


def _right_answers(running: local.LocalStack, known: dict[str, tasks.Task]) -> set[str]:
    """Ids of the known tasks whose delivered answers are right; none while the stack comes or goes."""
    environment = running.environment()
    s3 = boto3.client(
        "s3",
        endpoint_url=running.endpoint_url,
        region_name=running.region,
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )
    right = set()
    try:
        for bucket in (each["Name"] for each in s3.list_buckets()["Buckets"]):
            for item in s3.list_objects_v2(Bucket=bucket, Prefix="results/").get("Contents", []):
                if not item["Key"].endswith(f"/{results.RESULT}"):
                    continue
                packed = {results.RESULT: s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()}
                task = known.get(results.document(packed, results.MANIFEST)["task_id"])
                found = scoring.read_prediction(results.document(packed, results.PREDICTION))
                scored = scoring.score_task(task, found) if task else None
                if task and scored and scored.all_right:
                    right.add(task.task_id)
    except Exception as error:  # the stack may be on its way down at any of these calls
        saying.err(f"bench: not yet: {error}")
    return right


def solve(folder: Path, say: Say) -> dict[str, Any]:
    """Seconds and score of the four tasks that must come back right, each in a process of its own."""
    found = {}
    for name in FOUR:
        path = next(folder.rglob(f"{name}.json"), None)
        if path is None:
            raise SystemExit(f"error: no {name}.json under {folder}; give the folder of ARC's training tasks")
        command = (sys.executable, "-m", "bench.one_task", str(path), str(SOLVE_SECONDS), str(SEED))
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        found[name] = json.loads(told)
        say(f"{name}: {'right' if found[name]['right'] else 'wrong'} in {found[name]['seconds']:.0f} s")
    return {"seed": SEED, "budget_s": SOLVE_SECONDS, "tasks": found}
