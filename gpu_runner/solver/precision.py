"""Which number type the network computes in, and how a step's gradients get there safely.

Weights and optimiser stay in fp32. So does everything on a CPU without instructions for bf16, where such
products are a hundred times slower; with them (AVX512-BF16, AMX) they are more than twice as fast.
"""

from __future__ import annotations

import contextlib
from typing import Any, Protocol, cast

import torch
from torch import Tensor

FIRST_SCALE = 2.0**14
GROW_AFTER = 200

PATIENCE = 5
"""Steps in a row without finite gradients after which a training is given up."""

PATIENCE_SCALED = 20
"""The same in fp16, where the first steps may only look for a scale: from 2**14 to 1 is 14 halvings."""


class Steppable(Protocol):
    """What torch's scaler needs of an optimiser."""

    param_groups: list[dict[str, Any]]

    def step(self) -> None: ...


class Precision:
    """bf16 from compute capability 8.0 on and on CPUs that multiply it; fp16 with a moving loss scale on
    older cards; fp32 on other CPUs.

    The scale is torch's own GradScaler. It never waits for the device: steps that overflow are skipped there
    (`Optimiser`), so a step can be recorded as a CUDA graph.
    """

    def __init__(self, dtype: torch.dtype, kind: str, *, scale: float = FIRST_SCALE) -> None:
        self.dtype, self.kind = dtype, kind
        self.scaler = torch.amp.GradScaler(
            kind, init_scale=scale, growth_interval=GROW_AFTER, enabled=dtype is torch.float16
        )

    @classmethod
    def of(cls, device: str) -> Precision:
        if not device.startswith("cuda"):
            return cls(dtype_on_cpu(bf16=multiplies_bf16()), "cpu")
        return cls(dtype_for(torch.cuda.get_device_capability(device)), "cuda")

    @property
    def patience(self) -> int:
        """Steps in a row that may be skipped before the training is given up."""
        return PATIENCE_SCALED if self.scaler.is_enabled() else PATIENCE

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.dtype is torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.kind, self.dtype)

    def descend(self, value: Tensor, optimiser: Steppable) -> None:
        """Gradients of `value`, one step of the optimiser, and the next scale."""
        self.scaler.scale(value).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(cast("torch.optim.Optimizer", optimiser))
        self.scaler.step(cast("torch.optim.Optimizer", optimiser))
        self.scaler.update()

    def forget(self) -> None:
        """After a step that was cut short: the scale stays, what the scaler noted about the step goes.

        torch has no public word for it. The scaler itself must stay: recorded steps use its tensors.
        """
        if self.scaler.is_enabled():
            self.scaler._per_optimizer_states.clear()

    @property
    def scale(self) -> float:
        return float(self.scaler.get_scale())

    @property
    def good_steps(self) -> int:
        """Steps since the scale last changed."""
        return int(self.scaler.state_dict().get("_growth_tracker", 0))

    def take_up(self, scale: float, good_steps: int) -> None:
        """Go on with the scale of an earlier run."""
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(
                {**self.scaler.state_dict(), "scale": scale, "_growth_tracker": good_steps}
            )


def dtype_for(capability: tuple[int, int]) -> torch.dtype:
    """bf16 where the card has it: a T4 (7.5) has fast fp16 only."""
    return torch.bfloat16 if capability >= (8, 0) else torch.float16


def dtype_on_cpu(*, bf16: bool) -> torch.dtype:
    """fp32 unless the CPU multiplies bf16 itself."""
    return torch.bfloat16 if bf16 else torch.float32


def multiplies_bf16() -> bool:
    """Whether this CPU has instructions for products in bf16. torch keeps the question private; a torch
    without it counts as no."""
    asked = (
        getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )
    return any(ask is not None and ask() for ask in asked)
