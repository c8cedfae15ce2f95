"""A pretraining run: its settings, its steps, its state, and how well its network answers."""

from __future__ import annotations

import hashlib
import logging
import platform
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gpu_runner.lineage.generations import samples_seen

from .augment import IDENTITY_COLOURS, Variant, as_tensors
from .canvas import COLOURS, HALVES, Batch, PairStore, Placement, draw, random_offsets
from .corpus import Corpus, Pool, pools
from .errors import BadState, BadWeights, Diverged
from .execution import Execution
from .flops import step_flops, training_flops
from .model import TASK_TOKENS, ModelConfig, Solver
from .objective import exact
from .optim import Optimiser, check_like
from .precision import Precision
from .resume import number, whole
from .stepping import EagerStep, GraphedSteps
from .train import GOLDEN
from .weights import Checkpoint, write_checkpoint

VARIANTS_PER_TASK = 4
PLAIN_SHARE = 0.6
BOX_DROPOUT = 0.15
DOUBLED_SHARE = 0.6
EMA = 0.998

CHECK_EVERY = 20
"""Steps between two looks at whether gradients are finite: on a GPU a look waits for it."""

TOLD_BEFORE = ("steps", "samples", "samples_seen", "seconds", "flops", "flops_complete", "history")
"""What a card tells of the work that led to its checkpoint: carried into the card of what starts from it."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Settings:
    """seconds, decay_seconds: of training in this call; batch_tokens: canvas tokens a step; mix: share of
    steps by bucket; `early_loops` loops are used for the first `early_share` of the call; plain_share: share
    of samples that are of no variant (dihedral × colour) of their task."""

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
    plain_share: float = PLAIN_SHARE
    execution: Execution | None = None


def rate_factor(step: int, elapsed: float, settings: Settings) -> float:
    """Warm-up by steps, then 1, then linearly to 0 over the last `decay_seconds`."""
    left = (settings.seconds - elapsed) / max(settings.decay_seconds, 1e-9)
    return min(1.0, (step + 1) / settings.warmup, max(left, 0.0))


def batch_seed(seed: int, seen: int) -> int:
    """What batches are drawn by after `seen` samples: a run that goes on from weights alone, without the
    state of its generator, does not see again what the run before it saw first."""
    if not seen:
        return seed
    return int.from_bytes(hashlib.sha256(f"batches {seed} {seen}".encode()).digest()[:7], "big")


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
        self.precision = Precision.of(settings.device)
        self.optimiser = Optimiser(
            self.model, self.tokens, rate=settings.rate, token_rate=3 * settings.rate, on_device=on_gpu,
            products=self.precision.dtype,
        )  # fmt: skip
        self.execution = settings.execution or Execution.usual(settings.device)
        self.model.execute(self.execution)
        step = EagerStep(self.model, self.tokens, self.optimiser, self.precision)
        self.take_step = GraphedSteps(step) if self.execution.graphs else step
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
        variant = (1 + chance[0] * (VARIANTS_PER_TASK - 1)).long() * (chance[1] > self.settings.plain_share)
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

    @property
    def seen(self) -> int:
        """Samples seen in all, those before the checkpoint that this run started from included."""
        return samples_seen({"samples": self.samples, "history": self.calls()})

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
            "device": device_name(settings.device),
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
        if not isinstance(state, dict):
            raise BadState(f"it is {type(state).__name__}, not what a run keeps")
        if state.get("task_ids", self.corpus.task_ids) != self.corpus.task_ids:
            raise BadState("it is of other tasks: was it begun with another --data or --hold-out?")
        if state["tokens"].shape != self.tokens.shape:
            raise BadState(f"its tokens are {list(state['tokens'].shape)}, not {list(self.tokens.shape)}")
        try:
            self.model.load_state_dict(state["weights"])
        except RuntimeError as why:
            raise BadState(f"its weights do not fit {self.settings.config.name}: {why}") from why
        check_like("tokens", state["tokens"], self.tokens)
        self.tokens.data.copy_(state["tokens"])
        for mine, saved in zip(self.average, state["average"], strict=True):
            check_like("an average", saved, mine)
            mine.copy_(saved)
        self.optimiser.load(state["optimiser"])
        steps, samples, seconds = state["counters"]
        counted = {"steps": steps, "samples": samples, "seconds": seconds, "flops": state.get("flops", 0)}
        self.steps, self.samples = whole(counted, "steps"), whole(counted, "samples", most=10**15)
        self.flops, self.seconds = whole(counted, "flops", most=10**30), number(counted, "seconds")
        before = {"steps": self.steps, "samples": self.samples, "seconds": round(self.seconds)}
        self.history = [dict(call) for call in state.get("history", [before])]
        self._began = self._counters()
        if state["generator"].shape == self.generator.get_state().shape:
            self.generator.set_state(state["generator"].cpu())
        else:  # one of another kind of device
            self.generator.manual_seed(batch_seed(self.settings.seed, self.seen))

    def start_from(self, known: Checkpoint, card: dict[str, Any] | None = None) -> None:
        """Take the weights of a checkpoint, and its tokens for the tasks it names: to all four variants of a
        task where it has one set a task, else variant by variant (`write_stable`). `card` is the checkpoint's
        own, where it has one: what went into it before, and by how much batches are drawn by another seed.
        Raises BadWeights."""
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
        self.generator.manual_seed(batch_seed(self.settings.seed, self.seen))

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


def device_name(device: str) -> str:
    if device.startswith("cuda"):
        return str(torch.cuda.get_device_name(device))
    return f"CPU ({platform.machine()})"
