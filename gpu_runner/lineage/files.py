"""The lineage's folders: generations read, one made ready to begin from, one taken in, old ones taken out."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .generations import STABLE, Generation, cards_of, samples_seen
from .process import Refused


def read_folder(folder: Path, config: str) -> list[Generation]:
    """Every stable checkpoint of a configuration that has a readable card; digests are not looked at."""
    found = []
    for stable in sorted(folder.glob(f"*{STABLE}")):
        card = card_of(stable)
        if card is not None and card.get("config") == config:
            found.append(Generation(config, samples_seen(card), stable, card))
    return found


def card_of(checkpoint: Path) -> dict[str, Any] | None:
    """The card beside a checkpoint; None where there is none that can be read."""
    for path in cards_of(checkpoint):
        try:
            card = json.loads(path.read_bytes())
            return card if isinstance(card, dict) and samples_seen(card) >= 0 else None
        except (OSError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError):
            continue
    return None


def copy(generation: Generation, stem: Path) -> list[Path]:
    """Copy checkpoint and card to STEM.stable.safetensors and STEM.json, the card last, each by a rename.

    The card then names the copy. Raises Refused where the checkpoint is not the file that its card tells of;
    a card of the decayed weights beside it (before stable checkpoints had one) is taken as it is.
    """
    digest = hashlib.sha256(generation.stable.read_bytes()).hexdigest()
    own = generation.card.get("file") == generation.stable.name
    if own and generation.card.get("sha256") != digest:
        raise Refused(
            f"{generation.stable} is not the file that its card tells of (SHA-256 {digest[:12]}…): "
            "it is torn or of another moment; restore both, or remove both"
        )
    stable, card = stem.with_name(stem.name + STABLE), stem.with_name(stem.name + ".json")
    figures = ("validation", "validation_pairs", "validation_exact")
    told = {key: value for key, value in generation.card.items() if key not in figures}
    told |= {"file": stable.name, "sha256": digest, "samples_seen": generation.seen}
    stem.parent.mkdir(parents=True, exist_ok=True)
    beside = stem.with_name(stem.name + ".part")
    shutil.copyfile(generation.stable, beside)
    beside.replace(stable)
    beside.write_text(json.dumps(told, indent=2) + "\n")
    beside.replace(card)
    return [stable, card]


def files_of(generation: Generation) -> list[Path]:
    return [generation.stable, *(path for path in cards_of(generation.stable) if path.exists())]


def stage(root: Path, *, added: Iterable[Path], removed: Iterable[Path]) -> str | None:
    """Tell git of files added and removed. Returns why it could not, or None."""
    add = ["add", "--", *map(str, added)]
    drop = ["rm", "--quiet", "--cached", "--force", "--ignore-unmatch", "--", *map(str, removed)]
    for command in (add, drop):
        if command[-1] == "--":
            continue
        try:
            done = subprocess.run(["git", "-C", str(root), *command], capture_output=True, text=True)
        except OSError as fault:
            return f"git could not be run ({fault})"
        if done.returncode:
            return done.stderr.strip() or f"git {command[0]} failed"
    return None
