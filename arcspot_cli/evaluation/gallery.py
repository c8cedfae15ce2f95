"""An evaluation as one HTML page: what was asked, what was answered, how sure the solver was, what was right.

The page holds everything it shows: nothing is fetched, so it opens from disk and years later. It looks like
the batch report (`arcspot.domain.reporting`) and draws with the same hand. Without JavaScript it still shows
and filters everything; the script only finds a task by its id and opens all at once.
"""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from pathlib import PurePath
from typing import Any

from arcspot.domain import drawing
from arcspot.domain.edges import markup as text
from arcspot.domain.report_pages import POLICY
from arcspot.domain.report_style import PAGE_STYLE
from arcspot.domain.reporting import duration
from arcspot.domain.scoring import as_grid
from arcspot.domain.tasks import Grid, Task
from arcspot_cli.evaluation import crediting, figures
from arcspot_cli.evaluation.figures import Result
from arcspot_cli.evaluation.running import Evaluation

CANDIDATES = 5
CANDIDATE_SIDE = 96  # SVG user units of a candidate's longer side, one CSS pixel each at natural size
CURVE = (300, 110)
SIGNS = {"right": "✓", "partly right": "◐", "wrong": "✗", "answered": "•", "no answer": "–"}

STYLE = """
.tools{display:flex;flex-wrap:wrap;gap:8px 16px;align-items:center;margin-top:12px}
.tools input,.tools button{font:inherit;font-size:.85rem;padding:4px 12px;border:1px solid var(--line);
border-radius:99px;background:var(--card);color:var(--ink)}
.tools button{cursor:pointer}.tools :focus-visible{outline:3px solid var(--accent);outline-offset:2px}
.more{display:flex;flex-wrap:wrap;gap:20px 32px;margin:0 16px 16px;align-items:flex-start}
.more h3{margin:0 0 6px;font-size:.85rem;font-weight:650}
.candidates{display:flex;flex-wrap:wrap;gap:12px;margin:0 0 10px;padding:0;list-style:none}
.candidates li{font-size:.8rem;color:var(--soft);font-variant-numeric:tabular-nums}
.candidates svg{display:block;margin-bottom:3px}
.candidates .yes{color:var(--right);font-weight:650}
.curve path{fill:none;stroke:var(--accent);stroke-width:1.5}.curve .axis{stroke:var(--line);stroke-width:1}
.curve text{fill:var(--soft);font-size:11px}
.facts-list{display:grid;grid-template-columns:auto 1fr;gap:2px 14px;margin:0;font-size:.85rem;
min-width:220px}
.facts-list dd{font-size:.85rem;font-weight:400;overflow-wrap:anywhere}
.job[hidden],.tools[hidden]{display:none}
h2{font-size:1.1rem}table{border-collapse:collapse;font-size:.9rem;margin-top:16px;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:4px 14px;border-bottom:1px solid var(--line)}th:first-child{text-align:left}
th{font-weight:600}thead th{color:var(--soft);font-size:.82rem}
"""

SCRIPT = """
const jobs=[...document.querySelectorAll('.job')],find=document.getElementById('find'),
all=document.getElementById('all');
document.querySelector('.tools').hidden=false;
find.addEventListener('input',()=>{const wanted=find.value.trim().toLowerCase();
for(const job of jobs)job.hidden=!job.dataset.id.toLowerCase().includes(wanted)});
all.addEventListener('click',()=>{const open=all.getAttribute('aria-pressed')!=='true';
all.setAttribute('aria-pressed',open);all.textContent=open?'Close all':'Open all';
for(const job of jobs)job.open=open});
"""


def _digest(script: str) -> str:
    """The one script that a browser runs: https://www.w3.org/TR/CSP3/#external-hash"""
    return f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'"


def page(evaluation: Evaluation, document: dict[str, Any]) -> str:
    """The gallery as a complete HTML document; `document` as `running.document` made it."""
    by_digest = {figures.digest(task): task for task in evaluation.tasks}
    results = evaluation.results()
    rows = "\n".join(_row(by_digest[one.digest], one, evaluation.base.get(one.digest)) for one in results)
    title = f"{_name(document)} · arcspot"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}; script-src {_digest(SCRIPT)}">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{title}</title>\n<style>{PAGE_STYLE}{drawing.STYLE}{STYLE}</style>\n"
        f"</head>\n<body>\n<main>\n{_header(document)}\n{_tiles(document)}\n{_solved_by(document)}\n"
        f"{_side_by_side(document)}\n"
        f"{_filters(results)}\n{_tools()}\n"
        f'<section aria-label="Tasks" class="jobs">\n{rows}\n</section>\n{_refused(document)}'
        f"</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


# --- the summary -------------------------------------------------------------------------


def _header(document: dict[str, Any]) -> str:
    settings, machine, checkpoint = document["settings"], document["machine"], document["checkpoint"]
    model = "random weights" if checkpoint is None else f"{checkpoint['name']} {checkpoint['sha256'][:12]}"
    facts = [
        "complete" if document["complete"] else "stopped early",
        f"asked: {crediting.arm(document)}",
        f"{settings['budget_seconds']:g} s a task, seed {settings['seed']}",
        f"solver {document['solver_version']}, {model}",
        f"{machine['gpu'] or machine['cpu']}, {settings['jobs']} at a time",
        document["made_at"],
    ]
    told = " · ".join(text(str(fact)) for fact in facts)
    return (
        f"<header><p class=brand>arcspot · evaluation</p><h1>{_name(document)}</h1>"
        f"<p class=note>{told}</p></header>"
    )


def _name(document: dict[str, Any]) -> str:
    return text(PurePath(document["tasks_dir"]).name)


def _tiles(document: dict[str, Any]) -> str:
    tiles = [
        ("pass@2", _share(document["pass_at_2"]), f"{document['scored']:,} tasks with known solutions"),
        ("pass@1", _share(document["pass_at_1"]), "the first attempt alone"),
        ("All tests right", _share(document["all_right"]), "the stricter figure"),
        ("Among the candidates", _share(document["oracle"]), "a perfect choice would score this"),
        ("Output size right", _share(document["sizes_right"]), "in either attempt"),
        ("Demonstrations fitted", _share(document["demo_fit"]), "as augmented, at the end of training"),
        ("Seconds a task", _seconds(document["seconds_p50"]), f"p90 {_seconds(document['seconds_p90'])}"),
        (
            "On a T4, estimated",
            f"${document['t4_usd_micros'] / 1e6 / max(1, document['solved']):.6f}",
            f"a task: {duration(document['small_seconds'])} of its cores for all of them, "
            f"{duration(document['t4_seconds'])} of its GPU at "
            f"{document['estimate']['utilisation']:.0%} of its peak",
        ),
    ]
    cells = "".join(
        f"<div><dt>{text(name)}</dt><dd>{text(value)}<small>{text(note)}</small></dd></div>"
        for name, value, note in tiles
    )
    return f"<dl class=tiles>{cells}</dl>"


def _solved_by(document: dict[str, Any]) -> str:
    """pass@2 in parts: what solved the tasks."""
    if not document["scored"]:
        return ""
    parts = {**document["solved_by"]}
    alone = f"<tr><th>trained networks alone</th><td>{_share(crediting.by_training(parts))}</td></tr>"
    rows = "".join(f"<tr><th>{text(name)}</th><td>{_share(share)}</td></tr>" for name, share in parts.items())
    return (
        "<table><thead><tr><th>solved by</th><th>of pass@2</th></tr></thead>"
        f"<tbody>{rows}</tbody><tfoot>{alone}</tfoot></table>"
    )


def _side_by_side(document: dict[str, Any]) -> str:
    """The adapted model beside the pretrained one, where both were asked."""
    base, gain = document.get("base"), document.get("gain")
    if base is None:
        return ""
    names = {"pass_at_2": "pass@2", "pass_at_1": "pass@1", "oracle": "among the candidates"}
    rows = "".join(
        f"<tr><th>{label}</th><td>{_share(document[name])}</td><td>{_share(base[name])}</td></tr>"
        for name, label in names.items()
    )
    told = ""
    if gain is not None:
        low, high = (f"{100 * gain[side]:+.1f}" for side in ("low", "high"))
        told = (
            f"<p class=note>Adapting adds {100 * gain['difference']:+.1f} points of pass@2 "
            f"(95 % interval {low} to {high}, paired over {gain['tasks']:,} tasks): "
            f"{len(gain['wins']):,} won, {len(gain['losses']):,} lost.</p>"
        )
    head = "<thead><tr><th></th><th>adapted</th><th>pretrained alone</th></tr></thead>"
    return f"<table>{head}<tbody>{rows}</tbody></table>{told}"


def _filters(results: Sequence[Result]) -> str:
    found = Counter(_verdict(one) for one in results)
    choices = [("all", len(results)), *((name, found[name]) for name in SIGNS if found[name])]
    buttons = "".join(
        f"<label><input type=radio name=show id=show-{name.replace(' ', '-')}"
        f"{' checked' if name == 'all' else ''}><span>{name} <b>{count:,}</b></span></label>"
        for name, count in choices
    )
    return f"<fieldset class=filters><legend>Show</legend>{buttons}</fieldset>"


def _tools() -> str:
    return (
        '<div class=tools hidden><input id=find type=search placeholder="Find a task id"'
        ' aria-label="Find a task id"><button id=all type=button aria-pressed=false>Open all</button></div>'
    )


def _refused(document: dict[str, Any]) -> str:
    if not document["refused"]:
        return ""
    items = "".join(f"<li>{text(sentence)}</li>" for sentence in document["refused"])
    return f"<h2>Refused</h2><ul>{items}</ul>\n"


# --- a task ------------------------------------------------------------------------------


def _verdict(result: Result) -> str:
    if result.error is not None:
        return "no answer"
    if result.score is None:
        return "answered"
    if result.all_right:
        return "right"
    return "partly right" if result.score else "wrong"


def _row(task: Task, result: Result, base: Result | None) -> str:
    verdict = _verdict(result)
    sure = [] if result.confidence is None else [f"{result.confidence:.0%} sure"]
    alone = [] if base is None else [f"pretrained alone {SIGNS[_verdict(base)]}"]
    by = filter(None, [text(crediting.said(result.solved_by))])
    facts = " · ".join([*by, *alone, *sure, text(result.hypothesis), duration(result.seconds)])
    head = (
        f'<span class=sign aria-hidden="true">{SIGNS[verdict]}</span>'
        f"<span class=name>{text(task.task_id)}</span><span class=verdict>{verdict}</span>"
        f"<span class=facts>{facts}</span>"
    )
    error = f"<p class=reason>{text(result.error)}</p>" if result.error else ""
    svg = drawing.svg_task(task, result.pairs, task.test_outputs, title=task.task_id, styled=False)
    picture = f'<div class=picture tabindex=0 role=group aria-label="{text(task.task_id)}">{svg}</div>'
    more = _votes(task, result.votes) + _curve(result.loss_curve) + _facts(result)
    if base is not None:
        attempts = [[{"grid": grid} for grid in pair] for pair in base.pairs]
        more += _votes(task, attempts, heading="Pretrained alone")
    return (
        f'<details class="job v-{verdict.replace(" ", "-")}" data-id="{text(task.task_id)}">'
        f"<summary>{head}</summary>{error}{picture}<div class=more>{more}</div></details>"
    )


def _votes(task: Task, votes: Sequence[Sequence[dict[str, Any]]], *, heading: str = "Votes") -> str:
    """The best candidates of each test input, with their share of the views."""
    if not any(votes):
        return ""
    blocks = []
    for n, found in enumerate(votes):
        truth = None if task.test_outputs is None else task.test_outputs[n]
        items = "".join(_candidate(each, truth) for each in found[:CANDIDATES])
        name = heading if len(votes) == 1 else f"{heading}, test {n + 1}"
        blocks.append(f"<h3>{name}</h3><ul class=candidates>{items}</ul>")
    return f"<div>{''.join(blocks)}</div>"


def _candidate(candidate: dict[str, Any], truth: Grid | None) -> str:
    grid = as_grid(candidate["grid"])
    height, width = len(grid), len(grid[0])
    cell = max(3, CANDIDATE_SIDE // max(height, width))
    share = "" if "share" not in candidate else f"{candidate['share']:.0%}"
    hit = truth is not None and grid == truth
    words = " ".join(filter(None, (share, "✓" if hit else "✗" if truth is not None else "")))
    drawn = drawing.svg_grid(grid, x=1, y=1, cell=cell)
    return (
        f"<li{' class=yes' if hit else ''}><svg width={width * cell + 2} height={height * cell + 2}"
        f' role=img aria-label="candidate {words}">{drawn}</svg>{words}</li>'
    )


def _curve(points: Sequence[Sequence[float]]) -> str:
    """The loss over the optimiser's steps, from 0 up."""
    if len(points) < 2:
        return ""
    width, height = CURVE
    last, top = max(step for step, _ in points) or 1, max(loss for _, loss in points) or 1.0
    line = "L".join(f"{width * step / last:.1f} {height * (1 - loss / top):.1f}" for step, loss in points)
    return (
        f"<div><h3>Loss</h3><svg class=curve width={width + 60} height={height + 26}"
        f' viewBox="-4 -12 {width + 60} {height + 30}" role=img aria-label="loss from'
        f' {points[0][1]:.3f} to {points[-1][1]:.3f} in {last:g} steps">'
        f'<path class=axis d="M0 0V{height}H{width}"/><path d="M{line}"/>'
        f"<text x=4 y=-2>{top:.2f} nats a cell</text><text x={width} y={height + 14} text-anchor=end>"
        f"{last:g} steps</text></svg></div>"
    )


def _facts(result: Result) -> str:
    rejected = ", ".join(str(each.get("hypothesis", "?")) for each in result.rejected)
    nearest = ", ".join(str(name) for name, *_ in result.nearest_pretraining_tasks[:3])
    facts = {
        "solved": crediting.said(result.solved_by),
        "attempts proposed by": _proposers(result),
        "hypothesis": result.hypothesis,
        "ended by": result.stopped_by,
        "steps, samples": f"{result.steps:,}, {result.samples:,}",
        "demonstrations fitted": _share(result.demo_fit),
        "among the candidates": _share(result.oracle),
        "output size right": _share(result.sizes_right),
        "arithmetic": f"{result.flops / 1e12:,.2f} TFLOP; on a T4 about {result.t4_seconds:.2f} s",
        "rejected": rejected,
        "second seed": str(result.second_seed.get("why", "")),
        "nearest in pretraining": nearest,
    }
    cells = "".join(f"<dt>{name}</dt><dd>{text(told)}</dd>" for name, told in facts.items() if told)
    return f"<dl class=facts-list>{cells}</dl>"


def _proposers(result: Result) -> str:
    """Of each test input's two attempts, right or wrong."""
    pairs = (map(crediting.credit, each.values()) for each in result.attempts_by)
    return "; ".join(", ".join(pair) for pair in pairs)


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _seconds(value: float | None) -> str:
    return "–" if value is None else duration(value)
