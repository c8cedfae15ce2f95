"""Pretrain a network on ARC-AGI-1's training tasks and RE-ARC.

    python -m gpu_runner.solver.pretrain --data DIR --out gpu_runner/models/xs.safetensors --seconds 2700

DIR holds training/*.json and rearc.npz.xz (see `corpus`). Every task has four learned tokens, and so has each
of its fixed dihedral × colour variants. The rate warms up, stays, and decays in the last `--decay-seconds`;
`--state FILE` keeps the run as it was before the decay, so that a later call can go on from there. Beside
the weights, those of `--stable` too, goes a model card (JSON). `make pretrain` (`gpu_runner.lineage`)
runs all this in the background.

Ctrl-C or SIGTERM end it after the step it is in: the state is kept (as it was before the decay, where that
has begun), weights and card are written, and the exit status is 130. `--profile` measures for a minute and
writes nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gpu_runner import saying
from gpu_runner.lineage.files import card_of

from .corpus import load_corpus
from .devices import allow_tf32, check_device
from .errors import BadState, SolverError
from .execution import CHOICES, Execution
from .model import CONFIGS, count_parameters
from .pretraining import VARIANTS_PER_TASK, Pretraining, Settings, device_name, rate_factor, validate
from .profiling import profile, table
from .progress import AwakeClock, Line, Stop, bar, clock
from .resume import understood
from .weights import read_checkpoint, write_checkpoint

BATCH_TOKENS = {"cpu": 2048, "cuda": 65536}


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
            write_stable(run, stable)

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
    card = _card(run, out, digest) | {
        "validation": "test pairs of the training tasks that fit the canvases, one view, no adaptation",
        "validation_pairs": asked,
        "validation_exact": round(accuracy, 4),
        "history": run.calls(),
    }
    _write_card(out, card)
    return card


def write_stable(run: Pretraining, path: Path) -> dict[str, Any]:
    """Write the weights as they are and the tokens of all variants, to go on from; then their card. It has no
    validation figure: that of the averaged weights is not theirs."""
    card = _card(run, path, run.write_stable(path)) | {"history": run.calls()}
    _write_card(path, card)
    return card


def _card(run: Pretraining, path: Path, digest: str) -> dict[str, Any]:
    """What every card of a run tells, but for the history, which goes last."""
    settings = run.settings
    return {
        "file": path.name,
        "sha256": digest,
        "config": settings.config.name,
        "parameters": count_parameters(run.model),
        "steps": run.steps,
        "samples": run.samples,
        "samples_seen": run.seen,
        "seconds": round(run.seconds),
        "device": device_name(settings.device),
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
    }


def _write_card(path: Path, card: dict[str, Any]) -> None:
    beside = path.with_suffix(".json.part")
    beside.write_text(json.dumps(card, indent=2) + "\n")
    beside.replace(path.with_suffix(".json"))


def _flops_known(call: dict[str, Any]) -> bool:
    before = call.get("started_from")
    return "flops" in call and (before is None or bool(before.get("flops_complete")))


def _replace(path: Path, state: dict[str, Any]) -> None:
    beside = path.with_suffix(".part")
    torch.save(state, beside)
    beside.replace(path)


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
        saying.err(f"pretrain: {why}")
        return 1
    except KeyboardInterrupt:
        saying.err("pretrain: ended at once; the state is the one kept last")
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
    p.add_argument(
        "--execution", type=Execution.parse, metavar="CHOICE,…",
        help=f"how a step is executed: eager, or some of {', '.join(CHOICES)}; on a GPU graphs",
    )  # fmt: skip
    p.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves torch's choice")
    p.add_argument("--profile", action="store_true", help="measure some batch sizes, write nothing")
    p.add_argument("--profile-seconds", type=float, default=60)
    return p


def _pretrain(options: argparse.Namespace) -> int:
    if options.out is None and not options.profile:
        _parser().error("--out says where the weights go; only --profile does without")
    line, device = Line(), options.device
    line.keep(f"on {check_device(device)}")
    if options.execution is not None and options.execution.graphs and not device.startswith("cuda"):
        _parser().error("graphs are CUDA's: --execution graphs needs --device cuda")
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
        execution=options.execution,
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
        saying.out(*table(rates).splitlines())
        return 0
    run = Pretraining(settings, corpus)
    if options.state is not None and options.state.exists():
        try:
            with understood():
                run.load(torch.load(options.state, map_location=device, weights_only=True))
        except BadState as why:
            raise BadState(f"cannot go on from {options.state}: {why}") from why
    elif options.init is not None:
        run.start_from(read_checkpoint(options.init), card_of(options.init))
    line.keep(f"{len(corpus.task)} pairs, {count_parameters(run.model)} parameters")
    with Stop() as stop:
        card = train(
            run, out=options.out, state=options.state, stable=options.stable, line=line, stop=stop,
            now=AwakeClock(),
        )  # fmt: skip
    saying.out(*json.dumps(card, indent=2).splitlines())
    return 130 if stop.asked else 0


if __name__ == "__main__":
    sys.exit(main())
