"""The training of a session: everything it does ends before the machine is taken away."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

import torch

from bench.gpu_session import trials
from gpu_runner.lineage.files import card_of, read_folder
from gpu_runner.lineage.generations import newest
from gpu_runner.lineage.process import read_stat
from gpu_runner.solver.corpus import load_corpus
from gpu_runner.solver.devices import allow_tf32, check_device
from gpu_runner.solver.errors import BadData
from gpu_runner.solver.execution import Execution
from gpu_runner.solver.model import CONFIGS, count_parameters
from gpu_runner.solver.pretrain import train
from gpu_runner.solver.pretraining import Pretraining, Settings
from gpu_runner.solver.progress import Line, Stop
from gpu_runner.solver.weights import read_checkpoint

NEWEST, SCRATCH = "newest", "scratch"


@dataclass(frozen=True, slots=True)
class Plan:
    """Settings of a session.

    seconds: of the whole command, its start included; reserve: of them, for the last weights; trial_seconds:
    for all trials, `trial_each` for one; configs: the best first; begin: checkpoint to go on from, "newest"
    of `lineage` or "scratch"; execution: no trials, this one.
    """

    data: Path
    out: Path
    begin: str
    lineage: Path
    configs: Sequence[str]
    execution: str | None
    trials: tuple[tuple[str, str], ...]
    trial_seconds: float
    trial_each: float
    trial_side: int
    wanted_samples: float
    seconds: float
    reserve: float
    decay_share: float
    report_seconds: float
    rate: float
    warmup: int
    batch_tokens: int
    mix: dict[int, float]
    per_task: int
    seed: int
    device: str


class Both:
    """A stream that writes to two."""

    def __init__(self, one: TextIO, other: TextIO) -> None:
        self.one, self.other = one, other

    def isatty(self) -> bool:
        return False

    def write(self, text: str) -> int:
        self.other.write(text)
        return self.one.write(text)

    def flush(self) -> None:
        self.one.flush()
        self.other.flush()


def age_seconds() -> float:
    """How long this process has run: loading torch counts against the machine's time as well. 0 where the
    system does not tell (proc(5): field 22 of stat, clock ticks since boot)."""
    try:
        _, ticks = read_stat(Path("/proc/self/stat").read_text())
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError, AttributeError):
        return 0.0


def session(plan: Plan, *, now: Callable[[], float] = time.monotonic) -> dict[str, Any]:
    """Try, choose, train, write. Returns what result.json holds. Raises SolverError."""
    end = now() + plan.seconds - age_seconds()
    about = check_device(plan.device)
    try:
        plan.out.mkdir(parents=True, exist_ok=True)
    except OSError as why:
        raise BadData(f"{plan.out} is no folder to write to: {why.strerror}") from why
    with (plan.out / "log.txt").open("a", buffering=1) as file, Stop() as stop:
        line = Line(Both(sys.stderr, file))  # type: ignore[arg-type]  # all of TextIO that is used
        line.keep(f"on {about}, torch {torch.__version__}; {end - now():.0f} s left")
        with ThreadPoolExecutor(
            1
        ) as beside:  # the trials are another process's work: data is loaded meanwhile
            choosing = beside.submit(_choice, plan, end - now(), line)
            corpus = load_corpus(
                plan.data, per_task=plan.per_task, longest=min(2 * max(plan.mix) - 1, 30), seed=plan.seed,
            )  # fmt: skip
            choice, tried = choosing.result()
        line.keep(f"{choice.config} as {choice.execution}: {choice.why}")
        if plan.device.startswith("cuda"):
            allow_tf32()
        corpus = corpus.to(plan.device)
        line.keep(f"{len(corpus.task)} pairs; {end - now():.0f} s left")
        seconds = end - now() - plan.reserve
        if seconds <= 0:
            raise BadData(f"no time is left to train in: of --seconds {plan.seconds:g} loading took the rest")
        run = Pretraining(_settings(plan, choice, seconds), corpus)
        begun = _begin(plan, run)
        line.keep(f"{count_parameters(run.model)} parameters, from {begun}; {seconds:.0f} s of training")
        card = train(
            run, out=plan.out / f"{choice.config}.safetensors", state=None,
            stable=plan.out / f"{choice.config}.stable.safetensors", line=line, stop=stop,
        )  # fmt: skip
        found: dict[str, Any] = {
            "device": about, "torch": torch.__version__, "choice": asdict(choice),
            "trials": [asdict(trial) for trial in tried], "from": begun, "stopped": stop.asked,
            "seconds_left": round(end - now(), 1), "card": card,
        }  # fmt: skip
        (plan.out / "result.json").write_text(json.dumps(found, indent=2) + "\n")
        line.keep(f"done; {end - now():.0f} s left")
    return found


def _choice(plan: Plan, left: float, line: Line) -> tuple[trials.Choice, Sequence[trials.Trial]]:
    if plan.execution is not None:
        return trials.Choice(plan.configs[-1], plan.execution, "given by --execution"), ()
    tried = trials.in_a_process(
        plan.trials, side=plan.trial_side, batch_tokens=plan.batch_tokens, device=plan.device,
        seconds=plan.trial_seconds, each=plan.trial_each, out=plan.out / "trials.jsonl", say=line.keep,
    )  # fmt: skip
    for trial in tried:
        line.keep(str(trial))
    choice = trials.choose(
        tried, plan.configs, usual=str(Execution.usual(plan.device)), canvases=len(plan.mix),
        seconds=max(0.0, left - plan.trial_seconds - plan.reserve), wanted_samples=plan.wanted_samples,
        samples_a_step=trials.mean_samples(plan.mix, plan.batch_tokens),
    )  # fmt: skip
    return choice, tried


def _settings(plan: Plan, choice: trials.Choice, seconds: float) -> Settings:
    return Settings(
        config=CONFIGS[choice.config], seconds=seconds, decay_seconds=plan.decay_share * seconds,
        rate=plan.rate, batch_tokens=plan.batch_tokens, mix=plan.mix, early_loops=1, early_share=0.0,
        warmup=plan.warmup, report_seconds=plan.report_seconds, seed=plan.seed, device=plan.device,
        execution=Execution.parse(choice.execution),
    )  # fmt: skip


def _begin(plan: Plan, run: Pretraining) -> str:
    """Go on from the checkpoint where there is one of the configuration. What was begun from."""
    path, name = Path(plan.begin), run.settings.config.name
    if plan.begin == SCRATCH:
        return "random weights"
    if plan.begin == NEWEST:
        found = newest(read_folder(plan.lineage, name))
        if found is None:
            return f"random weights: {plan.lineage} has no {name}"
        path = found.stable
    known = read_checkpoint(path)
    if known.config != run.settings.config:
        return f"random weights: {path.name} is a {known.config.name}"
    run.start_from(known, card_of(path))
    return f"{path.name} ({run.seen:,} samples)"
