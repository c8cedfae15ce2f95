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
from .optim import Optimiser, check_like
from .portfolio import EXCHANGEABLE, SPECIFIC, Hypothesis
from .resume import Part, number, understood, whole, word
from .train import Adaptation, Adapted, Recipe

NAMES = (EXCHANGEABLE, SPECIFIC)
REASONS = ("samples", "fit", "rejected", "diverged")
STOPPED_BY = (*REASONS, "deadline", "unadapted")
NEAREST = 5
"""Pretraining tasks that a solve remembers."""

LARGEST_SCALE = 2.0**60
MOST = 10**9


def of_ranking(ranked: list[tuple[float, int]]) -> Part:
    """Of the search for the task tokens to start at: (loss, row), the best first."""
    return Part({"ranked": [[value, row] for value, row in ranked]})


def ranking(part: Part, rows: int) -> list[tuple[float, int]]:
    with understood():
        found = [{"value": value, "row": row} for value, row in part.facts["ranked"]]
        if len(found) > NEAREST:
            raise ValueError(f"{len(found)} nearest tasks where at most {NEAREST} are kept")
        return [(number(each, "value"), whole(each, "row", most=rows - 1)) for each in found]


def of_adapted(result: Adapted) -> Part:
    """Of an adaptation that came to its end."""
    weights = {f"weights/{key}": value for key, value in result.model.state_dict().items()}
    return Part(_account(result), {**weights, "tokens": result.tokens})


def adapted(part: Part, model: Solver, choose: Callable[[str], Hypothesis], *, largest: int) -> Adapted:
    """The adaptation, in `model`'s place. `choose` makes a hypothesis of its name; no batch is larger than
    `largest`."""
    with understood():
        chosen = choose(word(part.facts, "hypothesis", NAMES))
        tokens = model.mean_tokens.repeat(len(chosen.views), 1, 1)
        result = Adapted(model, tokens, chosen, batch_size=largest, batch_limit=largest)
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
        schedule.seconds = max(number(facts, "seconds"), 1e-9)  # something is divided by it
        schedule.reason = word(facts, "reason", REASONS)
        schedule.fit = number(facts, "fit", most=1.0)
        schedule.recent.extend(_verdicts(facts["recent"], within=(0, 1), most=schedule.recipe.window))
        schedule.pending = _pending(facts["pending"], schedule.recipe, under_way.tokens.device)
        dtype, scale, good_steps = part.facts["precision"]
        kept = {"scale": scale, "good_steps": good_steps}
        if dtype == str(under_way.precision.dtype):  # another card may compute in another type
            if number(kept, "scale", most=LARGEST_SCALE) == 0:
                raise ValueError("gradients cannot be scaled by 0")
            under_way.precision.take_up(float(scale), whole(kept, "good_steps"))
        under_way.optimiser.skipped.fill_(whole(part.facts, "skipped"))
        with torch.no_grad():
            _take_weights(part, result.model, under_way.tokens)
        _take_generator(part.tensors["generator"], under_way.supply.generator)
        _take_optimiser(part, under_way.optimiser)


def _verdicts(told: list[int], *, within: tuple[int, int], most: int) -> list[int]:
    """At most so many whole numbers within bounds. Raises ValueError."""
    if not isinstance(told, list) or len(told) > most:
        raise ValueError(f"expected a list of at most {most} verdicts")
    if not all(type(each) is int and within[0] <= each <= within[1] for each in told):
        raise ValueError("a sample is neither right nor wrong")
    return told


def _pending(told: list[Any], recipe: Recipe, device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """Losses and verdicts not read yet; a loss may be no number. Raises ValueError or TypeError."""
    if not isinstance(told, list) or len(told) > recipe.check_every:
        raise ValueError(f"expected a list of at most {recipe.check_every} steps")
    found = []
    for value, right in told:
        if type(value) not in (int, float):
            raise ValueError(f"a loss is {value!r:.40}")
        verdicts = _verdicts(right, within=(-1, 1), most=recipe.largest)
        found.append(
            (
                torch.tensor(float(value), device=device),
                torch.tensor(verdicts, dtype=torch.int32, device=device),
            )
        )
    return found


def _take_generator(kept: Tensor, generator: torch.Generator) -> None:
    """As `set_state`, but of a place within the generator's numbers alone. Raises ValueError and more.

    On a CPU torch checks two counts each for itself (aten/src/ATen/CPUGeneratorImpl.cpp): of 624 numbers,
    `left` are to come and `next` is the one to take. Two that do not fit each other read beyond them.
    """
    if generator.device.type == "cpu" and kept.numel() >= 24:
        left, upcoming = int(kept[8:12].view(torch.int32)), int(kept[16:24].view(torch.int64))
        if (left, upcoming) != (1, 0) and left + upcoming != 625:
            raise ValueError("the random generator is at no place of its numbers")
    generator.set_state(kept)


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
        if not bool(total.isfinite().all()):
            raise ValueError(f"log-probabilities of a grid of {height}×{width} are not finite")
        ballot.log_probability[size] = total
        ballot.readable[size] = whole(side, "views", least=1, most=ballot.views)
    cast = dict.fromkeys(ballot.readable, 0)
    for grid, votes in facts["votes"]:
        ballot.votes[tuple(map(tuple, _grid(grid, ballot)))] = whole({"votes": votes}, "votes", least=1)
        cast[len(grid), len(grid[0])] += votes
    if cast != ballot.readable or sum(cast.values()) > ballot.views:
        raise ValueError("every view that could be read votes once")
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
        batch = name.startswith("batch")
        most = getattr(result, name) if batch else MOST
        setattr(result, name, whole(facts, name, least=int(batch), most=most))
    for name in FIGURES:
        setattr(result, name, number(facts, name, most=1.0))
    result.stopped_by = word(facts, "stopped_by", STOPPED_BY)
    curve = [{"step": step, "loss": value} for step, value in facts["loss_curve"]]
    result.loss_curve = [(whole(at, "step"), number(at, "loss")) for at in curve]
    result.earlier = [
        {
            "hypothesis": word(each, "hypothesis", NAMES),
            "steps": whole(each, "steps"),
            "demo_fit": number(each, "demo_fit", most=1.0),
        }
        for each in facts["earlier"]
    ]


def _take_weights(part: Part, model: Solver, tokens: Tensor) -> None:
    prefix = "weights/"
    found = {key[len(prefix) :]: value for key, value in part.tensors.items() if key.startswith(prefix)}
    for name, value in model.state_dict().items():
        check_like(name, found[name], value)
    check_like("tokens", part.tensors["tokens"], tokens)
    model.load_state_dict(found)
    tokens.copy_(part.tensors["tokens"])


def _of_optimiser(optimiser: Optimiser) -> dict[str, Tensor]:
    moments = {
        f"adam/{weight}/{key}": value
        for weight, state in optimiser.adam.state_dict()["state"].items()
        for key, value in state.items()
    }
    return {**{f"momentum/{n}": value for n, value in enumerate(optimiser.momenta)}, **moments}


def _take_optimiser(part: Part, optimiser: Optimiser) -> None:
    momenta = [part.tensors[f"momentum/{n}"] for n in range(len(optimiser.momenta))]
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in part.tensors.items():
        kind, _, rest = key.partition("/")
        if kind == "adam":
            weight, _, name = rest.partition("/")
            moments.setdefault(int(weight), {})[name] = value
    optimiser.take_up(momenta, moments)
