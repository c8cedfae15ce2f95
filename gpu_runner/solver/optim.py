"""Muon on the matrices of the layers, AdamW on everything else.

Muon replaces the momentum of a matrix by its nearest semi-orthogonal matrix, found by five Newton–Schulz
iterations (Jordan et al. 2024), scaled so that a step has AdamW's usual root mean square (arXiv 2502.16982).
Done in fp32: bf16 products are slow on most CPUs, and at these sizes the cost is negligible on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """The semi-orthogonal matrix nearest to `matrix`, roughly: singular values land in about 0.7..1.2."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = x.T if tall else x
    return result


class Optimiser:
    """One step on all weights; the two rates move together by a factor in 0..1."""

    def __init__(
        self, model: nn.Module, tokens: nn.Parameter, *, rate: float, token_rate: float, decay: float = 0.01
    ) -> None:
        self.matrices = [p for p in model.parameters() if p.dim() == 2 and _is_layer_matrix(model, p)]
        chosen = {id(p) for p in self.matrices}
        rest = [p for p in model.parameters() if id(p) not in chosen]
        self.rate, self.decay = rate, decay
        self.momenta = [torch.zeros_like(p) for p in self.matrices]
        groups = [{"params": rest, "lr": rate}, {"params": [tokens], "lr": token_rate}]
        self.adam = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
        self.rates = [rate, token_rate]
        self.all = [*self.matrices, *rest, tokens]

    @torch.no_grad()
    def step(self, factor: float, *, clip: float = 1.0) -> None:
        """Clip the whole gradient to norm `clip`, then move every weight; gradients are dropped."""
        nn.utils.clip_grad_norm_(self.all, clip)
        for group, rate in zip(self.adam.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        self.adam.step()
        rate = self.rate * factor
        for weight, momentum in zip(self.matrices, self.momenta, strict=True):
            if weight.grad is None:
                continue
            momentum.lerp_(weight.grad, 0.05)
            direction = weight.grad.lerp(momentum, 0.95)
            parts = 3 if weight.shape[0] == 3 * weight.shape[1] else 1  # queries, keys, values apart
            move = torch.cat([orthogonal(d) * (0.2 * max(d.shape) ** 0.5) for d in direction.chunk(parts)])
            weight.mul_(1 - rate * self.decay).add_(move, alpha=-rate)
        self.forget()

    def forget(self) -> None:
        """Drop the gradients without a step."""
        for p in self.all:
            p.grad = None

    def state(self) -> dict[str, object]:
        return {"momenta": self.momenta, "adam": self.adam.state_dict()}

    def load(self, state: dict[str, object]) -> None:
        momenta, adam = state["momenta"], state["adam"]
        assert isinstance(momenta, Iterable)
        assert isinstance(adam, dict)
        for mine, saved in zip(self.momenta, momenta, strict=True):
            mine.copy_(saved)
        self.adam.load_state_dict(adam)


def _is_layer_matrix(model: nn.Module, parameter: nn.Parameter) -> bool:
    return any(
        parameter is p
        for name, p in model.named_parameters()
        if name.rsplit(".", 1)[-1] in {"qkv", "out", "gate", "down"}
    )
