"""Pretraining data: ARC-AGI-1's training tasks and RE-ARC's generated pairs for the same tasks.

The folder holds `training/*.json` (fchollet/ARC-AGI, Apache-2.0) and `rearc.npz.xz` (pairs of
michaelhodel/re-arc, MIT: arrays ids, counts, shapes, cells). The test pairs of the training tasks are never
trained on: they are the validation set.
"""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import random
import zipfile
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .canvas import HALVES, PairStore
from .errors import BadData
from .sizes import SizeRule, size_rule

Shape = tuple[int, int]

ARRAYS = ("ids", "counts", "shapes", "cells")
EXPECTED = (
    "expected is a folder with training/*.json, the training tasks of https://github.com/fchollet/ARC-AGI "
    "(its data/training), and rearc.npz.xz, pairs of https://github.com/michaelhodel/re-arc as an "
    f'xz-compressed npz with the arrays {", ".join(ARRAYS)} (docs/solver.md, "Repeating the pretraining")'
)


@dataclass(frozen=True, slots=True)
class Corpus:
    """pairs on the device; task: int64 [pairs]; ruled: float [pairs], 1 where the task's size rule gives
    the output's size; tests the same for the test pairs; held_out: tasks of which nothing is in here; digest:
    SHA-256 of all files read, whatever part of them is used."""

    task_ids: list[str]
    pairs: PairStore
    task: Tensor
    ruled: Tensor
    tests: PairStore
    test_task: Tensor
    test_ruled: Tensor
    held_out: tuple[str, ...] = ()
    digest: str = ""

    def to(self, device: str | torch.device) -> Corpus:
        """The same on another device."""
        return replace(
            self,
            pairs=self.pairs.to(device), task=self.task.to(device), ruled=self.ruled.to(device),
            tests=self.tests.to(device), test_task=self.test_task.to(device),
            test_ruled=self.test_ruled.to(device),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pool:
    """Pairs that fill one bucket at one scale, grouped by task for sampling uniformly over tasks."""

    half: int
    scale: int
    pair: Tensor
    start: Tensor
    count: Tensor

    def sample(self, size: int, generator: torch.Generator) -> Tensor:
        """Pair numbers, int64 [size]."""
        device = self.start.device
        group = torch.randint(len(self.start), (size,), generator=generator, device=device)
        within = (torch.rand(size, generator=generator, device=device) * self.count[group]).long()
        return self.pair[self.start[group] + within]


def pools(corpus: Corpus, scales: tuple[int, ...] = (1, 2)) -> dict[tuple[int, int], Pool]:
    """By (half, scale); a pair is in the smallest bucket that holds it at that scale."""
    longest = corpus.pairs.longest
    found = {}
    for scale in scales:
        below = 0
        for half in HALVES:
            members = ((longest * scale > below) & (longest * scale <= 2 * half - 1)).nonzero()[:, 0]
            below = 2 * half - 1
            if len(members):
                order = corpus.task[members].argsort(stable=True)
                members = members[order]
                count = torch.bincount(corpus.task[members])
                count = count[count > 0]
                found[half, scale] = Pool(half, scale, members, count.cumsum(0) - count, count)
    return found


def load_corpus(
    folder: Path,
    *,
    per_task: int,
    longest: int,
    seed: int,
    device: str | torch.device = "cpu",
    hold_out: int = 0,
) -> Corpus:
    """Demonstrations and at most `per_task` generated pairs a task, of sides up to `longest`; nothing at all
    of `hold_out` tasks. Raises BadData."""
    bodies = _read(folder)
    try:
        tasks = {path.stem: json.loads(body) for path, body in bodies.items() if path.suffix == ".json"}
        held_out = held_out_of(tasks, hold_out)
        tasks = {name: task for name, task in tasks.items() if name not in held_out}
        task_ids = list(tasks)
        number = {name: n for n, name in enumerate(task_ids)}
        rules = [_rule(task["train"]) for task in tasks.values()]
        demos = [(number[n], _arrays(p)) for n, task in tasks.items() for p in task["train"]]
        tests = [(number[n], _arrays(p)) for n, task in tasks.items() for p in task["test"]]
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as fault:
        raise BadData(f"a file of {folder / 'training'} is no ARC task ({fault!r}); {EXPECTED}") from fault
    archive = bodies[folder / REARC]
    try:
        generated = _read_rearc(archive, number, per_task, longest, seed)
    except Exception as fault:  # of lzma, zip, numpy's format and what its arrays say of each other
        raise BadData(f"{folder / REARC} cannot be read ({fault!r}); {EXPECTED}") from fault
    train = _pack([*demos, *generated], rules, longest, device)
    if not len(train[1]):
        raise BadData(
            f"no pair in {folder} has sides of at most {longest}: choose a mix with larger canvases"
        )
    held = _pack(tests, rules, longest, device)
    return Corpus(task_ids, *train, *held, held_out, _digest(folder, bodies))


REARC = "rearc.npz.xz"
MOST_REARC_BYTES = 2 * 1024 * 1024 * 1024


def held_out_of(task_ids: Collection[str], count: int) -> tuple[str, ...]:
    """The same tasks in every run, whatever its seed: models that never saw them can be compared."""
    if not 0 <= count < max(len(task_ids), 1):
        raise BadData(f"{count} of {len(task_ids)} tasks cannot be held out")
    return tuple(sorted(random.Random("held out").sample(sorted(task_ids), count)))


def _read(folder: Path) -> dict[Path, bytes]:
    """Every file that is used, by its path. Raises BadData where one is missing."""
    paths = sorted((folder / "training").glob("*.json"))
    if not paths:
        raise BadData(f"there is no task in {folder / 'training'}; {EXPECTED}")
    try:
        return {path: path.read_bytes() for path in (*paths, folder / REARC)}
    except OSError as fault:
        raise BadData(f"{fault}; {EXPECTED}") from fault


def _digest(folder: Path, bodies: dict[Path, bytes]) -> str:
    found = hashlib.sha256()
    for path, body in bodies.items():
        found.update(f"{path.relative_to(folder).as_posix()} {len(body)}\n".encode() + body)
    return found.hexdigest()


Pair = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]


def _arrays(pair: dict[str, list[list[int]]]) -> Pair:
    return np.array(pair["input"], np.uint8), np.array(pair["output"], np.uint8)


def _rule(demos: list[dict[str, list[list[int]]]]) -> SizeRule:
    shapes = [(_arrays(p)[0].shape, _arrays(p)[1].shape) for p in demos]
    return size_rule([((i[0], i[1]), (o[0], o[1])) for i, o in shapes])


def _decompressed(body: bytes) -> bytes:
    """Raises ValueError where it is more than `MOST_REARC_BYTES`."""
    unpacker = lzma.LZMADecompressor()
    found = unpacker.decompress(body, MOST_REARC_BYTES + 1)
    if len(found) > MOST_REARC_BYTES or not unpacker.eof:
        raise ValueError(f"it is torn, or more than {MOST_REARC_BYTES:,} bytes")
    return found


def _check_members(file: io.BytesIO) -> None:
    """Raises ValueError where the ZIP file unpacks to more than `MOST_REARC_BYTES`, or by other methods than
    NumPy's two: bzip2 and LZMA give more than they are asked for."""
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
    if any(each.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for each in members):
        raise ValueError("expected stored or deflated arrays, as NumPy writes them")
    if sum(each.file_size for each in members) > MOST_REARC_BYTES:
        raise ValueError(f"it unpacks to more than {MOST_REARC_BYTES:,} bytes")
    file.seek(0)


def _read_rearc(
    body: bytes, number: dict[str, int], per_task: int, longest: int, seed: int
) -> list[tuple[int, Pair]]:
    unpacked = io.BytesIO(_decompressed(body))
    _check_members(unpacked)
    archive = np.load(unpacked)
    shapes, cells = archive["shapes"].astype(np.int64).reshape(-1, 2, 2), archive["cells"]
    area = shapes.prod(2)
    ends = area.reshape(-1).cumsum().reshape(-1, 2)
    fits = shapes.max((1, 2)) <= longest
    owner = np.repeat(np.arange(len(archive["ids"])), archive["counts"])
    rng = np.random.default_rng(seed)
    found: list[tuple[int, Pair]] = []
    for row, name in enumerate(archive["ids"]):
        if str(name) not in number:
            continue
        mine = np.flatnonzero((owner == row) & fits)
        for p in rng.permutation(mine)[:per_task]:
            grids = [cells[ends[p, k] - area[p, k] : ends[p, k]].reshape(shapes[p, k]) for k in (0, 1)]
            found.append((number[str(name)], (grids[0], grids[1])))
    return found


def _pack(
    pairs: list[tuple[int, Pair]], rules: list[SizeRule], longest: int, device: str | torch.device
) -> tuple[PairStore, Tensor, Tensor]:
    kept = [(task, pair) for task, pair in pairs if max(g for grid in pair for g in grid.shape) <= longest]
    cells = np.zeros((len(kept), 2, longest, longest), np.uint8)
    sizes = np.zeros((len(kept), 2, 2), np.int64)
    for n, (_, pair) in enumerate(kept):
        for k, grid in enumerate(pair):
            cells[n, k, : grid.shape[0], : grid.shape[1]] = grid
            sizes[n, k] = grid.shape
    ruled = [
        rules[task].size(*map(int, sizes[n, 0])) == tuple(map(int, sizes[n, 1]))
        for n, (task, _) in enumerate(kept)
    ]
    store = PairStore(torch.from_numpy(cells).to(device), torch.from_numpy(sizes).to(device))
    task_of = torch.tensor([task for task, _ in kept], device=device)
    return store, task_of, torch.tensor(ruled, dtype=torch.float32, device=device)
