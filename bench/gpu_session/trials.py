"""Which network, executed how, is fastest on this device: half a minute of trying decides eight of training.

Trials run in a process of their own, a line of JSON each: one that crashes or hangs costs its own result and
never the training. Pairs are random, so that no data has to be loaded first.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from gpu_runner.solver.canvas import MAX_SIDE, PairStore
from gpu_runner.solver.corpus import Corpus
from gpu_runner.solver.devices import allow_tf32
from gpu_runner.solver.execution import Execution
from gpu_runner.solver.model import CONFIGS, TASK_TOKENS
from gpu_runner.solver.pretraining import Pretraining, Settings
from gpu_runner.solver.stepping import REHEARSALS

WARM_STEPS = REHEARSALS + 2
"""Steps before the clock starts: kernels are compiled and a graph is recorded."""

TASKS = 400
PAIRS = 4000

Now = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Trial:
    """How fast one configuration steps, executed one way. warm_s: before the clock started; error: why there
    is no figure."""

    config: str
    execution: str
    steps_s: float = 0.0
    samples_s: float = 0.0
    warm_s: float = 0.0
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    config: str
    execution: str
    why: str


def choose(
    trials: Sequence[Trial], configs: Sequence[str], *, usual: str, seconds: float, canvases: int,
    samples_a_step: float, wanted_samples: float,
) -> Choice:  # fmt: skip
    """The first of `configs`, the best first, that would see `wanted_samples` in so many seconds of training,
    else the last; each executed the way that sees most. Without a figure it is executed as `usual`.

    samples_a_step: the mean over the training's canvases; every step has as many canvas tokens. What a trial
    needed before its clock started is needed once for each of `canvases`: compiling takes its time there.
    """

    def expected(trial: Trial) -> float:
        return trial.steps_s * samples_a_step * max(0.0, seconds - canvases * trial.warm_s)

    said = []
    for config in configs:
        done = [trial for trial in trials if trial.config == config and trial.error is None]
        best = max(done, key=expected, default=None)
        if best is None:
            said.append(f"no trial of {config} gave a figure")
            continue
        said.append(f"{config} as {best.execution} would see {expected(best) / 1e6:.3g} M samples")
        if expected(best) >= wanted_samples or config == configs[-1]:
            return Choice(config, best.execution, f"{'; '.join(said)} of {wanted_samples / 1e6:.3g} M wanted")
    return Choice(configs[-1], usual, f"{'; '.join(said)}: {configs[-1]}, executed as usual")


def mean_samples(mix: dict[int, float], batch_tokens: int) -> float:
    """Samples a step, over canvases of half² patches in these shares."""
    sizes = {half: max(1, batch_tokens // (half * half + TASK_TOKENS)) for half in mix}
    return sum(sizes[half] * share for half, share in mix.items()) / sum(mix.values())


def in_a_process(
    wanted: Sequence[tuple[str, str]], *, side: int, batch_tokens: int, device: str, seconds: float,
    each: float, out: Path, say: Callable[[str], None],
) -> list[Trial]:  # fmt: skip
    """Try each (configuration, execution) for `each` seconds in other processes, `seconds` in all. One that
    ends its process is noted as failed, and the next process goes on after it."""
    until = time.monotonic() + seconds
    out.write_text("")
    left = list(wanted)
    while left and (room := until - time.monotonic()) > each:
        command = [
            sys.executable, "-m", "bench.gpu_session", "try", *(":".join(pair) for pair in left),
            "--side", str(side), "--batch-tokens", str(batch_tokens), "--device", device,
            "--seconds", str(room), "--each", str(each), "--out", str(out),
        ]  # fmt: skip
        try:
            ended = subprocess.run(command, timeout=room, check=False).returncode
            why = f"its process ended with status {ended}"
        except subprocess.TimeoutExpired:
            ended, why = -1, f"it was not done after {room:.0f} s"
        done = [pair for pair in left if pair in {(t.config, t.execution) for t in read(out)}]
        left = [pair for pair in left if pair not in done]
        if ended == 0 or not left:
            break
        _note(out, Trial(*left[0], error=why))
        say(f"trial {left[0]} gave nothing: {why}")
        left = left[1:]
    return read(out)


def read(file: Path) -> list[Trial]:
    """The trials in a file; a line that was not written to its end is left out."""
    found = []
    for line in file.read_text().splitlines():
        try:
            found.append(Trial(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return found


def _note(file: Path, trial: Trial) -> None:
    with file.open("a") as out:
        out.write(json.dumps(asdict(trial)) + "\n")


def tried(
    wanted: Sequence[tuple[str, str]], *, side: int, batch_tokens: int, device: str, seconds: float,
    each: float, now: Now = time.monotonic,
) -> Iterator[Trial]:  # fmt: skip
    """In this process, one after the other until `seconds` are over."""
    until = now() + seconds
    if device.startswith("cuda"):
        allow_tf32()
    corpus = random_corpus(device)
    with contextlib.suppress(Exception):  # the device's and torch's own start is no trial's warm-up
        measured("tiny", "eager", corpus, side=8, batch_tokens=200, device=device, seconds=0.0, now=now)
    for config, execution in wanted:
        if now() + each > until:
            return
        try:
            yield measured(config, execution, corpus, side=side, batch_tokens=batch_tokens, device=device,
                           seconds=each, now=now)  # fmt: skip
        except Exception as why:  # whatever a device or a compiler says: the others are tried all the same
            yield Trial(config, execution, error=f"{type(why).__name__}: {str(why).splitlines()[:1]}")


def measured(
    config: str, execution: str, corpus: Corpus, *, side: int, batch_tokens: int, device: str, seconds: float,
    now: Now = time.monotonic,
) -> Trial:  # fmt: skip
    """Steps on canvases of one side, after a warm-up."""
    settings = Settings(
        config=CONFIGS[config], seconds=1e9, decay_seconds=0.0, rate=1e-3, batch_tokens=batch_tokens,
        mix={side // 2: 1.0}, early_loops=1, early_share=0.0, warmup=150, report_seconds=1e9, seed=0,
        device=device, execution=Execution.parse(execution),
    )  # fmt: skip
    began = now()
    run = Pretraining(settings, corpus)
    for _ in range(WARM_STEPS):
        run.step(0.0, None)
    _wait(device)
    clock, steps, samples = now(), run.steps, run.samples
    while now() - clock < seconds:
        run.step(0.0, None)
        if run.steps % 10 == 0:
            _wait(device)
    _wait(device)
    took = now() - clock
    return Trial(
        config, execution, (run.steps - steps) / took, (run.samples - samples) / took, round(clock - began, 2)
    )


def random_corpus(device: str) -> Corpus:
    """Pairs of random colours and sides, of as many tasks as ARC has for training."""
    g = torch.Generator().manual_seed(0)
    cells = torch.randint(10, (PAIRS, 2, MAX_SIDE, MAX_SIDE), generator=g, dtype=torch.uint8)
    sizes = torch.randint(1, MAX_SIDE + 1, (PAIRS, 1, 2), generator=g).repeat(1, 2, 1)
    store = PairStore(cells.to(device), sizes.to(device))
    task = (torch.arange(PAIRS) % TASKS).to(device)
    ruled = torch.ones(PAIRS, device=device)
    return Corpus([f"{n:08x}" for n in range(TASKS)], store, task, ruled, store, task, ruled)


def write(file: Path, found: Iterator[Trial]) -> None:
    """Note each as it comes: a process that dies leaves those before."""
    for trial in found:
        _note(file, trial)


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
