"""How a training step is executed on a device. Every choice computes the same step but for rounding.

Which of them is fastest depends on the device, so a short run on it decides (`bench/gpu_session.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

CHOICES: Mapping[str, str] = {
    "graphs": "steps are recorded and replayed as CUDA graphs",
    "shifts": "the 3×3 convolution is nine shifted multiply-adds instead of a grouped convolution",
    "one_hot": "table rows are looked up by products with one-hot rows: their backward pass is a product too",
    "narrow": "residual, norms and rotary positions stay in autocast's type instead of fp32",
    "compiled": "layers go through torch.compile",
}


@dataclass(frozen=True, slots=True)
class Execution:
    """A field for each of CHOICES; all off is eager execution with torch's own kernels."""

    graphs: bool = False
    shifts: bool = False
    one_hot: bool = False
    narrow: bool = False
    compiled: bool = False

    @classmethod
    def parse(cls, text: str) -> Execution:
        """The choices named in "graphs,narrow"; "eager" names none. Raises ValueError for an unknown one."""
        named = [name for name in text.split(",") if name not in ("", "eager")]
        if unknown := [name for name in named if name not in CHOICES]:
            raise ValueError(
                f"no way to execute a step is called {unknown[0]!r}; there are {', '.join(CHOICES)}"
            )
        return cls(**dict.fromkeys(named, True))

    @classmethod
    def usual(cls, device: str) -> Execution:
        """What the solver does where nobody chose: graphs on a GPU."""
        return cls(graphs=device.startswith("cuda"))

    def __str__(self) -> str:
        return ",".join(field.name for field in fields(self) if getattr(self, field.name)) or "eager"
