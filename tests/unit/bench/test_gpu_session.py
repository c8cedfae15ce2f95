"""A session on a borrowed GPU: what is packed, tried, chosen and measured, on a CPU with a tiny network."""

import json

import pytest
import torch

from bench.gpu_session import __main__ as command
from bench.gpu_session import adapting, packing, training, trials
from bench.gpu_session.adapting import Way
from bench.gpu_session.trials import Trial, choose
from gpu_runner.solver.errors import BadData
from gpu_runner.solver.execution import Execution
from gpu_runner.solver.model import CONFIGS, Solver
from gpu_runner.solver.train import Recipe
from gpu_runner.solver.weights import read_checkpoint, write_checkpoint

FLIP = {
    "train": [
        {"input": [[1, 2], [3, 4]], "output": [[2, 1], [4, 3]]},
        {"input": [[5, 0], [6, 7]], "output": [[0, 5], [7, 6]]},
    ],
    "test": [{"input": [[8, 8], [9, 1]], "output": [[8, 8], [1, 9]]}],
}


@pytest.fixture
def data(tmp_path):
    for folder, names in (("arc/training", "ab"), ("tasks", "xyz")):
        (tmp_path / folder).mkdir(parents=True)
        for name in names:
            (tmp_path / folder / f"{name}.json").write_text(json.dumps(FLIP))
    (tmp_path / "arc" / "rearc.npz.xz").write_bytes(b"pairs")
    return tmp_path


def test_the_pack_is_the_data_and_the_tasks_named_and_replaces_the_last_one(data):
    (data / "ids.txt").write_text("# to choose by\nx\n\nz  # the last\n")
    ids = packing.read_ids(data / "ids.txt")
    out = data / "pack"
    out.mkdir()
    (out / "old").write_text("of another session")
    size = packing.pack(data / "arc", data / "tasks", ids, out)
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert files == {
        "training/a.json", "training/b.json", "rearc.npz.xz", "validation/x.json", "validation/z.json"
    }  # fmt: skip
    assert size == sum((out / file).stat().st_size for file in files)


def test_what_cannot_be_packed_is_said_and_nothing_is_written(data, monkeypatch):
    with pytest.raises(BadData, match=r"no task q in .*q\.json is expected"):
        packing.pack(data / "arc", data / "tasks", ["q"], data / "pack")
    with pytest.raises(BadData, match="has no pretraining data"):
        packing.pack(data / "tasks", None, [], data / "pack")
    with pytest.raises(BadData, match="cannot be read"):
        packing.read_ids(data / "none.txt")
    (data / "empty.txt").write_text("# nothing\n")
    (data / "bytes.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(BadData, match="cannot be read as a list of task ids"):
        packing.read_ids(data / "bytes.txt")
    with pytest.raises(BadData, match="names no task"):
        packing.read_ids(data / "empty.txt")
    monkeypatch.setattr(packing, "MOST_BYTES", 100)
    with pytest.raises(BadData, match="MiB travel"):
        packing.pack(data / "arc", None, [], data / "pack")
    assert not (data / "pack").exists()


FAST, SLOW = Trial("xs6", "graphs", steps_s=50), Trial("xs6", "eager", steps_s=20)
COMPILED = Trial("xs6", "compiled", steps_s=80, warm_s=40)


@pytest.mark.parametrize(
    ("tried", "wanted", "config", "execution"),
    [
        ([SLOW, FAST], 20e6, "xs6", "graphs"),
        ([FAST, Trial("m6", "graphs", steps_s=30)], 20e6, "xs6", "graphs"),  # 12 M are too few
        ([FAST, Trial("m6", "graphs", steps_s=30)], 10e6, "m6", "graphs"),
        ([FAST, Trial("m6", "shifts", error="no")], 1e6, "xs6", "graphs"),
        ([FAST, COMPILED], 1e9, "xs6", "graphs"),  # five canvases at 40 s: 200 of 400 s are left
        ([FAST, Trial("xs6", "compiled", steps_s=80, warm_s=10)], 1e9, "xs6", "compiled"),
        ([], 1e6, "xs6", "usual"),
        ([Trial("xs6", "graphs", error="it crashed")], 1e6, "xs6", "usual"),
    ],
)
def test_the_best_network_that_sees_enough_is_chosen_the_fastest_way(tried, wanted, config, execution):
    found = choose(
        tried,
        ("m6", "xs6"),
        usual="usual",
        seconds=400,
        canvases=5,
        samples_a_step=1000,
        wanted_samples=wanted,
    )
    assert (found.config, found.execution) == (config, execution)
    assert config in found.why


def test_samples_a_step_are_the_mean_over_the_canvases():
    assert trials.mean_samples({4: 0.5, 8: 0.5}, 680) == (34 + 10) / 2
    assert trials.mean_samples({32: 1.0}, 10) == 1


def test_a_trial_that_fails_leaves_the_others_their_figures():
    wanted = [("tiny", "eager"), ("tiny", "graphs"), ("tiny", "narrow")]  # graphs are CUDA's
    found = list(trials.tried(wanted, side=8, batch_tokens=60, device="cpu", seconds=60, each=0.05))
    assert [(trial.execution, trial.error is None) for trial in found] == [
        ("eager", True), ("graphs", False), ("narrow", True),
    ]  # fmt: skip
    assert all(trial.samples_s >= trial.steps_s > 0 for trial in found if trial.error is None)


def test_no_trial_begins_that_would_not_end_in_time():
    moments = iter(range(1000))
    found = trials.tried(
        [("tiny", "eager")] * 3, side=8, batch_tokens=60, device="cpu", seconds=3, each=5,
        now=lambda: float(next(moments)),
    )  # fmt: skip
    assert list(found) == []


def test_a_process_that_crashes_costs_its_own_trial_only(tmp_path, monkeypatch):
    """The first process notes one trial and dies in the second, the next one goes on with the third."""
    out, begun = tmp_path / "trials.jsonl", []

    class Ended:
        def __init__(self, status):
            self.returncode = status

    def run(command, **_):
        pairs = [word for word in command if word.startswith("xs6:")]
        begun.append(pairs)
        if len(begun) == 1:
            trials.write(out, iter([Trial("xs6", "graphs", steps_s=9)]))
            with out.open("a") as torn:
                torn.write('{"config": "xs6", "exec')
                torn.write("\n")
            return Ended(-11)
        trials.write(out, iter([Trial("xs6", "narrow", steps_s=7)]))
        return Ended(0)

    monkeypatch.setattr(trials.subprocess, "run", run)
    said = []
    found = trials.in_a_process(
        [("xs6", "graphs"), ("xs6", "compiled"), ("xs6", "narrow")],
        side=8, batch_tokens=60, device="cpu", seconds=60, each=1, out=out, say=said.append,
    )  # fmt: skip
    assert begun == [["xs6:graphs", "xs6:compiled", "xs6:narrow"], ["xs6:narrow"]]
    assert [(trial.execution, trial.steps_s) for trial in found] == [
        ("graphs", 9),
        ("compiled", 0.0),
        ("narrow", 7),
    ]
    assert "status -11" in str(found[1].error)
    assert len(said) == 1


@pytest.mark.parametrize(
    ("text", "way"),
    [
        ("stacked=45", Way("stacked", True, Execution(), None, 45.0)),
        ("graphs+fp16=20", Way("graphs+fp16", False, Execution(graphs=True), "fp16", 20.0)),
        ("eager=1.5", Way("eager", False, Execution(), None, 1.5)),
    ],
)
def test_a_way_is_read_from_its_name(text, way):
    assert Way.parse(text) == way


@pytest.mark.parametrize("text", ["stacked", "eager=0", "graps=3", "stacked+graphs=3", "eager=soon"])
def test_what_is_no_way_is_refused(text):
    with pytest.raises(ValueError, match=r"expected is|no way to|not recorded|could not convert"):
        Way.parse(text)


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    model = Solver(CONFIGS["tiny"])
    path = tmp_path / "tiny.safetensors"
    write_checkpoint(
        path, model.config, model.state_dict(), tokens=torch.randn(2, 4, 32), task_ids=["one", "two"]
    )
    return read_checkpoint(path)


RECIPE = Recipe(8, 2, 240, 200, 4, 8, rate=5e-3, token_rate=2e-2, patience=1.0)


@pytest.mark.parametrize("name", ["eager=60", "stacked=60", "eager+fp16=60", "narrow+one_hot=60"])
def test_every_way_adapts_scores_and_counts(data, checkpoint, name):
    known = adapting.read_tasks(data / "tasks")
    account = adapting.run(Way.parse(name), known, checkpoint, RECIPE, seed=0, device="cpu", now=lambda: 0.0)
    assert account.error is None
    assert sorted(row.task for row in account.rows) == ["x", "y", "z"]
    assert all(row.samples == 240 or row.stopped_by == "fit" for row in account.rows)
    told = account.to_json()
    assert told["solved"] == sum(row.score for row in account.rows)
    assert told["samples_s"] > told["steps_s"] > 0
    assert f"| {name.partition('=')[0]} | 3 |" in adapting.table([told])


def test_scores_come_from_the_truth_which_adapting_never_sees(data, checkpoint):
    """With the truth changed in the file only the score changes."""
    known = adapting.read_tasks(data / "tasks")[:1]
    recipe = Recipe(1, 1, 800, 200, 8, 8, rate=5e-3, token_rate=2e-2, patience=1.0)
    way = Way.parse("eager=60")
    still = {"seed": 0, "device": "cpu", "now": lambda: 0.0}
    right = adapting.run(way, known, checkpoint, recipe, **still).rows[0]
    wrong = [adapting.Known(one.name, one.task, tuple([[5]] for _ in one.truths)) for one in known]
    again = adapting.run(way, wrong, checkpoint, recipe, **still).rows[0]
    assert (right.steps, right.fit) == (again.steps, again.fit)
    assert again.score == 0


def test_a_task_cut_short_by_the_clock_does_not_count(data, checkpoint):
    moments = iter(range(10**6))
    account = adapting.run(
        Way.parse("eager=50"), adapting.read_tasks(data / "tasks"), checkpoint, RECIPE, seed=0, device="cpu",
        now=lambda: float(next(moments)),
    )  # fmt: skip
    assert len(account.rows) < 3
    assert all(row.stopped_by != "deadline" for row in account.rows)


def test_a_way_that_fails_is_told_and_ends_nothing_else(data, checkpoint):
    account = adapting.run(
        Way.parse("graphs=5"), adapting.read_tasks(data / "tasks"), checkpoint, RECIPE, seed=0, device="cpu"
    )
    assert account.rows == []
    assert account.error


def test_a_folder_without_solutions_is_refused(data):
    with pytest.raises(BadData, match="there is no task"):
        adapting.read_tasks(data / "arc")
    (data / "tasks" / "x.json").write_text(json.dumps({"train": FLIP["train"], "test": [{"input": [[1]]}]}))
    with pytest.raises(BadData, match=r"x\.json is no ARC task with its solutions"):
        adapting.read_tasks(data / "tasks")


def test_the_start_of_the_process_counts():
    assert 0 < training.age_seconds() < 24 * 3600


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["pretrain", "--out", "o", "--mix", "9:1"], "side:share"),
        (["pretrain", "--out", "o", "--config", "xl"], "no configuration 'xl'"),
        (["pretrain", "--out", "o", "--trials", "xs6:fast"], "called 'fast'"),
        (["adapt", "c", "--out", "o", "--ways", "eager"], "such as graphs+fp16=20"),
        (["pack", "arc", "--ids", "i"], "go together"),
        (["pretrain", "--out", "o", "--device", "cpu", "--execution", "graphs"], "graphs are CUDA's"),
        (["adapt", "c", "--out", "o", "--device", "cpu", "--ways", "graphs=5"], "graphs are CUDA's"),
    ],
)
def test_a_wrong_command_line_says_what_is_expected(wrong, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "i").write_text("x\n")
    with pytest.raises(SystemExit) as ended:
        command.main(wrong)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["-3", "0.01"])
def test_a_session_without_time_to_train_in_writes_no_weights(seconds, data, capsys, monkeypatch):
    monkeypatch.setattr(training, "load_corpus", lambda *_, **__: trials.random_corpus("cpu"))
    words = ["pretrain", "--device", "cpu", "--config", "tiny", "--execution", "eager", "--seconds", seconds]
    assert command.main([*words, "--out", str(data / "o")]) == 1
    assert "no time is left to train in" in capsys.readouterr().err
    assert [path.name for path in (data / "o").iterdir()] == ["log.txt"]
    assert command.main([*words, "--out", str(data / "ids.txt" / "o")]) == 1


def test_without_a_gpu_it_says_so(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("gpu_runner.solver.devices.has_gpu", lambda: False)
    assert command.main(["pretrain", "--out", str(tmp_path / "o"), "--data", str(tmp_path)]) == 1
    assert "sees no GPU" in capsys.readouterr().err
