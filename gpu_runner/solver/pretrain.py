"""Pretrain a network on ARC-AGI-1's training tasks and RE-ARC.

    python -m gpu_runner.solver.pretrain --data DIR --out gpu_runner/models/xs.safetensors --seconds 2700

DIR holds training/*.json and rearc.npz.xz (see `corpus`). Every task has four learned tokens, and so has each
of its fixed dihedral × colour variants. The rate warms up, stays, and decays in the last `--decay-seconds`;
`--state FILE` keeps the run as it was before the decay, so that a later call can go on from there. Beside the
weights goes a model card (JSON).

Ctrl-C or SIGTERM end it after the step it is in: the state is kept (as it was before the decay, where that
has begun), weights and card are written, and the exit status is 130. `--profile` measures for a minute and
writes nothing.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .augment import IDENTITY_COLOURS, Variant, as_tensors
from .canvas import COLOURS, HALVES, Batch, PairStore, Placement, draw, random_offsets
from .corpus import Corpus, Pool, load_corpus, pools
from .devices import allow_tf32, check_device
from .errors import BadState, BadWeights, Diverged, SolverError
from .flops import step_flops, training_flops
from .model import CONFIGS, TASK_TOKENS, ModelConfig, Solver, count_parameters
from .objective import exact
from .optim import Optimiser
from .precision import Precision
from .profiling import profile, table
from .progress import Line, Stop, bar, clock
from .stepping import EagerStep, GraphedSteps
from .train import GOLDEN
from .weights import Checkpoint, read_checkpoint, write_checkpoint

VARIANTS_PER_TASK = 4
PLAIN_SHARE = 0.6
BOX_DROPOUT = 0.15
DOUBLED_SHARE = 0.6
EMA = 0.998

BATCH_TOKENS = {"cpu": 2048, "cuda": 65536}
CHECK_EVERY = 20
"""Steps between two looks at whether gradients are finite: on a GPU a look waits for it."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Settings:
    """seconds, decay_seconds: of training in this call; batch_tokens: canvas tokens a step; mix: share of
    steps by bucket; `early_loops` loops are used for the first
    `early_share` of the call."""

    config: ModelConfig
    seconds: float
    decay_seconds: float
    rate: float
    batch_tokens: int
    mix: dict[int, float]
    early_loops: int
    early_share: float
    warmup: int
    report_seconds: float
    seed: int
    device: str


def rate_factor(step: int, elapsed: float, settings: Settings) -> float:
    """Warm-up by steps, then 1, then linearly to 0 over the last `decay_seconds`."""
    left = (settings.seconds - elapsed) / max(settings.decay_seconds, 1e-9)
    return min(1.0, (step + 1) / settings.warmup, max(left, 0.0))


def task_variants(tasks: int, seed: int) -> list[Variant]:
    """VARIANTS_PER_TASK fixed variants a task, task by task, the untouched one first."""
    rng = random.Random(seed)
    found = []
    for _ in range(tasks):
        found.append(Variant())
        for _ in range(VARIANTS_PER_TASK - 1):
            colours = (0, *rng.sample(range(1, COLOURS), COLOURS - 1))
            found.append(Variant(rng.randrange(8), colours if rng.random() < 0.75 else IDENTITY_COLOURS))
    return found


class Pretraining:
    """A run that can be saved and continued: weights, their moving average, optimiser and counters."""

    def __init__(self, settings: Settings, corpus: Corpus) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.corpus = settings, corpus
        self.model = Solver(settings.config).to(settings.device)
        shape = (len(corpus.task_ids) * VARIANTS_PER_TASK, TASK_TOKENS, settings.config.width)
        self.tokens = nn.Parameter(0.1 * torch.randn(shape, device=settings.device))
        self.average = [t.detach().clone() for t in self._live()]
        on_gpu = settings.device.startswith("cuda")
        self.optimiser = Optimiser(
            self.model, self.tokens, rate=settings.rate, token_rate=3 * settings.rate, on_device=on_gpu
        )
        self.precision = Precision.of(settings.device)
        step = EagerStep(self.model, self.tokens, self.optimiser, self.precision)
        self.take_step = GraphedSteps(step) if on_gpu else step
        self.variants = as_tensors(task_variants(len(corpus.task_ids), settings.seed), settings.device)
        self.generator = torch.Generator(settings.device).manual_seed(settings.seed)
        self.pools = self._pools()
        self.batch_tokens = settings.batch_tokens
        self.steps = self.samples = self.flops = 0
        self.seconds = 0.0
        self.history: list[dict[str, Any]] = []
        self.started_from: dict[str, Any] | None = None
        self._began = self._counters()

    def _live(self) -> list[Tensor]:
        return [*self.model.parameters(), self.tokens]

    def _pools(self) -> list[tuple[float, Pool]]:
        found = pools(self.corpus)
        weighted = []
        for half, share in self.settings.mix.items():
            present = {s: found[half, s] for s in (1, 2) if (half, s) in found}
            for scale, pool in present.items():
                part = 1.0 if len(present) == 1 else DOUBLED_SHARE if scale == 2 else 1 - DOUBLED_SHARE
                weighted.append((share * part, pool))
        return weighted

    def batch(self) -> tuple[Batch, Tensor]:
        """A batch of one bucket, and the row of each sample's task tokens."""
        g, device = self.generator, self.settings.device
        pool = self._next_pool()
        size = max(1, self.batch_tokens // (pool.half**2 + TASK_TOKENS))
        pair = pool.sample(size, g)
        chance = torch.rand(4, size, generator=g, device=device)
        variant = (1 + chance[0] * (VARIANTS_PER_TASK - 1)).long() * (chance[1] > PLAIN_SHARE)
        row = self.corpus.task[pair] * VARIANTS_PER_TASK + variant
        scale = torch.full((size,), pool.scale, device=device)
        offset = random_offsets(self.corpus.pairs.longest[pair], scale, pool.half, g, align=pool.scale)
        box_on = (chance[2:].T > BOX_DROPOUT).float()
        box_on[:, 1] *= self.corpus.ruled[pair]
        at = Placement(pair, self.variants[0][row], self.variants[1][row], scale, offset, box_on)
        return draw(self.corpus.pairs, at, pool.half), row

    def _next_pool(self) -> Pool:
        """By chance on a CPU; on a GPU by the number of the step, evenly spread: nobody waits for that."""
        weights = torch.tensor([w for w, _ in self.pools])
        if self.settings.device.startswith("cuda"):
            place = self.steps * GOLDEN % 1 * float(weights.sum())
            chosen = min(int((weights.cumsum(0) < place).sum()), len(self.pools) - 1)
        else:
            chosen = int(torch.multinomial(weights, 1, generator=self.generator))
        return self.pools[chosen][1]

    def step(self, elapsed: float, loops: int | None) -> tuple[Tensor, Tensor]:
        """Loss and share of exact answers of one step, still on the device. Without room there, the step is
        taken with half the batch, and so are those after it."""
        factor = rate_factor(self.steps, elapsed, self.settings)
        while (told := self._try_step(factor, loops)) is None:
            self.batch_tokens //= 2
            log.warning("no room on the device: %d tokens a step from now on", self.batch_tokens)
            self.take_step.forget()
            torch.cuda.empty_cache()
        value, fits = told
        self.steps += 1
        keep = min(EMA, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            torch._foreach_lerp_(self.average, self._live(), 1 - keep)
        if self.steps % CHECK_EVERY == 0 and int(self.optimiser.skipped) >= self.precision.patience:
            raise Diverged(f"no finite gradients in {int(self.optimiser.skipped)} steps on end")
        return value, fits.float().mean()

    def _try_step(self, factor: float, loops: int | None) -> tuple[Tensor, Tensor] | None:
        try:
            batch, row = self.batch()
            told = self.take_step(batch, row, factor, loops=loops)
        except torch.OutOfMemoryError:
            if self.batch_tokens < 2 * TASK_TOKENS:
                raise
            return None
        config, half = self.settings.config, batch.cells.shape[1] // 2
        looped = config if loops is None else replace(config, loops=loops)
        self.samples += len(row)
        self.flops += len(row) * training_flops(looped, half) + step_flops(config)
        return told

    @property
    def began_at_s(self) -> float:
        """Seconds of training in the calls before this one."""
        return self._began[3]

    def _counters(self) -> tuple[int, int, int, float]:
        return self.steps, self.samples, self.flops, self.seconds

    def calls(self) -> list[dict[str, Any]]:
        """All calls that led here, this one last: what a model card tells of them."""
        settings = self.settings
        steps, samples, flops, seconds = (
            now - then for now, then in zip(self._counters(), self._began, strict=True)
        )
        here: dict[str, Any] = {
            "steps": steps,
            "samples": samples,
            "seconds": round(seconds),
            "flops": flops,
            "device": _device_name(settings.device),
            "bucket_mix": {str(2 * h): s for h, s in settings.mix.items()},
            "batch_tokens": self.batch_tokens,
            "rate": settings.rate,
            "decay_seconds": settings.decay_seconds,
            "early_loops": settings.early_loops if settings.early_share else None,
        }
        if self.started_from is not None:
            here["started_from"] = self.started_from
        return [*self.history, here]

    def state(self) -> dict[str, Any]:
        return {
            "weights": self.model.state_dict(),
            "tokens": self.tokens.data,
            "average": self.average,
            "optimiser": self.optimiser.state(),
            "generator": self.generator.get_state(),
            "counters": (self.steps, self.samples, self.seconds),
            "flops": self.flops,
            "task_ids": self.corpus.task_ids,
            "history": self.calls(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a kept run; of an older one the history says only how much it was. Raises BadState."""
        if state.get("task_ids", self.corpus.task_ids) != self.corpus.task_ids:
            raise BadState("it is of other tasks: was it begun with another --data or --hold-out?")
        if state["tokens"].shape != self.tokens.shape:
            raise BadState(f"its tokens are {list(state['tokens'].shape)}, not {list(self.tokens.shape)}")
        try:
            self.model.load_state_dict(state["weights"])
        except RuntimeError as why:
            raise BadState(f"its weights do not fit {self.settings.config.name}: {why}") from why
        self.tokens.data.copy_(state["tokens"])
        for mine, saved in zip(self.average, state["average"], strict=True):
            mine.copy_(saved)
        self.optimiser.load(state["optimiser"])
        if state["generator"].shape == self.generator.get_state().shape:  # one of another kind of device
            self.generator.set_state(state["generator"].cpu())
        self.steps, self.samples, self.seconds = state["counters"]
        before = {"steps": self.steps, "samples": self.samples, "seconds": round(self.seconds)}
        self.flops = state.get("flops", 0)
        self.history = state.get("history", [before])
        self._began = self._counters()

    def start_from(self, known: Checkpoint, card: dict[str, Any] | None = None) -> None:
        """Take the weights of a checkpoint, and its tokens for the tasks it names: to all four variants of a
        task where it has one set a task, else variant by variant (`write_stable`). `card` is the checkpoint's
        own, where it has one: what went into it before. Raises BadWeights."""
        if known.config != self.settings.config:
            raise BadWeights(f"{known.name} is a {known.config.name}, not a {self.settings.config.name}")
        self.model.load_state_dict(known.weights)
        rows: dict[str, list[Tensor]] = {}
        for task, tokens in zip(known.task_ids, known.tokens, strict=True):
            rows.setdefault(task, []).append(tokens)
        for n, task in enumerate(self.corpus.task_ids):
            for variant in range(VARIANTS_PER_TASK):
                if found := rows.get(task):
                    self.tokens.data[n * VARIANTS_PER_TASK + variant] = found[variant % len(found)]
        for mine, live in zip(self.average, self._live(), strict=True):
            mine.copy_(live.detach())
        self.started_from = {"file": known.name, "sha256": known.sha256}
        if card is not None and card.get("sha256") == known.sha256:
            self.started_from |= {name: card[name] for name in TOLD_BEFORE if name in card}

    def write_stable(self, path: Path) -> str:
        """Weights and the tokens of all variants, as they are: what `--init` can go on from."""
        names = [task for task in self.corpus.task_ids for _ in range(VARIANTS_PER_TASK)]
        return write_checkpoint(
            path, self.settings.config, self.model.state_dict(), tokens=self.tokens, task_ids=names
        )

    def averaged(self) -> tuple[Solver, Tensor]:
        """The averaged network, its `mean_tokens` set, and the averaged token table."""
        model = Solver(self.settings.config).to(self.settings.device)
        for mine, saved in zip(model.parameters(), self.average[:-1], strict=True):
            mine.data.copy_(saved)
        tokens = self.average[-1]
        model.mean_tokens.copy_(tokens.view(-1, VARIANTS_PER_TASK, *tokens.shape[1:])[:, 0].mean(0))
        return model.eval(), tokens


@torch.no_grad()
def validate(run: Pretraining, *, halves: tuple[int, ...], loops: int | None) -> tuple[float, int]:
    """Share of the training tasks' test pairs answered exactly with one view, and how many were asked."""
    model, tokens = run.averaged()
    tests: PairStore = run.corpus.tests
    right = asked = below = 0
    for half in HALVES:
        members = ((tests.longest > below) & (tests.longest <= 2 * half - 1)).nonzero()[:, 0]
        below = 2 * half - 1
        for pair in torch.split(members, max(1, 4096 // half**2)) if half in halves and len(members) else ():
            zero = torch.zeros_like(pair)
            colours = torch.arange(COLOURS, device=pair.device).expand(len(pair), -1)
            box_on = torch.stack([torch.ones(len(pair), device=pair.device), run.corpus.test_ruled[pair]], 1)
            at = Placement(pair, zero, colours, zero + 1, torch.stack([zero, zero], 1), box_on)
            batch = draw(tests, at, half)
            with run.precision.autocast():
                logits = model(batch, tokens[run.corpus.test_task[pair] * VARIANTS_PER_TASK], loops=loops)
            right += int(exact(logits, batch).sum())
            asked += len(pair)
    return right / max(asked, 1), asked


class Told:
    """The mean loss and share of exact answers since they were last read; sums stay on the device."""

    def __init__(self) -> None:
        self.sums: Tensor | None = None
        self.steps = 0

    def add(self, value: Tensor, fit: Tensor) -> None:
        now = torch.stack([value.float(), fit])
        self.sums = now if self.sums is None else self.sums + now
        self.steps += 1

    def means(self) -> tuple[float, float]:
        value, fit = (self.sums / self.steps).tolist() if self.sums is not None else (0.0, 0.0)
        return value, fit


def train(
    run: Pretraining,
    *,
    out: Path,
    state: Path | None,
    stable: Path | None = None,
    line: Line | None = None,
    stop: Callable[[], bool] = lambda: False,
    now: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Train for `settings.seconds` or until `stop()`, writing weights and card to `out` at every report and
    at the end; the run to `state`, and its weights to `stable`, at every report before the decay and where
    that begins. Returns the card. Raises Diverged."""
    settings, line = run.settings, line or Line()
    started, reported, earlier = now(), 0.0, run.seconds
    first = run.samples, run.flops
    told, validation, saved_last = Told(), None, False

    def keep() -> None:
        if state is not None:
            _replace(state, run.state())
        if stable is not None:
            run.write_stable(stable)

    while (elapsed := now() - started) < settings.seconds and not stop():
        early = elapsed < settings.early_share * settings.seconds
        loops = settings.early_loops if early else None
        told.add(*run.step(elapsed, loops))
        run.seconds = earlier + elapsed
        decaying = elapsed > settings.seconds - settings.decay_seconds
        due = elapsed - reported > settings.report_seconds
        if (due and not decaying) or (decaying and not saved_last):
            saved_last = decaying
            keep()
        if due or line.due(elapsed):
            pace = (run.samples - first[0]) / elapsed, (run.flops - first[1]) / elapsed / 1e12
            if due:
                reported = elapsed
                validation = export(run, out, loops=loops)["validation_exact"]
                line.keep(_report(run, told.means(), pace, validation, elapsed))
                told = Told()
            else:
                line.draw(_live(run, told.means(), pace, validation, elapsed), elapsed)
    if stop():
        line.keep("asked to stop: keeping the state, writing the weights")
    if not saved_last:
        keep()
    return export(run, out, loops=None)


Pace = tuple[float, float]
"""Samples and TFLOP a second, since the call began."""


def _report(
    run: Pretraining, means: tuple[float, float], pace: Pace, validation: float, elapsed: float
) -> str:
    whole = run.settings.seconds
    return (
        f"step {run.steps} samples {run.samples} loss {means[0]:.4f} fit {means[1]:.3f} "
        f"samples/s {pace[0]:.1f} TFLOP/s {pace[1]:.3f} validation {validation:.3f} "
        f"seconds {elapsed:.0f}/{whole:.0f}"
    )


def _live(
    run: Pretraining, means: tuple[float, float], pace: Pace, validation: float | None, elapsed: float
) -> str:
    known = "" if validation is None else f"  valid {validation:.3f}"
    whole = run.settings.seconds
    return (
        f"{bar(elapsed / whole)} {clock(whole - elapsed)} left  step {run.steps}  {pace[0]:.0f} samples/s  "
        f"{pace[1]:.2f} TFLOP/s  loss {means[0]:.3f}  fit {means[1]:.3f}{known}"
    )


def export(run: Pretraining, out: Path, *, loops: int | None) -> dict[str, Any]:
    """Write the averaged weights and their model card; the card last, so it never describes older weights."""
    halves = tuple(run.settings.mix)
    accuracy, asked = validate(run, halves=halves, loops=loops)
    model, tokens = run.averaged()
    digest = write_checkpoint(
        out, run.settings.config, model.state_dict(),
        tokens=tokens[::VARIANTS_PER_TASK], task_ids=run.corpus.task_ids,
    )  # fmt: skip
    settings = run.settings
    card = {
        "file": out.name,
        "sha256": digest,
        "config": settings.config.name,
        "parameters": count_parameters(model),
        "steps": run.steps,
        "samples": run.samples,
        "seconds": round(run.seconds),
        "device": _device_name(settings.device),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "seed": settings.seed,
        "rate": settings.rate,
        "batch_tokens": run.batch_tokens,
        "flops": run.flops,
        "flops_complete": all(_flops_known(call) for call in run.calls()),
        "rate_at_end": round(rate_factor(run.steps, run.seconds - run.began_at_s, settings), 4),
        "bucket_mix": {str(2 * h): s for h, s in settings.mix.items()},
        "data": "ARC-AGI-1 training demonstrations (fchollet/ARC-AGI) and RE-ARC pairs (michaelhodel/re-arc)",
        "data_sha256": run.corpus.digest,
        "training_pairs": len(run.corpus.task),
        "tasks": len(run.corpus.task_ids),
        "held_out": list(run.corpus.held_out),
        "validation": "test pairs of the training tasks that fit the canvases, one view, no adaptation",
        "validation_pairs": asked,
        "validation_exact": round(accuracy, 4),
        "history": run.calls(),
    }
    beside = out.with_suffix(".json.part")
    beside.write_text(json.dumps(card, indent=2) + "\n")
    beside.replace(out.with_suffix(".json"))
    return card


TOLD_BEFORE = ("steps", "samples", "seconds", "flops", "flops_complete", "history")
"""What a card tells of the work that led to its checkpoint: carried into the card of what starts from it."""


def _flops_known(call: dict[str, Any]) -> bool:
    before = call.get("started_from")
    return "flops" in call and (before is None or bool(before.get("flops_complete")))


def _card_of(checkpoint: Path) -> dict[str, Any] | None:
    """The card beside a checkpoint; None where there is none that can be read."""
    try:
        card = json.loads(checkpoint.with_suffix(".json").read_text())
    except (OSError, ValueError):
        return None
    return card if isinstance(card, dict) else None


def _replace(path: Path, state: dict[str, Any]) -> None:
    beside = path.with_suffix(".part")
    torch.save(state, beside)
    beside.replace(path)


def _device_name(device: str) -> str:
    if device.startswith("cuda"):
        return str(torch.cuda.get_device_name(device))
    return f"CPU ({platform.machine()})"


def _mix(text: str) -> dict[int, float]:
    """'8:0.2,12:0.3' gives shares by half side: {4: 0.2, 6: 0.3}."""
    return {int(part.split(":")[0]) // 2: float(part.split(":")[1]) for part in text.split(",")}


def main(argv: list[str] | None = None) -> int:
    """Exit status: 0; 1 where it cannot be done; 130 after Ctrl-C or SIGTERM."""
    options = _parser().parse_args(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        return _pretrain(options)
    except SolverError as why:
        print(f"pretrain: {why}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("pretrain: ended at once; the state is the one kept last", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=Path, required=True, help="folder with training/ and rearc.npz.xz")
    p.add_argument("--out", type=Path, help="where the fp16 weights go; the card goes beside")
    p.add_argument("--state", type=Path, help="file that keeps the run, to continue it later")
    p.add_argument("--init", type=Path, help="checkpoint to start from where there is no state yet")
    p.add_argument("--stable", type=Path, help="where the small fp16 copy of the run before the decay goes")
    p.add_argument("--config", choices=sorted(CONFIGS), default="xs")
    p.add_argument("--seconds", type=float, default=2700)
    p.add_argument("--decay-seconds", type=float, default=600)
    p.add_argument("--rate", type=float, default=2e-3)
    p.add_argument("--batch-tokens", type=int, help="canvas tokens a step; 2048 on a CPU, 65536 on a GPU")
    p.add_argument("--mix", type=_mix, default="8:0.2,12:0.3,16:0.35,24:0.15", help="canvas side:share,…")
    p.add_argument("--early-loops", type=int, default=2)
    p.add_argument("--early-share", type=float, default=0.0, help="share of the call with fewer loops")
    p.add_argument("--per-task", type=int, default=300, help="generated pairs kept for each task")
    p.add_argument("--hold-out", type=int, default=0, metavar="N", help="leave N tasks out entirely")
    p.add_argument("--report-seconds", type=float, default=240)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--device", default="cpu")
    p.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves torch's choice")
    p.add_argument("--profile", action="store_true", help="measure some batch sizes, write nothing")
    p.add_argument("--profile-seconds", type=float, default=60)
    return p


def _pretrain(options: argparse.Namespace) -> int:
    if options.out is None and not options.profile:
        _parser().error("--out says where the weights go; only --profile does without")
    line, device = Line(), options.device
    line.keep(f"on {check_device(device)}")
    if device.startswith("cuda"):
        allow_tf32()
    settings = Settings(
        config=CONFIGS[options.config],
        seconds=options.seconds,
        decay_seconds=options.decay_seconds,
        rate=options.rate,
        batch_tokens=options.batch_tokens or BATCH_TOKENS[device.partition(":")[0]],
        mix=options.mix,
        early_loops=options.early_loops,
        early_share=options.early_share,
        warmup=150,
        report_seconds=options.report_seconds,
        seed=options.seed,
        device=device,
    )
    corpus = load_corpus(
        options.data, per_task=options.per_task, longest=min(2 * max(options.mix) - 1, 30),
        seed=options.seed, device=device, hold_out=options.hold_out,
    )  # fmt: skip
    if options.profile:
        rates = profile(
            lambda tokens: Pretraining(replace(settings, batch_tokens=tokens), corpus),
            around=settings.batch_tokens,
            seconds=options.profile_seconds,
        )
        print(table(rates))
        return 0
    run = Pretraining(settings, corpus)
    if options.state is not None and options.state.exists():
        try:
            run.load(torch.load(options.state, map_location=device, weights_only=True))
        except BadState as why:
            raise BadState(f"cannot go on from {options.state}: {why}") from why
    elif options.init is not None:
        run.start_from(read_checkpoint(options.init), _card_of(options.init))
    line.keep(f"{len(corpus.task)} pairs, {count_parameters(run.model)} parameters")
    with Stop() as stop:
        card = train(run, out=options.out, state=options.state, stable=options.stable, line=line, stop=stop)
    print(json.dumps(card, indent=2), flush=True)
    return 130 if stop.asked else 0


if __name__ == "__main__":
    sys.exit(main())
