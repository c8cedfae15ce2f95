"""Use some minutes on a borrowed GPU: the data packed here, two commands there.

    python -m bench.gpu_session pack arc/ --validation tasks/ --ids choose.txt    # here: writes .session/
    python -m bench.gpu_session pretrain --out OUT
    python -m bench.gpu_session adapt OUT/xs6.safetensors --out OUT

`pretrain` tries for some seconds which network, executed how, is fastest on this device, trains for what is
left of --seconds, rewrites its checkpoint each minute and ends in time. `adapt` measures test-time training
without rules on the packed validation tasks, for the seconds each way is given. Both end by themselves;
Ctrl-C or SIGTERM end them sooner, with what there is by then. `--device cpu --config tiny` rehearses.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

from gpu_runner import saying
from gpu_runner.solver import SolverError  # sets how threads wait, so before torch

import torch  # isort: skip

from bench.gpu_session import adapting, packing, training, trials
from gpu_runner.solver.canvas import HALVES
from gpu_runner.solver.devices import allow_tf32, check_device
from gpu_runner.solver.execution import CHOICES, Execution
from gpu_runner.solver.model import CONFIGS
from gpu_runner.solver.train import CUDA
from gpu_runner.solver.weights import read_checkpoint

SESSION = Path(".session")
MIX = "8:0.1,12:0.15,16:0.25,24:0.2,32:0.25,48:0.05"
"""22 of 100 tasks need more than side 24; a side of 48 holds grids of up to 23 cells at scale 2."""

BEST = "graphs,one_hot,narrow"
TRIALS = (
    "xs6:graphs", f"xs6:{BEST}", f"xs6:{BEST},compiled", f"xs6:{BEST},shifts,compiled", f"m6:{BEST}",
    f"m6:{BEST},shifts,compiled", f"m6:{BEST},compiled", f"xs6:{BEST},shifts", "xs6:eager",
)  # fmt: skip
"""In the order of what they are likely to tell: time may be over before the last."""

WAYS = ("stacked=45", "graphs=20", "graphs+fp16=20", "eager=15")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0; 1 where it cannot be done; 130 after Ctrl-C or SIGTERM."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.do(options))
    except SolverError as why:
        saying.err(f"gpu_session: {why}")
        return 1
    except KeyboardInterrupt:
        saying.err("gpu_session: ended at once; what was written by then is whole")
        return 130


def _pack(options: argparse.Namespace) -> int:
    ids = packing.read_ids(options.ids) if options.ids else []
    if bool(ids) != bool(options.validation):
        _parser().error("--validation and --ids go together: the tasks to measure on")
    size = packing.pack(options.data, options.validation, ids, options.out)
    saying.out(f"{options.out}: {size / 2**20:.1f} MiB, {len(ids)} tasks to measure on")
    return 0


def _check_graphs(device: str, executions: Sequence[Execution]) -> None:
    if not device.startswith("cuda") and any(each.graphs for each in executions):
        _parser().error("graphs are CUDA's: they need --device cuda")


def _pretrain(options: argparse.Namespace) -> int:
    _check_graphs(options.device, [Execution.parse(options.execution or "")])
    known = vars(options) | {"trials": tuple(pair for pair in options.trials if pair[0] in options.configs)}
    plan = training.Plan(**{field.name: known[field.name] for field in fields(training.Plan)})
    found = training.session(plan)
    saying.out(json.dumps({"choice": found["choice"], "samples": found["card"]["samples"]}))
    return 130 if found["stopped"] else 0


def _try(options: argparse.Namespace) -> int:
    trials.write(
        options.out,
        trials.tried(
            options.pairs, side=options.side, batch_tokens=options.batch_tokens, device=options.device,
            seconds=options.seconds, each=options.each,
        ),
    )  # fmt: skip
    return 0


def _adapt(options: argparse.Namespace) -> int:
    saying.err(f"gpu_session: on {check_device(options.device)}")
    if options.device.startswith("cuda"):
        allow_tf32()
    _check_graphs(options.device, [way.execution for way in options.ways])
    known = adapting.read_tasks(options.tasks)
    checkpoint = read_checkpoint(options.checkpoint)
    recipe = replace(CUDA, samples=options.samples, patience=1.0)
    told = []
    options.out.mkdir(parents=True, exist_ok=True)
    for way in options.ways:
        account = adapting.run(way, known, checkpoint, recipe, seed=options.seed, device=options.device)
        told.append(account.to_json())
        found = {
            "checkpoint": {"name": checkpoint.name, "sha256": checkpoint.sha256}, "device": options.device,
            "torch": torch.__version__, "samples": options.samples, "ways": told,
        }  # fmt: skip
        (options.out / "adapt.json").write_text(json.dumps(found, indent=2) + "\n")
        saying.err(adapting.table(told[-1:]).splitlines()[-1])
    saying.out(*adapting.table(told).splitlines())
    return 1 if all(each["error"] for each in told) else 0


# --- arguments -----------------------------------------------------------------------------


def _mix(text: str) -> dict[int, float]:
    """'8:0.2,12:0.3' gives shares by half a side: {4: 0.2, 6: 0.3}."""
    found = {}
    for part in text.split(","):
        side, _, share = part.partition(":")
        half, rest = divmod(int(side), 2)
        if rest or half not in HALVES or float(share) <= 0:
            sides = ", ".join(str(2 * h) for h in HALVES)
            raise argparse.ArgumentTypeError(f"{part!r}: expected is side:share with a side of {sides}")
        found[half] = float(share)
    return found


def _configs(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in CONFIGS]:
        raise argparse.ArgumentTypeError(f"no configuration {unknown[0]!r}; there are {', '.join(CONFIGS)}")
    return names


def _pair(text: str) -> tuple[str, str]:
    config, _, execution = text.partition(":")
    try:
        return _configs(config)[0], str(Execution.parse(execution))
    except ValueError as why:
        raise argparse.ArgumentTypeError(str(why)) from why


def _execution(text: str) -> str:
    return _pair(f"tiny:{text}")[1]


def _way(text: str) -> adapting.Way:
    try:
        return adapting.Way.parse(text)
    except ValueError as why:
        raise argparse.ArgumentTypeError(str(why)) from why


def _parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(
        prog="python -m bench.gpu_session", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    verbs = whole.add_subparsers(required=True, metavar="COMMAND")

    p = verbs.add_parser("pack", help="put the data of a session into one folder")
    p.set_defaults(do=_pack)
    p.add_argument("data", type=Path, metavar="DIR", help="folder with training/ and rearc.npz.xz")
    p.add_argument("--validation", type=Path, metavar="DIR", help="tasks with solutions, to measure on")
    p.add_argument("--ids", type=Path, metavar="FILE", help="which of them: an id a line")
    p.add_argument("--out", type=Path, default=SESSION, metavar="DIR")

    p = verbs.add_parser(
        "pretrain", help="try, choose and train", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    p.set_defaults(do=_pretrain)
    p.add_argument("--data", type=Path, default=SESSION, metavar="DIR", help="what `pack` wrote")
    p.add_argument("--out", type=Path, required=True, metavar="DIR", help="for the files to bring home")
    p.add_argument("--begin", default=training.NEWEST, metavar="FILE",
                   help=f"stable checkpoint to go on from, or {training.SCRATCH}")  # fmt: skip
    p.add_argument("--lineage", type=Path, default=Path("lineage"), metavar="DIR", help="where newest looks")
    p.add_argument("--config", type=_configs, default="xs6", dest="configs", metavar="NAME,…",
                   help="the first that sees --wanted-samples, else the last")  # fmt: skip
    p.add_argument("--execution", type=_execution, metavar="CHOICE,…",
                   help=f"no trials: eager, or some of {', '.join(CHOICES)}")  # fmt: skip
    p.add_argument("--trials", type=_pair, nargs="+", default=[_pair(text) for text in TRIALS],
                   metavar="CONFIG:CHOICE,…")  # fmt: skip
    p.add_argument("--trial-seconds", type=float, default=45, help="for all trials")
    p.add_argument("--trial-each", type=float, default=1.5, help="for one, after its warm-up")
    p.add_argument("--trial-side", type=int, default=24, help="of the canvases tried on")
    p.add_argument("--wanted-samples", type=float, default=20e6)
    p.add_argument("--seconds", type=float, default=560, help="of the whole command, its start included")
    p.add_argument("--reserve", type=float, default=20, help="seconds for the last weights")
    p.add_argument("--decay-share", type=float, default=0.2, help="of the training")
    p.add_argument("--report-seconds", type=float, default=60, help="between two writings of the checkpoint")
    p.add_argument("--rate", type=float, default=2e-3)
    p.add_argument("--warmup", type=int, default=150, help="steps")
    p.add_argument("--batch-tokens", type=int, default=65536)
    p.add_argument("--mix", type=_mix, default=MIX, help="canvas side:share of the steps,…")
    p.add_argument("--per-task", type=int, default=1000, help="generated pairs used of each task")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--device", default="cuda")

    p = verbs.add_parser("try", help="the trials alone, in this process (`pretrain` calls it)")
    p.set_defaults(do=_try)
    p.add_argument("pairs", type=_pair, nargs="+", metavar="CONFIG:CHOICE,…")
    p.add_argument("--side", type=int, default=24)
    p.add_argument("--batch-tokens", type=int, default=65536)
    p.add_argument("--seconds", type=float, default=60)
    p.add_argument("--each", type=float, default=1.5)
    p.add_argument("--out", type=Path, required=True, metavar="FILE")
    p.add_argument("--device", default="cuda")

    p = verbs.add_parser(
        "adapt", help="measure test-time training without rules",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )  # fmt: skip
    p.set_defaults(do=_adapt)
    p.add_argument("checkpoint", type=Path, metavar="FILE")
    p.add_argument("--tasks", type=Path, default=SESSION / packing.VALIDATION, metavar="DIR")
    p.add_argument("--out", type=Path, required=True, metavar="DIR")
    p.add_argument("--ways", type=_way, nargs="+", default=[_way(text) for text in WAYS],
                   metavar="WAY=SECONDS",
                   help=f"joined by +: stacked, eager or {', '.join(CHOICES)}; fp16, bf16")  # fmt: skip
    p.add_argument("--samples", type=int, default=CUDA.samples, help="at most, of each task")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--device", default="cuda")
    return whole


if __name__ == "__main__":
    sys.exit(main())
