"""Checkpoints on disk: fp16 safetensors with the configuration in their metadata."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .errors import BadWeights
from .model import CONFIGS, ModelConfig, Solver

FORMAT = "arcspot-solver-1"
TOKENS = "pretrained_tokens"
MOST_BYTES = 1024 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Pretrained weights in fp32, the configuration they fit, and the file's digest."""

    config: ModelConfig
    weights: dict[str, Tensor]
    name: str
    sha256: str
    tokens: Tensor
    """[tasks, TASK_TOKENS, width]: those of the pretraining tasks; perhaps none."""
    task_ids: tuple[str, ...]


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_checkpoint(path: Path) -> Checkpoint:
    """Raises BadWeights when the file is missing, torn, of another format or of another shape."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise BadWeights(f"the checkpoint {path.name} has more than {MOST_BYTES:,} bytes")
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
        digest = sha256_of(path)
    except (OSError, SafetensorError, ValueError, LookupError, TypeError, RuntimeError) as error:
        raise BadWeights(f"cannot read the checkpoint {path.name}: {error}") from error
    tokens = weights.pop(TOKENS, torch.zeros(0))
    task_ids = tuple(name for name in metadata.get("task_ids", "").split(",") if name)
    config = CONFIGS.get(metadata.get("config", ""))
    if metadata.get("format") != FORMAT or config is None:
        raise BadWeights(f"{path.name} is not a {FORMAT} checkpoint of a known configuration")
    build(config, weights)
    if tokens.shape[:1] != (len(task_ids),) or (
        task_ids and tokens.shape[1:] != weights["mean_tokens"].shape
    ):
        raise BadWeights(f"{path.name}: its task tokens and task ids do not match")
    if not bool(tokens.isfinite().all()):
        raise BadWeights(f"{path.name}: its task tokens are not finite")
    return Checkpoint(config, weights, path.name, digest, tokens, task_ids)


def build(config: ModelConfig, weights: dict[str, Tensor]) -> Solver:
    """A network with these weights. Raises BadWeights where names, shapes or values do not fit."""
    with torch.random.fork_rng(devices=[]):
        model = Solver(config)
    try:
        model.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise BadWeights(f"weights do not fit {config.name}: {error}") from error
    if not all(bool(t.isfinite().all()) for t in weights.values()):
        raise BadWeights(f"weights of {config.name} are not finite")
    return model


def write_checkpoint(
    path: Path,
    config: ModelConfig,
    weights: dict[str, Tensor],
    *,
    tokens: Tensor | None = None,
    task_ids: Sequence[str] = (),
) -> str:
    """Write fp16 weights beside the target, then rename. Returns the file's SHA-256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = {key: value.detach().cpu().half().contiguous() for key, value in weights.items()}
    if tokens is not None:
        half[TOKENS] = tokens.detach().cpu().half().contiguous()
    beside = path.with_suffix(".part")
    save_file(
        half, beside, metadata={"format": FORMAT, "config": config.name, "task_ids": ",".join(task_ids)}
    )
    beside.replace(path)
    return sha256_of(path)
