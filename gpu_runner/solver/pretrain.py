"""Pretrain a network on ARC-AGI-1's training tasks and RE-ARC.

    python -m gpu_runner.solver.pretrain --data DIR --out gpu_runner/models/xs.safetensors --seconds 2700

DIR holds training/*.json and rearc.npz.xz (see `corpus`). Every task has four learned tokens, and so has each
of its fixed dihedral × colour variants. The rate warms up, stays, and decays in the last `--decay-seconds`;
`--state FILE` keeps the run as it was before the decay, so that a later call can go on from there. Beside the
weights goes a model card (JSON).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .augment import IDENTITY_COLOURS, Variant, as_tensors
from .canvas import COLOURS, HALVES, Batch, PairStore, Placement, draw, random_offsets
from .corpus import Corpus, Pool, load_corpus, pools
from .errors import BadWeights
from .model import CONFIGS, TASK_TOKENS, ModelConfig, Solver, count_parameters
from .objective import exact, loss
from .optim import Optimiser
from .weights import Checkpoint, read_checkpoint, write_checkpoint

VARIANTS_PER_TASK = 4
PLAIN_SHARE = 0.6
BOX_DROPOUT = 0.15
DOUBLED_SHARE = 0.6
EMA = 0.998


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
        self.optimiser = Optimiser(self.model, self.tokens, rate=settings.rate, token_rate=3 * settings.rate)
        self.variants = as_tensors(task_variants(len(corpus.task_ids), settings.seed), settings.device)
        self.generator = torch.Generator(settings.device).manual_seed(settings.seed)
        self.pools = self._pools()
        self.steps = self.samples = 0
        self.seconds = 0.0

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
        weights = torch.tensor([w for w, _ in self.pools], device=device)
        pool = self.pools[int(torch.multinomial(weights, 1, generator=g))][1]
        size = max(1, self.settings.batch_tokens // (pool.half**2 + TASK_TOKENS))
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

    def step(self, elapsed: float, loops: int | None) -> tuple[Tensor, Tensor]:
        """Loss and share of exact answers of one step, still on the device."""
        batch, row = self.batch()
        with _fast(self.settings.device):
            logits = self.model(batch, self.tokens[row], loops=loops)
        value = loss(logits, batch)
        value.backward()  # type: ignore[no-untyped-call]
        self.optimiser.set_rates(rate_factor(self.steps, elapsed, self.settings))
        self.optimiser.step()
        self.steps += 1
        self.samples += len(row)
        keep = min(EMA, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            torch._foreach_lerp_(self.average, self._live(), 1 - keep)
        return value.detach(), exact(logits.detach(), batch).float().mean()

    def state(self) -> dict[str, Any]:
        return {
            "weights": self.model.state_dict(),
            "tokens": self.tokens.data,
            "average": self.average,
            "optimiser": self.optimiser.state(),
            "generator": self.generator.get_state(),
            "counters": (self.steps, self.samples, self.seconds),
        }

    def load(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["weights"])
        self.tokens.data.copy_(state["tokens"])
        for mine, saved in zip(self.average, state["average"], strict=True):
            mine.copy_(saved)
        self.optimiser.load(state["optimiser"])
        self.generator.set_state(state["generator"].cpu())
        self.steps, self.samples, self.seconds = state["counters"]

    def start_from(self, known: Checkpoint) -> None:
        """Take the weights of a checkpoint, and its tokens for the tasks it names: to all four variants of a
        task where it has one set a task, else variant by variant (`write_stable`). Raises BadWeights."""
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


def _fast(device: str) -> contextlib.AbstractContextManager[Any]:
    """bf16 where the card computes it (compute capability 8.0 on); never on a CPU, where it is slow."""
    if device.startswith("cuda") and torch.cuda.get_device_capability(device) >= (8, 0):
        return torch.autocast("cuda", torch.bfloat16)
    return contextlib.nullcontext()


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
            with _fast(run.settings.device):
                logits = model(batch, tokens[run.corpus.test_task[pair] * VARIANTS_PER_TASK], loops=loops)
            right += int(exact(logits, batch).sum())
            asked += len(pair)
    return right / max(asked, 1), asked


def train(run: Pretraining, *, out: Path, state: Path | None, stable: Path | None = None) -> dict[str, Any]:
    """Train for `settings.seconds`, writing weights and card to `out` at every report and at the end; the run
    to `state` at every report before the decay, and its weights to `stable` where the decay begins."""
    settings = run.settings
    started, reported, earlier = time.monotonic(), 0.0, run.seconds
    first_samples, watched = run.samples, []
    saved_last = False
    while (elapsed := time.monotonic() - started) < settings.seconds:
        early = elapsed < settings.early_share * settings.seconds
        loops = settings.early_loops if early else None
        watched.append(torch.stack(run.step(elapsed, loops)))
        decaying = elapsed > settings.seconds - settings.decay_seconds
        due = elapsed - reported > settings.report_seconds
        run.seconds = earlier + elapsed
        if state is not None and ((due and not decaying) or (decaying and not saved_last)):
            saved_last = decaying
            _replace(state, run.state())
            if stable is not None:
                run.write_stable(stable)
        if due:
            reported = elapsed
            mean = torch.stack(watched).mean(0).tolist()
            watched.clear()
            card = export(run, out, loops=loops)
            print(
                f"step {run.steps} samples {run.samples} loss {mean[0]:.4f} fit {mean[1]:.3f} "
                f"samples/s {(run.samples - first_samples) / elapsed:.1f} "
                f"validation {card['validation_exact']:.3f} seconds {elapsed:.0f}/{settings.seconds:.0f}",
                flush=True,
            )
    if state is not None and not saved_last:
        _replace(state, run.state())
    return export(run, out, loops=None)


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
        "batch_tokens": settings.batch_tokens,
        "bucket_mix": {str(2 * h): s for h, s in settings.mix.items()},
        "data": "ARC-AGI-1 training demonstrations (fchollet/ARC-AGI) and RE-ARC pairs (michaelhodel/re-arc)",
        "training_pairs": len(run.corpus.task),
        "tasks": len(run.corpus.task_ids),
        "validation": "test pairs of the training tasks that fit the canvases, one view, no adaptation",
        "validation_pairs": asked,
        "validation_exact": round(accuracy, 4),
    }
    beside = out.with_suffix(".json.part")
    beside.write_text(json.dumps(card, indent=2) + "\n")
    beside.replace(out.with_suffix(".json"))
    return card


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


def main(argv: list[str] | None = None) -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=Path, required=True, help="folder with training/ and rearc.npz.xz")
    p.add_argument("--out", type=Path, required=True, help="where the fp16 weights go; the card goes beside")
    p.add_argument("--state", type=Path, help="file that keeps the run, to continue it later")
    p.add_argument("--init", type=Path, help="checkpoint to start from where there is no state yet")
    p.add_argument("--stable", type=Path, help="where the small fp16 copy of the run before the decay goes")
    p.add_argument("--config", choices=sorted(CONFIGS), default="xs")
    p.add_argument("--seconds", type=float, default=2700)
    p.add_argument("--decay-seconds", type=float, default=600)
    p.add_argument("--rate", type=float, default=2e-3)
    p.add_argument("--batch-tokens", type=int, default=2048)
    p.add_argument("--mix", type=_mix, default="8:0.2,12:0.3,16:0.35,24:0.15", help="canvas side:share,…")
    p.add_argument("--early-loops", type=int, default=2)
    p.add_argument("--early-share", type=float, default=0.0, help="share of the call with fewer loops")
    p.add_argument("--per-task", type=int, default=300, help="generated pairs kept for each task")
    p.add_argument("--report-seconds", type=float, default=240)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--device", default="cpu")
    p.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves torch's choice")
    a = p.parse_args(argv)
    if a.threads:
        torch.set_num_threads(a.threads)
    settings = Settings(
        config=CONFIGS[a.config],
        seconds=a.seconds,
        decay_seconds=a.decay_seconds,
        rate=a.rate,
        batch_tokens=a.batch_tokens,
        mix=a.mix,
        early_loops=a.early_loops,
        early_share=a.early_share,
        warmup=150,
        report_seconds=a.report_seconds,
        seed=a.seed,
        device=a.device,
    )
    longest = 2 * max(a.mix) - 1
    corpus = load_corpus(a.data, per_task=a.per_task, longest=min(longest, 30), seed=a.seed, device=a.device)
    run = Pretraining(settings, corpus)
    if a.state is not None and a.state.exists():
        run.load(torch.load(a.state, map_location=a.device, weights_only=True))
    elif a.init is not None:
        run.start_from(read_checkpoint(a.init))
    print(f"{len(corpus.task)} pairs, {count_parameters(run.model)} parameters", flush=True)
    print(json.dumps(train(run, out=a.out, state=a.state, stable=a.stable), indent=2), flush=True)


if __name__ == "__main__":
    main()
