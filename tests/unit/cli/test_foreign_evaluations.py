"""An evaluation's file that anybody wrote: compared, gone on from, or one sentence that names the place."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from arcspot_cli.errors import CommandFailed
from arcspot_cli.evaluation import comparing, crediting, keeping
from arcspot_cli.evaluation.figures import Result
from tests.fakes.mutations import VALUES, mutants

RESULT = {
    "id": "t",
    "digest": "d",
    "score": 1.0,
    "pass_at_1": 1.0,
    "all_right": True,
    "oracle": 1.0,
    "sizes_right": 1.0,
    "demo_fit": 0.5,
    "seconds": 1.5,
    "confidence": 0.5,
    "attempts": [{"attempt_1": [[1]], "attempt_2": [[2]]}],
    "votes": [[{"grid": [[1]], "votes": 3, "share": 0.5}]],
    "loss_curve": [[1, 0.5]],
    "solved_by": {"rules": 1.0},
}
DOCUMENT = {
    "format": keeping.FORMAT,
    "key": "k",
    "settings": {"only": "both"},
    "tasks": [RESULT | {"base": RESULT}],
}


def text(document: object) -> str:
    return json.dumps(document)


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_tasks_that_are_no_tasks_are_one_sentence(tmp_path: Path, value: object) -> None:
    file = tmp_path / "x.json"
    file.write_text(text(DOCUMENT | {"tasks": value}))
    if value == []:
        assert keeping.read(file)[1] == []
        return
    with pytest.raises(CommandFailed, match=r"x\.json: "):
        keeping.read(file)


def test_any_value_of_an_evaluation_is_used_or_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    refused = used = 0
    every = list(mutants(DOCUMENT))
    for document in every:
        file.write_text(text(document))
        try:
            about, results = keeping.read(file)
        except CommandFailed as fault:
            refused += str(fault).startswith(f"{file}: ") and "\n" not in str(fault)
        else:
            used += 1
            assert isinstance(crediting.arm(about), str)
            if results and results[0].score is not None:
                comparing.compare(results, results, rng=np.random.default_rng(0), rounds=10)
            keeping.Keeper(file, "k").finish({**about, "tasks": [one.to_json() for one in results]})
    assert refused + used == len(every)
    assert used > 10


@pytest.mark.parametrize(
    "body",
    [
        b"", b"\xff", b"[" * 100_000, b"1" * 5000, b'{"format": NaN}', b"\x00", b'"x"',
        b'{"a":' * 200 + b"1" + b"}" * 200,
    ],
    ids=lambda body: repr(body[:12]),
)  # fmt: skip
def test_bytes_that_are_no_evaluation_are_one_sentence(tmp_path: Path, body: bytes) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(body)
    with pytest.raises(CommandFailed, match=r"x\.json: "):
        keeping.read(file)


def test_any_line_kept_beside_an_evaluation_costs_no_other(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    line = {"key": "k", "variant": "adapted", "result": RESULT}
    lines = [text(each) for each in mutants(line)] + ["[" * 10_000, "1" * 5000, "", "\x00"]
    keeper = keeping.Keeper(file, "k")
    keeper.open()
    good = Result.from_json(RESULT | {"digest": "good"})
    assert keeper.beside is not None
    keeper.beside.write_text("\n".join(lines) + "\n", encoding="utf-8")
    keeper.add("adapted", good)
    assert keeper.found()["adapted", "good"] == good
    keeper.finish({"format": keeping.FORMAT, "key": "k", "tasks": [good.to_json()]})
    assert keeping.read(file)[1] == [good]
