"""One job's work: the task without its answers, the artefacts, the model, the log."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from arcspot.domain import results
from arcspot.errors import TaskFileRefused
from gpu_runner import host
from gpu_runner.artefacts import Maker, plain_json, summary
from gpu_runner.checkpoint import Checkpoints
from gpu_runner.contract import Lease
from gpu_runner.logs import JsonLines, LogShipper, tail
from gpu_runner.solving import ModelMissing, Stopped, pick_model
from gpu_runner.work import Workshop, read_task
from tests.unit.runner.runner_fakes import Clock, FakeApi, FakeSolver, FakeTransfer, lease

TASK = {
    "train": [{"input": [[1, 2]], "output": [[2, 1]]}],
    "test": [{"input": [[3, 4]], "output": [[4, 3]]}, {"input": [[5]], "output": [[5]]}],
}
MAKER = Maker("launch-1", "i-1", "cpu", None, "2.13", "0.1.0", "7")


class Shop:
    """A workshop with fakes around it; `body` is the task file of the job `a`."""

    def __init__(self, tmp_path: Path, body: object = TASK) -> None:
        self.scratch = tmp_path
        self.api, self.solver = FakeApi(), FakeSolver()
        self.transfer = FakeTransfer({"http://s3/a": json.dumps(body).encode()})
        self.phases: list[str] = []
        models = tmp_path / "models"
        models.mkdir()
        self.checkpoints = Checkpoints(self.api, self.transfer, tmp_path)  # type: ignore[arg-type]
        self.workshop = Workshop(
            self.api, self.transfer, self.solver, MAKER, models, tmp_path, Clock().now, self.checkpoints  # type: ignore[arg-type]
        )  # fmt: skip

    def do(self, *, stop: bool = False, job: Lease | None = None) -> Any:
        return self.workshop(
            job or lease("a", fence=3),
            seconds=45,
            progress=lambda phase, fraction: self.phases.append(phase),
            should_stop=lambda: stop,
        )

    def files(self) -> dict[str, bytes]:
        return results.unpacked(dict(self.transfer.put)["result.zip"])

    def delivered(self, name: str) -> Any:
        return json.loads(self.files()[name])


def test_the_solver_never_sees_a_test_output(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.do()
    (seen,) = shop.solver.saw
    assert [set(each) for each in seen["test"]] == [{"input"}, {"input"}]
    assert seen["train"] == TASK["train"]


def test_the_task_of_a_lease_is_solved_without_fetching_anything(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.transfer.objects.clear()
    shop.do(job=replace(lease("a", fence=3), task=json.dumps(TASK), input_url=""))
    (seen,) = shop.solver.saw
    assert [set(each) for each in seen["test"]] == [{"input"}, {"input"}]
    assert shop.delivered("manifest.json")["task_id"] == "task-a"


def test_a_lease_with_something_else_for_a_task_is_refused_by_name(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    for text in ("[]", "{", '{"train": [], "test": []}'):
        with pytest.raises(TaskFileRefused, match="task-a"):
            shop.do(job=replace(lease("a"), task=text))


def test_the_picture_does_not_know_the_test_outputs_either() -> None:
    assert read_task(lease("a"), json.dumps(TASK).encode()).test_outputs is None


def test_a_task_is_found_by_its_id_in_a_file_of_many(tmp_path: Path) -> None:
    other = {"train": [{"input": [[0]], "output": [[0]]}], "test": [{"input": [[0]]}]}
    shop = Shop(tmp_path, {"task-b": other, "task-a": TASK})
    shop.do()
    assert len(shop.solver.saw[0]["test"]) == 2


@pytest.mark.parametrize("body", [b"not json", b'{"task-b": {"train": [], "test": []}}', b""])
def test_a_task_that_is_not_there_is_refused_by_name(body: bytes) -> None:
    with pytest.raises(TaskFileRefused, match="task-a"):
        read_task(lease("a"), body)


def test_a_result_is_one_put_and_holds_its_five_files_the_manifest_last(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    delivered = shop.do()
    names = ["adapted.safetensors", "picture.svg", "metrics.json", "prediction.json", "manifest.json"]
    assert [name for name, _ in shop.transfer.put] == ["result.zip"]
    assert [each.name for each in delivered.files] == ["result.zip"]
    assert shop.api.uploaded == [("result", ["result.zip"])]
    assert list(shop.files()) == names
    assert shop.phases == ["fetching", "adapting", "uploading"]


def test_the_same_result_is_the_same_bytes_whenever_it_is_packed(tmp_path: Path) -> None:
    once, again = tmp_path / "once", tmp_path / "again"
    for folder in (once, again):
        folder.mkdir()
    (first,), (second,) = (Shop(folder).do().files for folder in (once, again))
    assert first.sha256 == second.sha256, "a PUT that is repeated is seen to be the same"


def test_the_manifest_holds_the_sums_of_what_was_delivered(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.do()
    manifest = shop.delivered("manifest.json")
    bodies = {name: body for name, body in shop.files().items() if name != "manifest.json"}
    assert manifest["files"] == {
        name: {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
        for name, body in bodies.items()
    }
    said = (manifest["job_id"], manifest["fence"], manifest["launch_id"], manifest["solver_version"])
    assert said == ("a", 3, "launch-1", "7")


def test_the_prediction_has_kaggles_form(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.do()
    assert shop.delivered("prediction.json") == [{"attempt_1": [[1, 2]], "attempt_2": [[3, 4]]}] * 2


def test_metrics_are_strict_json_and_name_their_maker(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.do()
    metrics = shop.delivered("metrics.json")
    assert metrics["loss"] == [1.0, None]
    assert (metrics["instance_id"], metrics["device"], metrics["seed"]) == ("i-1", "cpu", 7)


def test_the_picture_is_well_formed(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.do()
    assert ElementTree.fromstring(shop.files()["picture.svg"]).tag.endswith("svg")


def test_a_solver_that_forgets_a_test_input_fails_the_job(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    real = shop.solver.__call__
    shop.workshop = Workshop(
        shop.api, shop.transfer, lambda task, **rest: real({**task, "test": task["test"][:1]}, **rest),  # type: ignore[arg-type]
        MAKER, tmp_path / "models", tmp_path, Clock().now, shop.checkpoints,
    )  # fmt: skip
    with pytest.raises(ValueError, match="1 answers for 2"):
        shop.do()


def test_nothing_is_uploaded_once_asked_to_stop_and_nothing_stays_on_the_disk(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    with pytest.raises(Stopped):
        shop.do(stop=True)
    assert shop.transfer.put == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept-a-3.safetensors", "models"]
    shop.checkpoints.forget(lease("a", fence=3))
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


def test_the_jobs_budget_is_for_all_its_runs_and_the_runners_time_for_this_one(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.do()
    assert shop.solver.budgets == [(60.0, 45)]


def test_the_summary_has_single_figures_only_and_stays_small() -> None:
    metrics = {"loss": [1.0] * 999, "confidence": 0.5, "bad": float("nan"), "text": "x" * 5000}
    assert summary(metrics, {"seconds": 3.0}) == {"confidence": 0.5, "seconds": 3.0}
    assert len(json.dumps(summary({f"figure-{i}": i for i in range(9999)}, {}))) <= 4096


def test_numpy_scalars_become_numbers() -> None:
    numpy = pytest.importorskip("numpy")
    assert plain_json({"a": numpy.float32(0.5), "b": numpy.arange(2)}) == {"a": 0.5, "b": [0, 1]}


def models(folder: Path, manifest: str | None, *names: str) -> Path:
    for name in names:
        (folder / name).write_bytes(name.encode())
    if manifest is not None:
        (folder / "manifest.json").write_text(manifest)
    return folder


@pytest.mark.parametrize(
    ("device", "chosen"),
    [("cpu", "small.safetensors"), ("cuda", "b.safetensors"), ("cuda:1", "b.safetensors")],
)
def test_auto_takes_what_the_manifest_names_whatever_the_sizes(
    tmp_path: Path, device: str, chosen: str
) -> None:
    named = '{"auto": {"cpu": "small.safetensors", "cuda": "b.safetensors"}}'
    folder = models(
        tmp_path, named, "a-very-much-larger-one.safetensors", "b.safetensors", "small.safetensors"
    )
    path, why = pick_model(folder, "auto", device=device)
    assert path == folder / chosen
    assert chosen in why


@pytest.mark.parametrize(
    ("manifest", "told"),
    [
        (None, "expected is"),
        ("{", "expected is"),
        ("[]", "expected is"),
        ('{"auto": {"cuda": "a.safetensors"}}', "no model for cpu"),
        ('{"auto": {"cpu": ["a.safetensors"]}}', "expected is"),
        ('{"auto": {"cpu": "gone.safetensors"}}', "names 'gone.safetensors'"),
        ('{"auto": {"cpu": "../a.safetensors"}}', "names '../a.safetensors'"),
    ],
)
def test_a_manifest_that_cannot_be_followed_is_named(tmp_path: Path, manifest: str | None, told: str) -> None:
    folder = models(tmp_path, manifest, "a.safetensors")
    with pytest.raises(ModelMissing, match=re.escape(told)) as refused:
        pick_model(folder, "auto", device="cpu")
    assert str(folder / "manifest.json") in str(refused.value)


def test_a_manifest_without_any_model_is_no_start_from_scratch(tmp_path: Path) -> None:
    folder = models(tmp_path, '{"auto": {"cpu": "a.safetensors"}}')
    with pytest.raises(ModelMissing, match="is not in"):
        pick_model(folder, "auto", device="cpu")


@pytest.mark.parametrize("name", ["missing.safetensors", "../secret", ""])
def test_a_model_outside_the_bundle_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelMissing):
        pick_model(tmp_path / "models", name, device="cpu")


def test_a_bundle_without_models_solves_from_scratch(tmp_path: Path) -> None:
    assert pick_model(tmp_path, "auto", device="cpu")[0] is None


def test_a_log_line_is_json_with_its_launch_and_job() -> None:
    record = logging.LogRecord("x", logging.INFO, "f", 1, "hello %s", ("you",), None)
    record.job = "a"
    line = json.loads(JsonLines("launch-1").format(record))
    assert (line["message"], line["launch"], line["job"], line["level"]) == (
        "hello you",
        "launch-1",
        "a",
        "INFO",
    )


def test_the_log_is_shipped_only_when_it_grew(tmp_path: Path) -> None:
    log, api, transfer = tmp_path / "run.log", FakeApi(), FakeTransfer()
    shipper = LogShipper(api, transfer, log, tmp_path)  # type: ignore[arg-type]
    assert not shipper.ship()
    log.write_text("one\n")
    assert [shipper.ship(), shipper.ship()] == [True, False]
    log.write_text("one\ntwo\n")
    assert shipper.ship()
    assert transfer.put == [("runner.log", b"one\n"), ("runner.log", b"one\ntwo\n")]
    assert api.uploaded == [("log", ["runner.log"])] * 2


def test_a_long_log_is_cut_at_the_start_of_a_line(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("first\nsecond\nthird\n")
    assert tail(tmp_path / "log", 16) == b"second\nthird\n"[-13:]


@pytest.mark.parametrize(("said", "heard"), [("37\n12\n", 37.0), ("[N/A]\n", None), ("", None), (None, None)])
def test_gpu_utilisation_is_the_first_cards_or_nothing(said: str | None, heard: float | None) -> None:
    assert host.gpu_utilisation(lambda command: said) == heard
