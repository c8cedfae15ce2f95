"""Muon on the matrices of the layers, AdamW on everything else.

Muon replaces the momentum of a matrix by its nearest semi-orthogonal matrix, found by five Newton–Schulz
iterations (Jordan et al. 2024), scaled so that a step has AdamW's usual root mean square (arXiv 2502.16982).
Its products may be computed in half precision: Newton–Schulz forgives the rounding, and the weights stay in
fp32. Matrices of one shape are stacked, so that 24 of them are three batched products and not 36.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn


def orthogonal(matrix: Tensor, steps: int = 5, dtype: torch.dtype | None = None) -> Tensor:
    """The semi-orthogonal matrix nearest to `matrix`, roughly: singular values land in about 0.7..1.2.

    Of a stack of matrices [matrices, rows, columns] each one's own. Products are computed in `dtype`, by
    default the matrix's own; the norm is taken before, since small gradients are no numbers of fp16.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    stack = matrix if matrix.dim() == 3 else matrix[None]
    tall = stack.shape[-2] > stack.shape[-1]
    x = stack.mT if tall else stack
    x = (x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)).to(dtype or x.dtype)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    result: Tensor = (x.mT if tall else x).to(matrix.dtype).reshape(matrix.shape)
    return result


def muon_moves(directions: Sequence[Tensor], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """How each matrix [rows, columns], or each of a stack of them [tasks, rows, columns], moves at rate 1.

    Products are computed in `dtype`; what comes back has the type of `directions`. Queries, keys and values
    of one matrix (rows = 3 × columns) are made orthogonal apart.
    """
    groups: dict[tuple[int, ...], list[tuple[int, Tensor]]] = {}
    for n, direction in enumerate(directions):
        rows, columns = direction.shape[-2:]
        for part in direction.chunk(3 if rows == 3 * columns else 1, -2):
            groups.setdefault(tuple(part.shape), []).append((n, part))
    moved: list[list[Tensor]] = [[] for _ in directions]
    for shape, members in groups.items():
        stack = torch.stack([part for _, part in members])
        found = orthogonal(stack.view(-1, *shape[-2:]), dtype=dtype).view_as(stack)
        found = found * (0.2 * max(shape[-2:]) ** 0.5)
        for (n, _), move in zip(members, found.unbind(), strict=True):
            moved[n].append(move)
    return [torch.cat(parts, -2) if len(parts) > 1 else parts[0] for parts in moved]


BETAS = (0.9, 0.98)
MOMENTUM, LOOK_AHEAD = 0.05, 0.95
CLIP = 1.0


class Optimiser:
    """One step on all weights; the two rates move together by a factor in 0..1.

    A step whose gradients are not all finite moves nothing; `skipped` counts such steps in a row.
    `on_device` leaves that decision, and the rates, on the device, so that a step never waits for it and can
    be recorded as a CUDA graph. Without `muon` AdamW moves the matrices as well; `products` is the type that
    Muon's products are computed in.
    """

    _step_supports_amp_scaling = True
    """To torch's GradScaler: call `step` in any case, it looks for what overflowed itself."""
    grad_scale: Tensor | None = None
    found_inf: Tensor | None = None

    def __init__(
        self,
        model: nn.Module,
        tokens: nn.Parameter,
        *,
        rate: float,
        token_rate: float,
        decay: float = 0.01,
        on_device: bool = False,
        muon: bool = True,
        products: torch.dtype = torch.float32,
    ) -> None:
        layers = [p for p in model.parameters() if p.dim() == 2 and _is_layer_matrix(model, p)]
        self.matrices = layers if muon else []
        chosen = {id(p) for p in self.matrices}
        rest = [p for p in model.parameters() if id(p) not in chosen]
        self.decay, self.on_device, self.products = decay, on_device, products
        self.momenta = [torch.zeros_like(p) for p in self.matrices]
        self.rates = [rate, token_rate]
        self.current = torch.tensor(self.rates, device=tokens.device)
        """The rates of this step, where they are left on the device."""
        groups = [{"params": rest, "lr": rate}, {"params": [tokens], "lr": token_rate}]
        self.adam = torch.optim.AdamW(
            groups, betas=BETAS, weight_decay=0.0, fused=True, capturable=on_device and tokens.is_cuda
        )
        self.all = [*self.matrices, *rest, tokens]
        self.param_groups: list[dict[str, Any]] = [{"params": self.all}]
        self.skipped = torch.zeros((), dtype=torch.int64, device=tokens.device)

    def set_rates(self, factor: float) -> None:
        """The rates that the next steps go by: this factor of the full ones."""
        for group, rate, current in zip(self.adam.param_groups, self.rates, self.current, strict=True):
            group["lr"] = current.fill_(rate * factor) if self.on_device else rate * factor

    @torch.no_grad()
    def step(self) -> None:
        """Clip the whole gradient to norm CLIP, then move every weight; gradients are dropped."""
        norm = nn.utils.clip_grad_norm_(self.all, CLIP)
        if self.on_device:
            self._move_where(norm.isfinite())
        elif bool(norm.isfinite()):
            self.skipped.zero_()
            self._move()
        else:
            self.skipped += 1
        self.forget()

    def _move(self) -> None:
        self.adam.step()
        rate = self.adam.param_groups[0]["lr"]
        moving = [(w, m) for w, m in zip(self.matrices, self.momenta, strict=True) if w.grad is not None]
        for (weight, _), move in zip(moving, self._moves(moving), strict=True):
            weight.mul_(1 - rate * self.decay).add_(move, alpha=-rate)

    def _move_where(self, fine: Tensor) -> None:
        """The same, but all is decided on the device; `fine`: bool []."""
        self.skipped.copy_((self.skipped + 1) * ~fine)
        self.adam.found_inf = (~fine).float()  # type: ignore[attr-defined]  # as torch's GradScaler would
        self.adam.step()
        rate = self.adam.param_groups[0]["lr"]
        moving = [(w, m) for w, m in zip(self.matrices, self.momenta, strict=True) if w.grad is not None]
        for weight, momentum in moving:
            assert weight.grad is not None
            weight.grad = torch.where(fine, weight.grad, momentum)  # then neither momentum nor weight moves
        moves = self._moves(moving)
        shrink, reach = torch.where(fine, 1 - rate * self.decay, 1.0), torch.where(fine, rate, 0.0)
        for (weight, _), move in zip(moving, moves, strict=True):
            weight.mul_(shrink).sub_(move * reach)

    def _moves(self, moving: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
        """The moves of these weights at rate 1; their momenta take the gradients in."""
        if not moving:
            return []
        gradients = [weight.grad for weight, _ in moving if weight.grad is not None]
        momenta = [momentum for _, momentum in moving]
        torch._foreach_lerp_(momenta, gradients, MOMENTUM)
        return muon_moves(torch._foreach_lerp(gradients, momenta, LOOK_AHEAD), self.products)

    def forget(self) -> None:
        """Drop the gradients without a step."""
        for p in self.all:
            p.grad = None

    def state(self) -> dict[str, object]:
        return {"momenta": self.momenta, "adam": self.adam.state_dict()}

    def load(self, state: dict[str, object]) -> None:
        """Take up momenta and moments; rates and the kind of step stay as this optimiser has them."""
        momenta, adam = state["momenta"], state["adam"]
        assert isinstance(momenta, Iterable)
        assert isinstance(adam, dict)
        self.take_up(list(momenta), adam["state"])

    @torch.no_grad()
    def take_up(self, momenta: Sequence[Tensor], moments: Mapping[int, Mapping[str, Tensor]]) -> None:
        """Momenta of the matrices, and AdamW's moments by the weight's number, as an earlier run left them.

        Raises ValueError for what this optimiser cannot have left: AdamW's own step would take it and crash.
        """
        if len(momenta) != len(self.momenta):
            raise ValueError(f"{len(momenta)} momenta for {len(self.momenta)} matrices")
        weights = [weight for group in self.adam.param_groups for weight in group["params"]]
        for mine, saved in zip(self.momenta, momenta, strict=True):
            check_like("a momentum", saved, mine)
        for number, kept in moments.items():
            if type(number) is not int or not 0 <= number < len(weights):
                raise ValueError(f"AdamW has no weight {number!r}")
            if set(kept) != MOMENTS:
                raise ValueError(
                    f"of weight {number} AdamW keeps {sorted(MOMENTS)}, and found is {sorted(kept)}"
                )
            for name in ("exp_avg", "exp_avg_sq"):
                check_like(f"{name} of weight {number}", kept[name], weights[number])
            if bool((kept["exp_avg_sq"] < 0).any()):
                raise ValueError(f"exp_avg_sq of weight {number} is below 0")
            step = kept["step"]
            check_like(f"step of weight {number}", step, torch.zeros(()))
            if not 0 <= float(step) <= MOST_STEPS or float(step) % 1:
                raise ValueError(f"step of weight {number} is {float(step)}")
        for mine, saved in zip(self.momenta, momenta, strict=True):
            mine.copy_(saved)
        groups = self.adam.state_dict()["param_groups"]
        self.adam.load_state_dict({"state": moments, "param_groups": groups})


MOMENTS = {"step", "exp_avg", "exp_avg_sq"}
"""What AdamW keeps of each weight."""

MOST_STEPS = 10**9


def check_like(name: str, value: Tensor, like: Tensor) -> None:
    """Raises ValueError unless `value` is finite numbers of the shape and the type of `like`."""
    if value.shape != like.shape or value.dtype != like.dtype:
        raise ValueError(
            f"{name} is {value.dtype} {list(value.shape)} where {like.dtype} {list(like.shape)} is expected"
        )
    if not bool(value.isfinite().all()):
        raise ValueError(f"{name} is not finite")


def _is_layer_matrix(model: nn.Module, parameter: nn.Parameter) -> bool:
    return any(
        parameter is p
        for name, p in model.named_parameters()
        if name.rsplit(".", 1)[-1] in {"qkv", "out", "gate", "down"}
    )
