"""Refitting the confidence: it recovers what made the scores, and leaves alone what it cannot see."""

import json
import math
import random

import numpy as np
import pytest

from bench import calibrate
from gpu_runner.solver.confidence import COEFFICIENTS, probability


def task(name, share, score, *, demo_fit=1.0, hypothesis="specific", tests=1):
    ranked = [
        {"grid": [[1]], "votes": 9, "share": share, "log_likelihood": -0.1},
        {"grid": [[2]], "votes": 1, "share": (1 - share) / 2, "log_likelihood": -0.2},
    ]
    return {
        "id": name,
        "score": score,
        "confidence": 0.5,
        "hypothesis": hypothesis,
        "demo_fit": demo_fit,
        "votes": [ranked] * tests,
    }


def evaluation(count=400, seed=0):
    """A solver that is right much more often than the present coefficients believe."""
    rng = random.Random(seed)
    tasks = []
    for n in range(count):
        share = rng.random()
        chance = 1 / (1 + math.exp(-(6 * share - 1)))
        tasks.append(task(f"{n:08x}", share, float(rng.random() < chance)))
    return {"tasks": tasks}


def test_fitted_coefficients_foretell_better_than_those_that_were_wrong():
    seen = calibrate.read(evaluation())
    told = calibrate.report(seen)
    figures = [
        float(line.split("|")[2]) for line in told.splitlines() if line.startswith(("| pres", "| fitted"))
    ]
    present, on_themselves, on_others = figures
    assert on_themselves < present - 0.02
    assert on_others < present - 0.02


def test_what_no_task_shows_keeps_its_coefficient():
    seen = calibrate.read(evaluation(40))
    x = np.array([list(calibrate.features(each.evidence).values()) for each in seen])
    y = np.array([each.score for each in seen])
    present = np.array(list(COEFFICIENTS.values()))
    fitted = dict(zip(COEFFICIENTS, calibrate.fit(x, y, present), strict=True))
    assert fitted["pointer"] == pytest.approx(COEFFICIENTS["pointer"])
    assert fitted["top_share"] != pytest.approx(COEFFICIENTS["top_share"])


def test_the_evidence_read_back_has_the_confidence_that_the_solver_told():
    (seen,) = calibrate.read({"tasks": [task("a", 0.8, 1.0, demo_fit=0.5, hypothesis="exchangeable")]})
    expected = calibrate.Evidence("exchangeable", 0.8, pytest.approx(0.1), -0.1, 0.5)
    assert seen.evidence == expected
    assert 0.0 < probability(seen.evidence) < 1.0


def test_rules_beside_a_network_count_where_they_are_surer():
    one = task("a", 0.2, 1.0, demo_fit=0.0)
    rule = {"grid": [[3]], "votes": 1, "share": 0.9, "log_likelihood": 0.0, "by": "rules", "weight": 4.0}
    (seen,) = calibrate.read({"tasks": [one | {"votes": [[rule, *one["votes"][0]]]}]})
    assert seen.evidence == calibrate.Evidence("rules", 0.9, 0.0, 0.0, 1.0, weight=4.0)
    doubtful = rule | {"share": 0.0, "weight": 1e-6}
    (seen,) = calibrate.read({"tasks": [task("a", 0.9, 1.0) | {"votes": [[doubtful, *one["votes"][0]]]}]})
    assert seen.evidence.hypothesis == "specific"


def test_tasks_without_a_score_or_votes_are_left_out():
    tasks = [task("a", 0.5, None), task("b", 0.5, 1.0, demo_fit=None), task("c", 0.5, 0.5, tests=2)]
    tasks.append(task("d", 0.5, 0.0) | {"votes": [[]]})
    assert [each.task for each in calibrate.read({"tasks": tasks})] == ["c", "c"]


def test_the_command_prints_the_table_and_names_a_file_it_cannot_read(tmp_path, capsys):
    file, other = tmp_path / "run.json", tmp_path / "other.json"
    file.write_text(json.dumps(evaluation(60)))
    calibrate.main([str(file)])
    told = capsys.readouterr().out
    assert "| foretold | tests |" in told
    assert "60 tests of 60 tasks" in told
    other.write_text("{}")
    with pytest.raises(SystemExit):
        calibrate.main([str(file), str(other)])
    assert "other.json" in capsys.readouterr().err
