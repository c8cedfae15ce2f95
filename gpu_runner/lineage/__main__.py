"""Grow the lineage's model in the background, wherever a machine has idle hours.

    make pretrain DATA=dir        begin, or go on from whatever has seen most samples
    make pretrain status          how it stands
    make pretrain pause           hold it still, and its seconds, while something is measured
    make pretrain resume
    make pretrain keep            end it, put its stable checkpoint into lineage/; the next step is a commit

The run's own files (state, log, decayed weights) are in .pretrain/, which git ignores. Run it from the
checkout's root. Exit status: 0; 1 where it cannot be done; 2 where the command line is wrong; 130
after Ctrl-C, which never touches the run.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from gpu_runner import saying

from . import process
from .files import copy, files_of, read_folder, stage
from .generations import (
    LEAST,
    MILLION,
    STABLE,
    Begin,
    Generation,
    gained,
    newest,
    superseded,
    where_to_begin,
)
from .process import Refused, Run
from .standing import REPORT_S, State, in_words, last_card, standing

MODULE = "gpu_runner.solver.pretrain"
CONFIG = "xs6"
PATIENCE_S = 120.0
DEFAULTS = (
    "--batch-tokens", "4096", "--per-task", "1000", "--mix", "8:0.15,12:0.2,16:0.3,24:0.25,32:0.1",
    "--decay-seconds", "600", "--report-seconds", f"{REPORT_S:g}",
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    try:
        options.verb(options)
    except Refused as why:
        saying.err(f"pretrain: {why}")
        return 1
    except KeyboardInterrupt:
        saying.err("pretrain: this command ended; the run is as it was told to be")
        return 130
    return 0


def start(options: argparse.Namespace) -> None:
    run_folder: Path = options.run
    with process.alone(run_folder):
        now = process.read_run(run_folder)
        if now is not None and (how := process.look(now)) != "gone":
            verb = "resume" if how == "paused" else "status"
            raise Refused(f"already {how}, process {now.pid}: make pretrain {verb}")
        _check_data(options.data)
        known = [
            g for folder in (options.lineage, *options.others) for g in read_folder(folder, options.config)
        ]
        state = run_folder / f"{options.config}.run.pt"
        kept = _stable(run_folder, options.config)
        begin = where_to_begin(known, (kept.seen if kept else 0) if state.exists() else None)
        init = _make_ready(begin, state, run_folder)
        command = _command(options, state, init)
        env = os.environ | {"OMP_WAIT_POLICY": "PASSIVE"}
        own = int(kept.card.get("samples", 0)) if begin.from_state and kept else 0
        pid, ticks = process.begin(command, log=run_folder / "log", env=env)
        run = Run(pid, ticks, options.config, options.seconds, begin.seen, begin.seen - own)
        try:
            process.write_run(run_folder, run)
        except BaseException:  # without a record nobody would find it again
            process.cut_off(run)
            raise
    origin = "the state kept here" if begin.from_state else begin.generation and begin.generation.stable
    saying.out(f"begun from {origin or 'random weights'} ({begin.seen:,} samples), process {pid}")
    saying.out(f"its log is {run_folder / 'log'}; how it stands: make pretrain status")


def _check_data(data: Path) -> None:
    lacks = [
        name
        for name, there in (
            ("training/*.json", any((data / "training").glob("*.json"))),
            ("rearc.npz.xz", (data / "rearc.npz.xz").is_file()),
        )
        if not there
    ]
    if lacks:
        raise Refused(
            f"{data} lacks {' and '.join(lacks)}: expected are ARC-AGI-1's training tasks and RE-ARC's pairs "
            '(docs/solver.md, "Repeating the pretraining"); another folder: make pretrain DATA=dir'
        )


def _make_ready(begin: Begin, state: Path, run_folder: Path) -> Path | None:
    """A copy of the generation to begin from, and an older state out of the way; None for no generation."""
    init = None
    if begin.generation is not None:
        folder = run_folder / "begin"
        shutil.rmtree(folder, ignore_errors=True)
        init, _ = copy(begin.generation, folder / begin.generation.stem)
    if begin.set_aside:
        behind = state.with_name(state.name + ".behind")
        state.replace(behind)
        saying.out(f"the state kept here is behind: set aside as {behind}")
    return init


def _command(options: argparse.Namespace, state: Path, init: Path | None) -> list[str]:
    out = options.run / f"{options.config}.safetensors"
    files = ["--out", out, "--stable", out.with_name(options.config + STABLE), "--state", state]
    files += ["--init", init] if init else []
    plain = ["--data", options.data, "--config", options.config, "--seconds", options.seconds]
    plain += ["--threads", options.threads, *DEFAULTS]
    return [sys.executable, "-m", MODULE, *map(str, [*plain, *files]), *options.extra]


def _stable(run_folder: Path, config: str) -> Generation | None:
    """The stable checkpoint of the run, as its card tells."""
    name = config + STABLE
    return next((g for g in read_folder(run_folder, config) if g.stable.name == name), None)


def status(options: argparse.Namespace) -> None:
    run, log_file = process.read_run(options.run), options.run / "log"
    config = options.config or (run.config if run else CONFIG)
    log = log_file.read_text(errors="replace") if log_file.exists() else ""
    how = process.look(run)
    state: State = "none"
    if run is not None:
        state = how if how != "gone" else "ended" if last_card(log) or run.stopping else "crashed"
    latest, kept = newest(read_folder(options.lineage, config)), _stable(options.run, config)
    found = standing(
        state,
        pid=run.pid if run and how != "gone" else None,
        began_with=run.began_with if run else latest.seen if latest else 0,
        counts_from=run.counts_from if run else 0,
        log=log if run else "",
        log_age_s=time.time() - log_file.stat().st_mtime if log_file.exists() else 0.0,
        seconds=run.seconds if run else 0.0,
        kept=kept.seen if kept else 0,
        latest=latest,
    )
    saying.out(*(found.as_json().splitlines() if options.json else in_words(found, log=str(log_file))))


def pause(options: argparse.Namespace) -> None:
    _hold(options, still=True)


def resume(options: argparse.Namespace) -> None:
    _hold(options, still=False)


def _hold(options: argparse.Namespace, *, still: bool) -> None:
    run = process.read_run(options.run)
    if run is None or process.look(run) == "gone":
        raise Refused("nothing runs here: make pretrain begins, make pretrain status tells what there is")
    process.hold(run, still=still)
    if still:
        saying.out(f"paused, process {run.pid}: make pretrain resume lets it go on")
    else:
        saying.out(f"process {run.pid} goes on")


def keep(options: argparse.Namespace) -> None:
    with process.alone(options.run):
        run = process.read_run(options.run)
        if run is not None and process.look(run) != "gone":
            process.end(options.run, run, patience_s=PATIENCE_S, tell=_tell)
        config = options.config or (run.config if run else CONFIG)
        candidate = _stable(options.run, config)
        known = read_folder(options.lineage, config)
        latest = newest(known)
        if candidate is None:
            others = [path.name for path in sorted(options.run.glob(f"*{STABLE}"))]
            there = f"it has {', '.join(others)}: name its --config" if others else "no run has reported yet"
            raise Refused(f"no {config} to keep in {options.run}: {there}. make pretrain begins or goes on")
        more = gained(candidate, latest)
        added = _take_in(candidate, options.lineage) if more else []
        old = superseded(read_folder(options.lineage, config))
        removed = [path for generation in old for path in files_of(generation)]
        for path in removed:
            path.unlink()
        why = stage(options.lineage.parent, added=_absolute(added), removed=_absolute(removed))
    if not more:
        since = latest.stable if latest else "the beginning"
        saying.out(f"less than {LEAST} samples gained since {since}: nothing added. make pretrain goes on")
    for path in added:
        saying.out(f"added {path}")
    for path in removed:
        saying.out(f"removed {path}: two generations are kept")
    if why:
        _tell(f"{why}: add these changes to git yourself")
    if added:
        if latest is not None and more < MILLION:
            saying.out(
                f"{more:,} samples more, not yet a million: commit it only where .pretrain/ will be lost"
            )
        saying.out(
            f'git commit -m "Pretraining: {config} at {candidate.seen:,} samples" -- {options.lineage}'
        )


def _take_in(candidate: Generation, lineage: Path) -> list[Path]:
    """Copy it into the lineage once its weights are read and finite. Raises Refused."""
    from gpu_runner.solver.errors import BadWeights
    from gpu_runner.solver.weights import read_checkpoint

    try:
        read_checkpoint(candidate.stable)
    except BadWeights as why:
        raise Refused(f"{why}: not kept. make pretrain goes on from the newest generation") from why
    return copy(candidate, lineage / candidate.stem)


def _absolute(paths: Sequence[Path]) -> list[Path]:
    return [path.absolute() for path in paths]


def _tell(text: str) -> None:
    saying.err(text)


def _positive(text: str) -> float:
    if not (seconds := float(text)) > 0:
        raise argparse.ArgumentTypeError(f"{text} s is no time to train in")
    return seconds


def _parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m gpu_runner.lineage",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = p.add_subparsers(required=True, metavar="start|status|pause|resume|keep")
    folders = argparse.ArgumentParser(add_help=False)
    folders.add_argument("--lineage", type=Path, default=Path("lineage"), help="the committed generations")
    folders.add_argument("--run", type=Path, default=Path(".pretrain"), help="the run's own files")
    s = verbs.add_parser("start", parents=[folders], help="begin, or go on from what has seen most samples")
    s.set_defaults(verb=start)
    s.add_argument("--data", type=Path, default=Path("arc"), help="folder with training/ and rearc.npz.xz")
    s.add_argument("--config", default=CONFIG)
    s.add_argument("--seconds", type=_positive, default=9000)
    s.add_argument("--threads", type=int, default=1)
    s.add_argument("--from", type=Path, action="append", default=[], dest="others", metavar="DIR",
                   help="one more folder that may hold the newest checkpoint; may be repeated")  # fmt: skip
    s.add_argument("extra", nargs="*", metavar="-- OPTIONS", help=f"more options of {MODULE}")
    for verb, what in ((status, "how it stands"), (keep, "end it, put what it has into the lineage")):
        v = verbs.add_parser(verb.__name__, parents=[folders], help=what)
        v.set_defaults(verb=verb)
        v.add_argument("--config", help="default: that of the run begun last")
        if verb is status:
            v.add_argument("--json", action="store_true")
    for verb, what in ((pause, "hold it still, and its seconds"), (resume, "let it go on")):
        verbs.add_parser(verb.__name__, parents=[folders], help=what).set_defaults(verb=verb)
    return p


if __name__ == "__main__":
    sys.exit(main())
