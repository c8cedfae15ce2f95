"""What each stage of a solve has to remember, and how it takes that up again.

Into a `Part` goes all that the stage's next step depends on: weights, optimiser, random generator, counters,
the window the fit is measured on, votes. So the work goes on as if nothing had happened, on the same device
with as many threads to the same bit. Every taker checks before it believes, and raises BadState.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .canvas import COLOURS, HALVES, MAX_SIDE, Grid
from .decode import Ballot, Count
from .flops import Meter
from .model import Solver
from .optim import Optimiser
from .portfolio import Hypothesis
from .resume import Part, number, understood, whole
from .train import Adaptation, Adapted


def of_ranking(ranked: list[tuple[float, int]]) -> Part:
    """Of the search for the task tokens to start at: (loss, row), the best first."""
    return Part({"ranked": [[value, row] for value, row in ranked]})


def ranking(part: Part, rows: int) -> list[tuple[float, int]]:
    with understood():
        found = [{"value": value, "row": row} for value, row in part.facts["ranked"]]
        return [(number(each, "value"), whole(each, "row", most=rows - 1)) for each in found]


def of_adapted(result: Adapted) -> Part:
    """Of an adaptation that came to its end."""
    weights = {f"weights/{key}": value for key, value in result.model.state_dict().items()}
    return Part(_account(result), {**weights, "tokens": result.tokens})


def adapted(part: Part, model: Solver, choose: Callable[[str], Hypothesis]) -> Adapted:
    """The adaptation, in `model`'s place. `choose` makes a hypothesis of its name."""
    with understood():
        chosen = choose(str(part.facts["hypothesis"]))
        tokens = model.mean_tokens.repeat(len(chosen.views), 1, 1)
        result = Adapted(model, tokens, chosen)
        _take_account(part.facts, result)
        _take_weights(part, model, tokens)
        model.eval()
        return result


def of_adaptation(under_way: Adaptation) -> Part:
    """Of an adaptation between two steps."""
    schedule, precision = under_way.schedule, under_way.precision
    part = of_adapted(under_way.result)
    part.facts["schedule"] = {
        "end": schedule.end,
        "cool_from": schedule.cool_from,
        "seconds": schedule.seconds,
        "reason": schedule.reason,
        "fit": schedule.fit,
        "recent": list(schedule.recent),
        "pending": [[float(value), right.tolist()] for value, right in schedule.pending],
    }
    part.facts["precision"] = [str(precision.dtype), precision.scale, precision.good_steps]
    part.facts["skipped"] = int(under_way.optimiser.skipped)
    part.tensors["tokens"] = under_way.tokens
    part.tensors["generator"] = under_way.supply.generator.get_state()
    part.tensors.update(_of_optimiser(under_way.optimiser))
    return part


def take_up(part: Part, under_way: Adaptation) -> None:
    """Put a fresh adaptation where the earlier one was."""
    with understood():
        result, schedule, planned = under_way.result, under_way.schedule, under_way.schedule.end
        _take_account(part.facts, result)
        facts = part.facts["schedule"]
        schedule.end = whole(facts, "end", least=result.steps, most=planned)
        schedule.cool_from = whole(facts, "cool_from", most=planned)
        schedule.seconds = number(facts, "seconds")
        schedule.reason = str(facts["reason"])
        schedule.fit = number(facts, "fit")
        schedule.recent.extend(int(right) for right in facts["recent"])
        device = under_way.tokens.device
        schedule.pending = [
            (torch.tensor(float(value), device=device), torch.tensor(right, dtype=torch.int32, device=device))
            for value, right in facts["pending"]
        ]
        dtype, scale, good_steps = part.facts["precision"]
        if dtype == str(under_way.precision.dtype):  # another card may compute in another type
            under_way.precision.take_up(float(scale), int(good_steps))
        under_way.optimiser.skipped.fill_(whole(part.facts, "skipped"))
        with torch.no_grad():
            _take_weights(part, result.model, under_way.tokens)
        under_way.supply.generator.set_state(part.tensors["generator"])
        _take_optimiser(part, under_way.optimiser)


def of_count(count: Count) -> Part:
    """Of a count of votes between two batches."""
    ballots, tensors = [], {}
    for n, ballot in enumerate(count.ballots):
        votes = [[grid, votes] for grid, votes in ballot.votes.items()]
        sizes = [[height, width, views] for (height, width), views in ballot.readable.items()]
        ballots.append({"views": ballot.views, "votes": votes, "sizes": sizes})
        for (height, width), total in ballot.log_probability.items():
            tensors[f"{n}/{height}x{width}"] = total
    return Part({"batches": count.batches, "ballots": ballots}, tensors)


def count(part: Part, tests: int) -> Count:
    with understood():
        ballots = [_ballot(part, n, facts) for n, facts in enumerate(part.facts["ballots"])]
        if len(ballots) != tests:
            raise ValueError(f"{len(ballots)} ballots for {tests} test inputs")
        return Count(ballots, whole(part.facts, "batches"))


def of_meter(meter: Meter) -> Part:
    """Of the account of the network's work."""
    return Part(meter.to_json())


def meter(part: Part) -> Meter:
    with understood():
        found = Meter(steps=whole(part.facts, "steps"))
        for counts, kept in ((found.trained, "trained"), (found.read, "read")):
            for half in part.facts[kept]:
                if int(half) not in HALVES:
                    raise ValueError(f"no canvas has a half of {half}")
                counts[int(half)] = whole(part.facts[kept], half)
        return found


def _ballot(part: Part, test: int, facts: dict[str, Any]) -> Ballot:
    ballot = Ballot(views=whole(facts, "views"))
    for height, width, views in facts["sizes"]:
        side = {"height": height, "width": width, "views": views}
        size = (whole(side, "height", least=1, most=MAX_SIDE), whole(side, "width", least=1, most=MAX_SIDE))
        total = part.tensors[f"{test}/{height}x{width}"]
        if total.shape != (*size, COLOURS) or total.dtype != torch.float32:
            raise ValueError(f"log-probabilities of shape {list(total.shape)} for a grid of {height}×{width}")
        ballot.log_probability[size] = total
        ballot.readable[size] = whole(side, "views", least=1)
    for grid, votes in facts["votes"]:
        ballot.votes[tuple(map(tuple, _grid(grid, ballot)))] = whole({"votes": votes}, "votes", least=1)
    return ballot


def _grid(grid: Grid, ballot: Ballot) -> Grid:
    if (len(grid), len(grid[0])) not in ballot.readable or any(len(row) != len(grid[0]) for row in grid):
        raise ValueError("a vote for a grid of a size that no view had")
    if not all(type(cell) is int and 0 <= cell < COLOURS for row in grid for cell in row):
        raise ValueError("a vote for a grid with cells that are no colours")
    return grid


COUNTERS = ("steps", "samples", "batch_size", "batch_limit")
FIGURES = ("demo_fit",)


def _account(result: Adapted) -> dict[str, Any]:
    return {
        "hypothesis": result.chosen.name,
        "stopped_by": result.stopped_by,
        "loss_curve": [list(point) for point in result.loss_curve],
        "earlier": result.earlier,
        **{name: getattr(result, name) for name in (*COUNTERS, *FIGURES)},
    }


def _take_account(facts: dict[str, Any], result: Adapted) -> None:
    for name in COUNTERS:
        setattr(result, name, whole(facts, name, least=int(name.startswith("batch"))))
    for name in FIGURES:
        setattr(result, name, number(facts, name))
    result.stopped_by = str(facts["stopped_by"])
    result.loss_curve = [(int(step), float(value)) for step, value in facts["loss_curve"]]
    result.earlier = [
        {
            "hypothesis": str(each["hypothesis"]),
            "steps": int(each["steps"]),
            "demo_fit": float(each["demo_fit"]),
        }
        for each in facts["earlier"]
    ]


def _take_weights(part: Part, model: Solver, tokens: Tensor) -> None:
    prefix = "weights/"
    found = {key[len(prefix) :]: value for key, value in part.tensors.items() if key.startswith(prefix)}
    if not all(bool(value.isfinite().all()) for value in (*found.values(), part.tensors["tokens"])):
        raise ValueError("weights that are not finite")
    model.load_state_dict(found)
    _copy(part.tensors["tokens"], tokens)


def _of_optimiser(optimiser: Optimiser) -> dict[str, Tensor]:
    moments = {
        f"adam/{weight}/{key}": value
        for weight, state in optimiser.adam.state_dict()["state"].items()
        for key, value in state.items()
    }
    return {**{f"momentum/{n}": value for n, value in enumerate(optimiser.momenta)}, **moments}


def _take_optimiser(part: Part, optimiser: Optimiser) -> None:
    for n, momentum in enumerate(optimiser.momenta):
        _copy(part.tensors[f"momentum/{n}"], momentum)
    weights = [weight for group in optimiser.adam.param_groups for weight in group["params"]]
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in part.tensors.items():
        kind, _, rest = key.partition("/")
        if kind == "adam":
            weight, _, name = rest.partition("/")
            if name not in ("step", "exp_avg", "exp_avg_sq"):
                raise ValueError(f"{key} is nothing AdamW has")
            if name != "step" and value.shape != weights[int(weight)].shape:
                raise ValueError(f"{key} has another shape than its weight")
            moments.setdefault(int(weight), {})[name] = value
    groups = optimiser.adam.state_dict()["param_groups"]
    optimiser.adam.load_state_dict({"state": moments, "param_groups": groups})


def _copy(value: Tensor, into: Tensor) -> None:
    """As `copy_`, but of one shape and type only."""
    if value.shape != into.shape or value.dtype != into.dtype:
        raise ValueError(f"a tensor of {list(value.shape)} where {list(into.shape)} is expected")
    into.copy_(value)
