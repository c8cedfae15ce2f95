"""The figures as Markdown, the limits beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Results = Mapping[str, Mapping[str, Any]]
"""Name of a measurement → what it found, `machine`, `commit` and `date` included."""

MIB = 2**20


def table(results: Results) -> str:
    """One row for each figure, and under them what each group was measured on."""
    rows = ["| figure | limit | measured | |", "|---|---|---|---|"]
    rows += [f"| {what} | {limit} | {found} | {met} |" for what, limit, found, met in _rows(results)]
    grown = ["", str(results["growth"]["table"]).rstrip()] if "growth" in results else []
    return "\n".join([*rows, "", *_provenance(results), *grown]) + "\n"


def _rows(results: Results) -> Iterator[tuple[str, str, str, str]]:
    if found := results.get("imports"):
        empty = found["empty_process_ms"]["median"]
        for name, each in found["handlers"].items():
            took = each["import_ms"]["median"]
            cpu = each["import_cpu_ms"]["median"]
            yield f"importing `{name}`", "400 ms", f"{took:.0f} ms ({cpu:.0f} ms of CPU)", _met(took, 400)
        yield "an empty Python process, for comparison", "–", f"{empty:.0f} ms", ""
    if found := results.get("help"):
        took = found["help_ms"]["median"]
        yield "`arcspot --help`", "300 ms", f"{took:.0f} ms", _met(took, 300)
    if found := results.get("stack"):
        for name, size in found["zip_bytes"].items():
            limit = 3_000_000 if name == "CommonLayer" else None
            yield (
                f"zip of {name}",
                "3 MB" if limit else "–",
                f"{size / 1e6:.2f} MB",
                _met(size, limit) if size else "not built",
            )
        for what, key in (("nothing built", "up_clean_s"), ("everything built", "up_built_s")):
            yield f"local stack up, {what}", "60 s", f"{found[key]:.0f} s", _met(found[key], 60)
    if found := results.get("ingest"):
        took, files = found["invocations"], found["files"]
        verdict = _met(took, 60) if found["jobs"] == files and not found["jobs_twice"] else "**wrong**"
        what = f"invocations of `ingest` for {files} files dropped at once"
        yield what, "60", f"{took}, {found['jobs']} jobs, {found['jobs_twice']} of them twice", verdict
    if found := results.get("report"):
        for each in found["sizes"]:
            what = f"report of {each['tasks']:,} tasks, modelled: longest of {each['rounds']} call(s)"
            yield (
                what,
                f"{found['limit_s']:.0f} s",
                f"{each['longest_s']:.0f} s",
                _met(each["longest_s"], found["limit_s"]),
            )
            memory = f"peak memory of a report of {each['tasks']:,} tasks"
            yield (
                memory,
                f"{found['memory_mb']:,} MB",
                f"{each['peak_mb']:,} MB",
                _met(each["peak_mb"], found["memory_mb"]),
            )
    if found := results.get("cost"):
        per = found["usd"] * 1000 / found["tasks"]
        yield "control plane, 1,000 tasks", "$0.02 (aim)", f"${per:.4f}", _met(per, 0.02)
        yield (
            "control plane, a month in which nothing happens",
            "–",
            f"${found['standing_usd_a_month']:.2f}",
            "",
        )
    if found := results.get("dropping"):
        took = found["seconds"]
        about = (
            f"{found['cpu_ms_a_file']:.1f} ms of a processor a file, {found['files_a_second']} files a second"
        )
        yield (
            f"{found['files']:,} files dropped at once, modelled",
            "600 s",
            f"{took:.0f} s, {about}",
            _met(took, 600),
        )
    if found := results.get("growth"):
        wrong = len(found["faults"])
        yield "rounds that grow faster than they may (below)", "0", str(wrong), _met(wrong, 0)
    if found := results.get("simulate"):
        yield from _simulated(found)
    if found := results.get("claims"):
        yield from _claimed(found)
    if found := results.get("demo"):
        first, peak = found["first_right_s"], found["peak_bytes"]
        yield (
            "`make demo` to the first right answer",
            "120 s",
            "none" if first is None else f"{first:.0f} s",
            _met(first if first is not None else float("inf"), 120),
        )
        right = f"{len(found['right'])} of {found['tasks']} right"
        yield f"`make demo`, all of it ({right})", "–", f"{found['whole_s']:.0f} s", ""
        yield "peak memory of all processes", "3 GiB", f"{peak / MIB:,.0f} MiB", _met(peak, 3 * 1024 * MIB)
        if shared := found.get("peak_proportional_bytes"):
            yield "the same, shared pages counted once", "–", f"{shared / MIB:,.0f} MiB", ""
    if found := results.get("solve"):
        for name, each in found["tasks"].items():
            took = each["seconds"]
            verdict = _met(took, 120) if each["right"] else "**wrong**"
            yield f"solving `{name}` (seed {found['seed']})", "120 s, right", f"{took:.0f} s", verdict


def _simulated(found: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    each, load = found["histories"], found["load"]
    right = not each["violations"] and not each["jobs_lost"] and not each["double_commits"]
    yield (
        f"{each['seeds']:,} histories of two days",
        "300 s, 0 violations",
        f"{each['seconds']:.0f} s, {len(each['violations'])} violations, {each['jobs_lost']} jobs lost, "
        f"{each['double_commits']} results committed twice",
        _met(each["seconds"], 300) if right else "**wrong**",
    )
    yield "worst spend ÷ cap in any of them", "1", f"{each['worst_spend_over_cap']:.3f}", ""
    yield "most live ÷ limit in any of them", "1", f"{each['most_live_over_limit']:.3f}", ""
    caught = {name: a["first"][0]["seed"] for name, a in found["ablations"].items() if a["caught"]}
    seeds = ", ".join(f"{name} by seed {seed}" for name, seed in caught.items())
    yield "guards taken out and caught", "8 of 8", f"{len(caught)} of {len(found['ablations'])}: {seeds}", ""
    yield (
        f"{load['files']:,} files × {load['instances']} instances × {load['days']} days",
        "600 s, 4 GiB",
        f"{load['seconds']:.0f} s, {load['peak_bytes'] / MIB:,.0f} MiB, {load['jobs_done']:,} answered, "
        f"{len(load['violations'])} violations",
        _met(load["seconds"], 600) if not load["violations"] else "**wrong**",
    )


def _claimed(found: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    for row in found["rows"]:
        all_served = row["served"] == row["runners"]
        yield (
            f"{row['runners']} runner(s) claim {row['want']} job(s) at once",
            "all served",
            f"{row['served']} served, {row['leases']} leases, {row['reads_per_lease']} reads a lease, "
            f"{row['slowest_s'] * 1000:.0f} ms at most (modelled)",
            "met" if all_served else "**missed**",
        )


def _met(value: float, limit: float | None) -> str:
    return "" if limit is None else "met" if value <= limit else "**missed**"


def _provenance(results: Results) -> Iterator[str]:
    for name, found in results.items():
        on = found["machine"]
        busy = f"load {on['load_1min']} at the start" + (
            " (busy)" if on["load_1min"] > on["cores"] / 2 else ""
        )
        yield (
            f"- {name}: {on['cores']} cores of {on['cpu']}, {on['ram_gib']} GiB, Python {on['python']}, "
            f"{busy}; commit {found['commit']}, {found['date']}"
        )
