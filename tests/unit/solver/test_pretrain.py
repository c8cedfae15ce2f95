"""A pretraining run writes a checkpoint and its card, and can be continued."""

import io
import json
import lzma
import signal

import numpy as np
import pytest
import torch

from gpu_runner.solver.corpus import held_out_of, load_corpus, pools
from gpu_runner.solver.errors import BadData, BadState, BadWeights, Diverged
from gpu_runner.solver.flops import step_flops, training_flops
from gpu_runner.solver.model import CONFIGS, Solver
from gpu_runner.solver.pretrain import _replace, export, main, train, write_stable
from gpu_runner.solver.pretraining import Pretraining, Settings, batch_seed, rate_factor
from gpu_runner.solver.progress import PAUSE_S, AwakeClock, Line, bar, clock
from gpu_runner.solver.weights import read_checkpoint, sha256_of, write_checkpoint


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    (folder / "training").mkdir(parents=True)
    small, large = [[1, 2], [3, 4]], [[5] * 20]
    for name, grid in (("aa", small), ("bb", large)):
        pair = {"input": grid, "output": grid}
        (folder / "training" / f"{name}.json").write_text(json.dumps({"train": [pair], "test": [pair]}))
    cells = np.arange(6 * 3, dtype=np.uint8) % 10
    shapes = np.array([[1, 3], [1, 3]] * 3, np.uint8)
    raw = io.BytesIO()
    np.savez(raw, ids=np.array(["aa", "zz"]), counts=np.array([2, 1]), shapes=shapes, cells=cells)
    (folder / "rearc.npz.xz").write_bytes(lzma.compress(raw.getvalue()))
    return folder


def test_the_corpus_keeps_known_tasks_that_fit_and_no_test_pair(data):
    corpus = load_corpus(data, per_task=9, longest=15, seed=0)
    assert corpus.task.tolist() == [0, 0, 0]  # one demonstration and two generated pairs of "aa"
    assert {tuple(g) for g in corpus.pairs.cells[1:, 0, 0, :3].tolist()} == {(0, 1, 2), (6, 7, 8)}
    assert {tuple(g) for g in corpus.pairs.cells[1:, 1, 0, :3].tolist()} == {(3, 4, 5), (9, 0, 1)}
    assert corpus.test_task.tolist() == [0]
    assert len(load_corpus(data, per_task=1, longest=15, seed=0).task) == 2


def test_pools_hold_each_pair_once_a_scale_in_its_smallest_bucket(data):
    found = pools(load_corpus(data, per_task=9, longest=30, seed=0))
    assert {key: sorted(pool.pair.tolist()) for key, pool in found.items()} == {
        (4, 1): [0, 2, 3],
        (12, 1): [1],
        (4, 2): [0, 2, 3],
        (24, 2): [1],
    }


def settings(**changes):
    plain = {
        "config": CONFIGS["tiny"], "seconds": 100.0, "decay_seconds": 20.0, "rate": 1e-3, "batch_tokens": 40,
        "mix": {4: 1.0}, "early_loops": 1, "early_share": 0.0, "warmup": 10, "report_seconds": 1e9, "seed": 0,
        "device": "cpu",
    }  # fmt: skip
    return Settings(**(plain | changes))


def test_the_rate_warms_up_stays_and_decays():
    factors = [rate_factor(*at, settings()) for at in ((0, 0), (9, 1), (500, 79), (500, 90), (500, 100))]
    assert factors == pytest.approx([0.1, 1.0, 1.0, 0.5, 0.0])


def test_a_continued_run_takes_the_same_steps_as_one_left_alone(data):
    corpus = load_corpus(data, per_task=9, longest=7, seed=0)
    alone, first, second = (Pretraining(settings(), corpus) for _ in range(3))
    for _ in range(4):
        alone.step(0.0, None)
    for _ in range(2):
        first.step(0.0, None)
    second.load(first.state())
    for _ in range(2):
        second.step(0.0, None)
    assert (second.steps, second.samples) == (alone.steps, alone.samples)
    for mine, theirs in zip(second.average, alone.average, strict=True):
        assert torch.equal(mine, theirs)


def test_the_command_writes_weights_a_card_and_a_state(data, tmp_path, capsys):
    out, state = tmp_path / "models" / "t.safetensors", tmp_path / "t.pt"
    command = ["--data", str(data), "--out", str(out), "--state", str(state), "--config", "tiny"]
    command += ["--seconds", "0.4", "--decay-seconds", "0.1", "--mix", "8:1", "--batch-tokens", "40"]
    main(command)
    card = json.loads(out.with_suffix(".json").read_text())
    assert card["sha256"] == sha256_of(out) == read_checkpoint(out).sha256
    assert card["steps"] > 0
    first = torch.load(state, weights_only=True)["counters"][0]
    main(command)
    assert json.loads(out.with_suffix(".json").read_text())["steps"] > first > 0
    assert "parameters" in capsys.readouterr().out


def fresh(corpus, **changes):
    return Pretraining(settings(**changes), corpus)


def same_weights(one, two):
    return all(torch.equal(a, b) for a, b in zip(one._live(), two._live(), strict=True))


def test_a_run_starts_from_a_checkpoint_with_one_set_of_tokens_a_task(data, tmp_path):
    corpus = load_corpus(data, per_task=9, longest=30, seed=0)
    known = Pretraining(settings(seed=5), corpus)
    path = tmp_path / "known.safetensors"
    write_checkpoint(
        path, CONFIGS["tiny"], known.model.state_dict(), tokens=known.tokens[::4][1:], task_ids=["bb"]
    )
    run = fresh(corpus)
    first = run.tokens.detach().clone()
    run.start_from(read_checkpoint(path))
    for mine, theirs in zip(run.model.parameters(), known.model.parameters(), strict=True):
        assert torch.equal(mine, theirs.half().float())
    assert torch.equal(run.tokens[:4], first[:4])  # the checkpoint does not know "aa"
    assert torch.equal(run.tokens[4:], known.tokens[4:5].half().float().expand(4, -1, -1))
    assert all(torch.equal(a, b) for a, b in zip(run.average, run._live(), strict=True))
    assert run.calls()[0]["started_from"] == {"file": path.name, "sha256": sha256_of(path)}


def test_the_card_carries_what_went_into_the_checkpoint_it_started_from(data, tmp_path):
    corpus = load_corpus(data, per_task=9, longest=7, seed=0)
    known = fresh(corpus)
    known.step(0.0, None)
    card = export(known, tmp_path / "known.safetensors", loops=None)
    checkpoint = read_checkpoint(tmp_path / "known.safetensors")
    run = fresh(corpus)
    run.start_from(checkpoint, card)
    run.step(0.0, None)
    told = export(run, tmp_path / "run.safetensors", loops=None)
    before = told["history"][0]["started_from"]
    assert before["sha256"] == card["sha256"]
    assert (before["samples"], before["history"]) == (known.samples, card["history"])
    assert told["flops_complete"]
    run.start_from(checkpoint, card | {"flops_complete": False})
    assert not export(run, tmp_path / "run.safetensors", loops=None)["flops_complete"]
    run.start_from(checkpoint, card | {"sha256": "of another file"})
    assert run.started_from == {"file": "known.safetensors", "sha256": checkpoint.sha256}
    assert not export(run, tmp_path / "run.safetensors", loops=None)["flops_complete"]


def test_the_stable_copy_brings_back_the_tokens_of_every_variant(data, tmp_path):
    corpus = load_corpus(data, per_task=9, longest=7, seed=0)
    run = fresh(corpus, seed=3)
    for _ in range(2):
        run.step(0.0, None)
    digest = run.write_stable(tmp_path / "stable.safetensors")
    known = read_checkpoint(tmp_path / "stable.safetensors")
    assert known.sha256 == digest
    again = fresh(corpus)
    again.start_from(known)
    for mine, theirs in zip(again._live(), run._live(), strict=True):
        assert torch.equal(mine, theirs.detach().half().float())


def batches(run, count=3):
    return [run.batch()[1].tolist() + run.batch()[0].cells.flatten().tolist() for _ in range(count)]


def test_the_seed_of_the_batches_follows_from_the_samples_seen():
    assert batch_seed(7, 0) == 7
    assert batch_seed(7, 5) == batch_seed(7, 5)
    seeds = {batch_seed(seed, seen) for seed in (0, 1) for seen in (0, 1, 1000, 10**9)}
    assert len(seeds) == 8
    assert max(seeds) < 2**63


def test_a_run_that_goes_on_from_a_stable_copy_draws_other_batches_and_the_same_variants(data, tmp_path):
    corpus = load_corpus(data, per_task=9, longest=7, seed=0)
    path = tmp_path / "x.stable.safetensors"
    card = write_stable(fresh(corpus, batch_tokens=400), path)

    def gone_on(seen):
        run = fresh(corpus, batch_tokens=400)
        run.start_from(read_checkpoint(path), card | {"samples_seen": seen})
        return run

    first, again, other = gone_on(500), gone_on(500), gone_on(600)
    unlike = [batches(run) for run in (fresh(corpus, batch_tokens=400), first, other)]
    assert batches(again) == unlike[1]
    assert all(unlike[i] != unlike[j] for i, j in ((0, 1), (0, 2), (1, 2)))
    for run in (again, other):
        assert all(torch.equal(a, b) for a, b in zip(run.variants, first.variants, strict=True))


def test_a_state_of_another_kind_of_device_draws_by_the_samples_seen(data):
    corpus = load_corpus(data, per_task=9, longest=7, seed=0)
    run, again = fresh(corpus), fresh(corpus)
    for _ in range(3):
        run.step(0.0, None)
    again.load(run.state() | {"generator": torch.zeros(16, dtype=torch.uint8)})
    assert again.generator.initial_seed() == batch_seed(0, run.samples)
    again.load(run.state())
    assert torch.equal(again.generator.get_state(), run.generator.get_state())


def test_every_card_tells_the_samples_of_all_ancestors(data, tmp_path):
    corpus = load_corpus(data, per_task=9, longest=7, seed=0)
    path, card, seen = tmp_path / "x.stable.safetensors", None, 0
    for generation in range(3):
        run = fresh(corpus)
        if card is not None:
            run.start_from(read_checkpoint(path), card)
        run.step(0.0, None)
        run.step(0.0, None)
        again = fresh(corpus)
        again.load(run.state())
        assert again.seen == run.seen
        card = write_stable(run, path)
        seen += run.samples
        assert (card["samples"], card["samples_seen"]) == (run.samples, seen)
        assert export(run, tmp_path / "x.safetensors", loops=None)["samples_seen"] == seen, generation


def test_the_stable_copy_has_a_card_of_its_own_without_figures_of_other_weights(data, tmp_path):
    out, stable = tmp_path / "x.safetensors", tmp_path / "x.stable.safetensors"
    run = fresh(load_corpus(data, per_task=9, longest=7, seed=0), seconds=12.0, decay_seconds=4.0)
    card = train(run, out=out, state=None, stable=stable, line=Line(Screen(False)), now=Clock())
    told = json.loads((tmp_path / "x.stable.json").read_text())
    assert (told["file"], told["sha256"]) == (stable.name, sha256_of(stable))
    assert card["file"] == out.name
    assert set(card) - set(told) == {"validation", "validation_pairs", "validation_exact"}
    assert told["samples_seen"] < card["samples_seen"]  # that of the decay is not in it


def test_a_checkpoint_of_another_configuration_is_no_start(data, tmp_path):
    path = tmp_path / "xs.safetensors"
    write_checkpoint(path, CONFIGS["xs"], Solver(CONFIGS["xs"]).state_dict())
    with pytest.raises(BadWeights, match="is a xs, not a tiny"):
        fresh(load_corpus(data, per_task=9, longest=7, seed=0)).start_from(read_checkpoint(path))


def test_of_a_task_held_out_nothing_is_left(data):
    whole = load_corpus(data, per_task=9, longest=30, seed=0)
    less = load_corpus(data, per_task=9, longest=30, seed=7, hold_out=1)
    (kept,) = less.task_ids
    assert {kept, *less.held_out} == {"aa", "bb"}
    assert len(less.task) == int((whole.task == whole.task_ids.index(kept)).sum())
    assert less.test_task.tolist() == [0]
    assert less.digest == whole.digest
    assert held_out_of(["a", "b", "c", "d"], 2) == held_out_of(["d", "c", "b", "a"], 2)
    with pytest.raises(BadData, match="2 of 2 tasks cannot be held out"):
        load_corpus(data, per_task=9, longest=30, seed=0, hold_out=2)


def spoil(data, how):
    archive, task = data / "rearc.npz.xz", data / "training" / "aa.json"
    if how == "no folder":
        return data / "missing"
    if how == "no archive":
        archive.unlink()
    elif how == "an archive of something else":
        archive.write_bytes(lzma.compress(b"hello"))
    elif how == "an archive without cells":
        raw = io.BytesIO()
        np.savez(raw, ids=np.array(["aa"]), counts=np.array([1]), shapes=np.ones((2, 2), np.uint8))
        archive.write_bytes(lzma.compress(raw.getvalue()))
    elif how == "a torn archive":
        archive.write_bytes(archive.read_bytes()[:40])
    elif how == "a task that is none":
        task.write_text('{"train": [{"input": 1}]}')
    elif how == "a file that is no JSON":
        task.write_text("{")
    return data


SPOILED = (
    "no folder", "no archive", "an archive of something else", "an archive without cells", "a torn archive",
    "a task that is none", "a file that is no JSON",
)  # fmt: skip


@pytest.mark.parametrize("how", SPOILED)
def test_data_that_is_not_there_is_refused_with_what_is_expected(data, tmp_path, how, capsys):
    command = ["--data", str(spoil(data, how)), "--out", str(tmp_path / "x.safetensors"), "--seconds", "0"]
    assert main([*command, "--config", "tiny"]) == 1
    told = capsys.readouterr().err
    assert "pretrain: " in told
    assert "training/*.json" in told
    assert "michaelhodel/re-arc" in told


class Clock:
    """Time that passes by `step` each time somebody looks."""

    def __init__(self, step=1.0):
        self.at, self.step = 0.0, step

    def __call__(self):
        self.at += self.step
        return self.at


class Screen(io.StringIO):
    def __init__(self, live):
        super().__init__()
        self.live = live

    def isatty(self):
        return self.live


def test_the_card_tells_data_work_and_every_call(data, tmp_path):
    out, state = tmp_path / "t.safetensors", tmp_path / "t.pt"
    corpus = load_corpus(data, per_task=9, longest=7, seed=0)
    run = fresh(corpus, seconds=12.0, decay_seconds=4.0)
    first = train(run, out=out, state=state, line=Line(Screen(False)), now=Clock())
    again = fresh(corpus, seconds=5.0, decay_seconds=2.0, mix={4: 0.5, 6: 0.5})
    again.load(torch.load(state, weights_only=True))
    card = train(again, out=out, state=state, line=Line(Screen(False)), now=Clock())
    assert card == json.loads(out.with_suffix(".json").read_text())
    assert (card["data_sha256"], card["held_out"]) == (corpus.digest, [])
    assert card["sha256"] == sha256_of(out)
    before, last = card["history"]
    assert before["samples"] < first["samples"]  # the decay of the first call is not in the second
    assert before["samples"] + last["samples"] == card["samples"]
    assert before["flops"] + last["flops"] == card["flops"]
    per_sample = training_flops(CONFIGS["tiny"], 4)
    assert last["flops"] == last["samples"] * per_sample + last["steps"] * step_flops(CONFIGS["tiny"])
    assert (before["bucket_mix"], last["bucket_mix"]) == ({"8": 1.0}, {"8": 0.5, "12": 0.5})
    assert first["rate_at_end"] < 0.5
    assert card["flops_complete"]


def test_a_state_of_before_histories_is_gone_on_from(data):
    corpus = load_corpus(data, per_task=9, longest=7, seed=0)
    run, again = fresh(corpus), fresh(corpus)
    run.step(0.0, None)
    run.seconds = 7.0
    old = {k: v for k, v in run.state().items() if k not in ("flops", "task_ids", "history")}
    again.load(old)
    assert again.history == [{"steps": 1, "samples": 2, "seconds": 7}]
    assert same_weights(run, again)


def test_a_state_of_other_tasks_is_refused(data, tmp_path, capsys):
    state = tmp_path / "t.pt"
    _replace(state, fresh(load_corpus(data, per_task=9, longest=7, seed=0)).state())
    command = ["--data", str(data), "--out", str(tmp_path / "x.safetensors"), "--state", str(state)]
    command += ["--config", "tiny", "--mix", "8:1", "--seconds", "0.1"]
    assert main([*command, "--hold-out", "1", "--mix", "24:1"]) == 1
    assert "cannot go on from" in capsys.readouterr().err
    with pytest.raises(BadState, match=r"weights do not fit|its tokens are"):
        Pretraining(settings(config=CONFIGS["m"]), load_corpus(data, per_task=9, longest=7, seed=0)).load(
            torch.load(state, weights_only=True)
        )


def test_asked_to_stop_a_run_keeps_its_state_and_writes_weights_and_card(data, tmp_path):
    out, state, screen = tmp_path / "t.safetensors", tmp_path / "t.pt", Screen(False)
    run = fresh(load_corpus(data, per_task=9, longest=7, seed=0))
    card = train(run, out=out, state=state, line=Line(screen), stop=lambda: run.steps == 3, now=Clock())
    assert card["steps"] == 3
    assert read_checkpoint(out).sha256 == card["sha256"]
    assert torch.load(state, weights_only=True)["counters"][0] == 3
    assert "asked to stop" in screen.getvalue()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_end_the_command_with_130(data, tmp_path, number, monkeypatch):
    out, state = tmp_path / "t.safetensors", tmp_path / "t.pt"
    before, take = signal.getsignal(number), Pretraining.step

    def interrupted(run, elapsed, loops):
        if run.steps == 1:
            signal.raise_signal(number)
        return take(run, elapsed, loops)

    monkeypatch.setattr(Pretraining, "step", interrupted)
    command = ["--data", str(data), "--out", str(out), "--state", str(state), "--config", "tiny"]
    assert main([*command, "--seconds", "60", "--decay-seconds", "1", "--mix", "8:1"]) == 130
    assert torch.load(state, weights_only=True)["counters"][0] == 2
    assert json.loads(out.with_suffix(".json").read_text())["steps"] == 2
    assert signal.getsignal(number) is before


def test_a_terminal_sees_one_line_rewritten_and_a_file_a_line_each_report(data, tmp_path):
    corpus = load_corpus(data, per_task=9, longest=7, seed=0)
    seen = {}
    for live in (True, False):
        screen = Screen(live)
        run = fresh(corpus, seconds=9.0, decay_seconds=1.0, report_seconds=3.0)
        train(run, out=tmp_path / "t.safetensors", state=None, line=Line(screen), now=Clock())
        seen[live] = screen.getvalue()
    assert "\r" not in seen[False]
    assert seen[False].count("\n") == 2
    assert "samples/s" in seen[False]
    assert "TFLOP/s" in seen[False]
    assert "validation" in seen[False]
    assert seen[True].count("\r") > seen[True].count("\n") == 2
    assert "left" in seen[True]
    assert "█" in seen[True]


def test_times_and_bars_are_short():
    assert [clock(s) for s in (0, 59.7, 3723, -1)] == ["0:00", "1:00", "1:02:03", "0:00"]
    assert [bar(x, cells=4) for x in (-1, 0.5, 2)] == ["····", "██··", "████"]


def test_training_that_gives_no_numbers_ends_and_leaves_what_was_kept(data, tmp_path, capsys):
    run = fresh(load_corpus(data, per_task=9, longest=7, seed=0))
    before = [p.detach().clone() for p in run._live()]
    run.model.register_forward_hook(lambda *told: told[-1] * float("nan"))
    with pytest.raises(Diverged):
        train(run, out=tmp_path / "t.safetensors", state=None, line=Line(Screen(False)), now=Clock())
    assert all(torch.equal(a, b) for a, b in zip(before, run._live(), strict=True))
    assert list(tmp_path.glob("*.safetensors")) == []


def test_without_room_pretraining_goes_on_with_half_the_batch(data):
    run = fresh(load_corpus(data, per_task=9, longest=7, seed=0), batch_tokens=160)

    def full(model, given):
        if len(given[0].cells) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    hook = run.model.register_forward_pre_hook(full)
    run.step(0.0, None)
    assert (run.batch_tokens, run.steps, run.samples) == (40, 1, 2)
    hook.remove()
    run.model.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("none")))
    with pytest.raises(torch.OutOfMemoryError):
        run.step(0.0, None)


def test_a_profile_tells_the_rates_of_some_batch_sizes_and_writes_nothing(data, tmp_path, capsys):
    command = ["--data", str(data), "--config", "tiny", "--mix", "8:1", "--batch-tokens", "80", "--profile"]
    assert main([*command, "--profile-seconds", "0.1"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert "TFLOP/s" in head
    assert [int(row.split()[0]) for row in rows] == [20, 40, 80, 160, 320]
    assert sum("most" in row for row in rows) == 1
    assert list(tmp_path.glob("*.safetensors")) == []


def test_a_gpu_that_is_not_there_is_told_before_anything_is_read(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("gpu_runner.solver.devices.has_gpu", lambda: False)
    assert main(["--data", str(tmp_path), "--out", str(tmp_path / "x"), "--device", "cuda"]) == 1
    assert "sees no GPU" in capsys.readouterr().err


def test_seconds_in_which_the_process_was_held_still_are_no_seconds_of_training():
    moments = iter([100.0, 101.0, 101.0 + PAUSE_S, 5000.0, 5001.5])
    awake = AwakeClock(lambda: next(moments))
    assert [awake() - 100.0 for _ in range(4)] == [1.0, 1.0 + PAUSE_S, 1.0 + PAUSE_S, 2.5 + PAUSE_S]


def test_graphs_on_a_cpu_are_refused_before_anything_is_loaded(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--data", str(tmp_path), "--out", str(tmp_path / "o"), "--execution", "graphs,narrow"])
    assert ended.value.code == 2
    assert "graphs are CUDA's" in capsys.readouterr().err


def test_a_corpus_moves_whole_to_another_device(data):
    """torch's "meta" device holds no numbers, but it tells what was moved."""
    moved = load_corpus(data, per_task=9, longest=30, seed=0).to("meta")
    parts = [
        moved.pairs.cells,
        moved.pairs.sizes,
        moved.task,
        moved.ruled,
        moved.tests.cells,
        moved.tests.sizes,
    ]
    assert {part.device.type for part in [*parts, moved.test_task, moved.test_ruled]} == {"meta"}
    assert (moved.task_ids, len(moved.task)) == (["aa", "bb"], 4)
