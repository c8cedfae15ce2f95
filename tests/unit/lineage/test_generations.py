"""Which checkpoint is gone on from and which are kept: tables of cards and folders."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gpu_runner.lineage import __main__ as command
from gpu_runner.lineage.files import copy, read_folder
from gpu_runner.lineage.generations import (
    Begin,
    Generation,
    cards_of,
    gained,
    newest,
    samples_seen,
    superseded,
    where_to_begin,
)
from gpu_runner.lineage.process import Refused, Run, alive, read_run, record_of, write_run
from gpu_runner.lineage.standing import in_words, last_card, last_report, standing

ROOT = Path(__file__).parents[3]


def call(started_from: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"steps": 1} if started_from is None else {"steps": 1, "started_from": started_from}


GRANDPARENT = {"samples": 100, "history": [call()]}
PARENT = {"samples": 20, "history": [call(GRANDPARENT), call()]}


@pytest.mark.parametrize(
    ("card", "seen"),
    [
        ({"samples": 7, "samples_seen": 70, "history": [call(PARENT)]}, 70),
        ({"samples": 7, "history": [call()]}, 7),
        ({"samples": 7}, 7),
        ({"samples": 7, "history": [call({"file": "no card", "sha256": "x"})]}, 7),
        ({"samples": 7, "history": [call(GRANDPARENT), call()]}, 107),
        ({"samples": 3, "history": [call(PARENT), call()]}, 123),
        ({"samples": 3, "history": [call({"samples": 20, "samples_seen": 120})]}, 123),
    ],
)
def test_samples_seen_are_those_of_all_ancestors(card: dict[str, Any], seen: int) -> None:
    assert samples_seen(card) == seen


def generation(seen: int, folder: str = "lineage") -> Generation:
    return Generation("xs6", seen, Path(folder, f"xs6-{round(seen / 1000)}k.stable.safetensors"), {})


def test_of_two_forks_the_one_with_more_samples_wins_wherever_it_lies() -> None:
    forks = [generation(946_624), generation(1_900_000, "elsewhere"), generation(1_800_000)]
    assert newest(forks) == forks[1]
    assert newest([]) is None


@pytest.mark.parametrize(
    ("generations", "state", "begin"),
    [
        ([], None, Begin(None, from_state=False, seen=0)),
        ([], 5, Begin(None, from_state=True, seen=5)),
        ([900], None, Begin(generation(900), from_state=False, seen=900)),
        ([900, 1800], 1000, Begin(generation(1800), from_state=False, seen=1800, set_aside=True)),
        ([900, 1800], 1800, Begin(None, from_state=True, seen=1800)),
        ([900], 1000, Begin(None, from_state=True, seen=1000)),
    ],
)
def test_a_run_begins_from_what_has_seen_most_and_prefers_its_state(
    generations: list[int], state: int | None, begin: Begin
) -> None:
    assert where_to_begin([generation(seen) for seen in generations], state) == begin


@pytest.mark.parametrize(("seen", "out"), [([], []), ([3, 1], []), ([1, 2, 3], [1]), ([4, 1, 3, 2], [2, 1])])
def test_the_two_that_have_seen_most_are_kept(seen: list[int], out: list[int]) -> None:
    assert [one.seen for one in superseded([generation(n) for n in seen])] == out


@pytest.mark.parametrize(
    ("candidate", "latest", "more"),
    [(500, None, 500), (2_000_000, 900_000, 1_100_000), (900_400, 900_000, 0), (800_000, 900_000, 0)],
)
def test_nothing_is_gained_by_a_generation_of_the_same_name_or_behind(
    candidate: int, latest: int | None, more: int
) -> None:
    assert gained(generation(candidate), None if latest is None else generation(latest)) == more


def test_names_tell_configuration_and_thousands() -> None:
    assert generation(946_624).stem == "xs6-947k"
    assert [path.name for path in cards_of(Path("xs6-947k.stable.safetensors"))] == [
        "xs6-947k.stable.json",
        "xs6-947k.json",
    ]
    assert [path.name for path in cards_of(Path("xs.safetensors"))] == ["xs.json"]


def lay(folder: Path, name: str, body: bytes, **card: Any) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.stable.safetensors"
    path.write_bytes(body)
    plain = {"file": path.name, "sha256": hashlib.sha256(body).hexdigest(), "config": "xs6", "samples": 1}
    (folder / f"{name}.json").write_text(json.dumps(plain | card))
    return path


def test_a_folder_gives_the_checkpoints_of_one_configuration_that_have_cards(tmp_path: Path) -> None:
    lay(tmp_path, "xs6-2k", b"two", samples=2000)
    lay(tmp_path, "xs-3k", b"three", config="xs")
    (tmp_path / "xs6-9k.stable.safetensors").write_bytes(b"no card")
    lay(tmp_path, "xs6-8k", b"torn card").with_name("xs6-8k.json").write_text("{")
    assert [(one.stable.name, one.seen) for one in read_folder(tmp_path, "xs6")] == [
        ("xs6-2k.stable.safetensors", 2000)
    ]
    assert read_folder(tmp_path / "nowhere", "xs6") == []


def test_a_copy_has_a_card_of_its_own_name_and_claims_no_figure_of_other_weights(tmp_path: Path) -> None:
    lay(tmp_path, "xs6", b"x", file="xs6.safetensors", sha256="the decayed", samples=5, validation_exact=0.5)
    (known,) = read_folder(tmp_path, "xs6")
    stable, card = copy(known, tmp_path / "to" / known.stem)
    told = json.loads(card.read_text())
    assert (stable.name, stable.read_bytes()) == ("xs6-0k.stable.safetensors", b"x")
    assert (told["file"], told["sha256"]) == (stable.name, hashlib.sha256(b"x").hexdigest())
    assert (told["samples_seen"], "validation_exact" in told) == (5, False)
    assert sorted(path.name for path in card.parent.iterdir()) == [card.name, stable.name]


def test_a_checkpoint_that_is_not_its_cards_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    lay(tmp_path, "xs6-2k", b"x").write_bytes(b"y")
    (known,) = read_folder(tmp_path, "xs6")
    with pytest.raises(Refused, match="not the file that its card tells of"):
        copy(known, tmp_path / "to" / known.stem)
    assert not (tmp_path / "to").exists()


def test_weights_that_cannot_be_read_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    lay(tmp_path / ".pretrain", "xs6", b"no weights")
    assert command.main(["keep"]) == 1
    assert "not kept" in capsys.readouterr().err
    assert not (tmp_path / "lineage").exists()
    monkeypatch.chdir(tmp_path / ".pretrain")
    assert command.main(["keep"]) == 1
    assert "no xs6 to keep" in capsys.readouterr().err


def test_data_that_is_not_there_is_told_before_anything_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command.main(["start"]) == 1
    told = capsys.readouterr().err
    for part in ("arc lacks", "training/*.json", "rearc.npz.xz", "make pretrain DATA=dir"):
        assert part in told
    assert read_run(tmp_path / ".pretrain") is None


RUN = Run(pid=41, started_ticks=777, config="xs6", seconds=9000.0, began_with=5000, counts_from=4000)


def stat(state: str, ticks: int, name: str = "python") -> str:
    return f"41 ({name}) {state} " + " ".join(["0"] * 18) + f" {ticks} 0 0"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (None, "gone"),
        (stat("S", 777), "running"),
        (stat("R", 777, "a (strange) name"), "running"),
        (stat("T", 777), "paused"),
        (stat("Z", 777), "gone"),
        (stat("S", 778), "gone"),
    ],
)
def test_a_run_is_its_process_id_and_start_time(line: str | None, found: str) -> None:
    assert alive(RUN, line) == found


def test_a_stale_record_is_not_taken_for_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """That process runs, but it is not the one that was begun."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".pretrain").mkdir()
    write_run(tmp_path / ".pretrain", replace(RUN, pid=os.getpid(), started_ticks=1))
    for verb in ("pause", "resume"):
        assert command.main([verb]) == 1
        assert "nothing runs here" in capsys.readouterr().err
    assert command.main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "crashed"
    record_of(tmp_path / ".pretrain").write_text('{"pid": 1}')
    assert read_run(tmp_path / ".pretrain") is None


LOG = """on a CPU
10 pairs, 5 parameters
step 9 samples 700 loss 0.5000 fit 0.100 samples/s 30.1 TFLOP/s 0.020 validation 0.000 seconds 100/9000
step 99 samples 7000 loss 0.2500 fit 0.400 samples/s 70.5 TFLOP/s 0.040 validation 0.050 seconds 400/9000
"""
CARD = {"samples": 8000, "samples_seen": 12_000, "history": [{"steps": 1}]}


def told(state: Any, log: str, **changes: Any) -> Any:
    plain: dict[str, Any] = {
        "pid": 41, "began_with": 5000, "counts_from": 4000, "log_age_s": 60.0, "seconds": 9000.0,
        "kept": 9000, "latest": generation(4000),
    }  # fmt: skip
    return standing(state, log=log, **(plain | changes))


def test_a_log_tells_samples_in_all_pace_loss_and_seconds_left() -> None:
    now = told("running", LOG)
    assert (now.samples_seen, now.gained, now.samples_per_second, now.loss) == (11_000, 7000, 70.5, 0.25)
    assert now.seconds_left == 9000 - 400 - 60
    assert not now.keep_due
    early = told("running", "on a CPU\n")
    assert (early.samples_seen, early.gained, early.seconds_left) == (5000, 1000, 8940)
    assert last_report("on a CPU\n") is None


def test_a_run_that_ended_has_printed_its_card_and_one_that_crashed_has_not() -> None:
    whole = LOG + json.dumps(CARD, indent=2) + "\n"
    assert last_card(whole) == CARD
    assert last_card(LOG) is last_card("") is last_card(whole[:-4]) is None
    assert told("ended", whole).samples_seen == 9000  # those of its decay are gone
    assert told("crashed", "", kept=0).samples_seen == 5000
    words = in_words(told("crashed", LOG + "pretrain: no room\n", pid=None), log=".pretrain/log")
    assert "    pretrain: no room" in words
    assert "make pretrain" in words[-1]


def test_after_a_million_samples_the_next_step_is_to_keep_and_commit() -> None:
    words = in_words(told("running", LOG, latest=None, counts_from=1_000_000), log="log")
    assert "commit" in words[-1]


@pytest.mark.parametrize(
    ("goals", "runs"),
    [
        ("pretrain", "start --seconds 9000"),
        ("pretrain status", "status"),
        ("pretrain DO=pause", "pause"),
        ("pretrain keep DATA=/x", "keep"),
        ("pretrain DATA=/x PRETRAIN_SECONDS=5", "start --seconds 5 --data /x"),
    ],
)
def test_make_knows_the_verbs_behind_pretrain(goals: str, runs: str) -> None:
    done = subprocess.run(
        ["make", "-n", "-o", ".venv/.installed", *goals.split()],
        cwd=ROOT, capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    first = done.stdout.splitlines()[0].replace('"', "").split()
    assert first == [".venv/bin/python", "-m", "gpu_runner.lineage", *runs.split()]


@pytest.mark.parametrize("goals", ["pretrain foo", "pretrain pasue DATA=/x", "pretrain status pause"])
def test_a_wrong_word_behind_pretrain_begins_nothing(goals: str) -> None:
    done = subprocess.run(["make", *goals.split()], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "takes one of: start status pause resume keep" in done.stderr
    assert done.stdout == ""


def test_make_knows_no_such_verb_elsewhere() -> None:
    done = subprocess.run(["make", "-n", "status"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "No rule" in done.stderr


def test_status_and_pause_are_quick_they_import_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from gpu_runner.lineage.__main__ import main; main(['status']); main(['pause']); "
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_committed_lineage_is_what_its_cards_tell() -> None:
    generations = [one for config in ("xs", "xs6", "m") for one in read_folder(ROOT / "lineage", config)]
    stables = sorted((ROOT / "lineage").glob("*.safetensors"))
    assert sorted(one.stable for one in generations) == stables
    assert stables
    for one in generations:
        assert one.stable.name == f"{one.stem}.stable.safetensors"
        assert one.card["file"] == one.stable.name
        assert one.card["sha256"] == hashlib.sha256(one.stable.read_bytes()).hexdigest()
        assert one.card["samples_seen"] == one.seen
        assert "validation_exact" not in one.card
    for config in {one.config for one in generations}:
        of_one = [one for one in generations if one.config == config]
        assert not superseded(of_one), "a merge brought a third: make pretrain keep removes it"
