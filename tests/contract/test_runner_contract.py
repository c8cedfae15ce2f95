"""What docs/runner-contract.md says in numbers and names is what the code does."""

from __future__ import annotations

import ast
import re

import pytest

from arcspot.domain import identity, jobs, launching, results, tasks
from arcspot.errors import RunnerRefused
from arcspot.services import admitting, asking, claiming, handing, serving, uploading
from arcspot.services.calls import URL_SECONDS
from gpu_runner import api
from tests.fakes.driving import Stack
from tests.fakes.house import COMMON, ROOT

TEXT = " ".join((ROOT / "docs/runner-contract.md").read_text().split())
KIB, GIB = 1024, 1024**3
OLDEST_S = identity.PROOF_SECONDS + identity.CLOCK_SKEW_SECONDS
STORED = launching.MAX_JOB_UPLOAD_BYTES + launching.MOST_AT_ONCE * (
    jobs.MAX_UPLOAD_BYTES + jobs.MAX_FILE_BYTES
)


def rate(of: admitting.Rate) -> tuple[str, str]:
    return f"{of.per_second:g}", f"{of.burst:g}"


def minutes(seconds: float) -> str:
    return f"{seconds / 60:g}"


@pytest.mark.parametrize(
    ("words", "known"),
    [
        (r"one object, one version and (\d+) minutes", minutes(URL_SECONDS)),
        (r"to be PUT within (\d+) min", minutes(URL_SECONDS)),
        (r"contract \*\*(\d+)\*\*", f"{launching.CONTRACT}"),
        (r"`contract: (\d+)`, `host", f"{launching.CONTRACT}"),
        (r"lets a launch make (\d+) calls a second, (\d+) at once", rate(admitting.LAUNCH)),
        (r"`hello` has (\d+) a second, (\d+) at once", rate(admitting.HELLOS)),
        (r"signed less than (\d+) minutes ago", minutes(OLDEST_S)),
        (r"less than (\d+) minutes ahead", minutes(identity.CLOCK_SKEW_SECONDS)),
        (r"`X-Amz-Expires` ≤ (\d+)", f"{identity.PROOF_SECONDS}"),
        (r"asks again, for up to (\d+) minutes", minutes(api.WAITING_PATIENCE_S)),
        (r"minutes \((\d+) s once its machine", f"{api.HURRIED_PATIENCE_S:g}"),
        (r"at most (\d+) files and (\d+) GiB, one launch for",
         (f"{jobs.MAX_UPLOADS}", f"{jobs.MAX_UPLOAD_BYTES / GIB:g}")),
        (r"one launch for ([\d,]+) log files and (\d+) GiB",
         (f"{launching.MAX_LOG_UPLOADS:,}", f"{launching.MAX_LOG_BYTES / GIB:g}")),
        (r"charged with ([\d,]+) files or (\d+) GiB gets no more",
         (f"{launching.MAX_JOB_UPLOADS:,}", f"{launching.MAX_JOB_UPLOAD_BYTES / GIB:g}")),
        (r"stores at most ([\d.]+) GiB", f"{STORED / GIB:g}"),
        (r"`runner.log` of at most (\d+) MiB", f"{uploading.MAX_LOG_FILE_BYTES / KIB / KIB:g}"),
        (r"is above (\d+) KiB", f"{handing.MOST_TASK_BYTES / KIB:g}"),
        (r"at most ([\d,]+) values, (\d+) deep", (f"{asking.MAX_VALUES:,}", f"{asking.MAX_DEPTH}")),
        (r"(\d+) characters of a value, (\d+) of a refusal", ("80", f"{asking.MOST_WORDS}")),
    ],
)  # fmt: skip
def test_the_page_has_the_numbers_of_the_code(words: str, known: str | tuple[str, ...]) -> None:
    found = re.findall(words, TEXT)
    assert found == [known]


@pytest.mark.parametrize("page", sorted(path.name for path in (ROOT / "docs").glob("*.md")))
def test_no_page_gives_a_presigned_url_another_life(page: str) -> None:
    text = " ".join((ROOT / "docs" / page).read_text().split())
    for sentence in re.split(r"(?<=[.|])\s", text):
        if re.search(r"presigned|\bURLs?\b", sentence):
            for found in re.findall(r"(\d+)[ -](?:min|minutes?)\b", sentence):
                assert found == minutes(URL_SECONDS), sentence


def test_every_url_is_made_with_the_one_constant() -> None:
    """Whoever makes one in a service hands this constant on, or a `seconds` that was handed to it."""
    made = []
    for path in sorted((COMMON / "arcspot/services").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            name = getattr(node.func, "attr", "") if isinstance(node, ast.Call) else ""
            if isinstance(node, ast.Call) and name in ("presign_get", "presign_put", "offered"):
                (seconds,) = [each.value for each in node.keywords if each.arg == "seconds"]
                made.append((path.stem, name, ast.unparse(seconds)))
    assert made == [
        ("checkpoints", "presign_get", "seconds"),
        ("claiming", "offered", "URL_SECONDS"),
        ("uploading", "presign_put", "URL_SECONDS"),
    ]
    assert claiming.URL_SECONDS == uploading.URL_SECONDS == URL_SECONDS <= 15 * 60


def test_the_page_names_every_verb_and_every_refusal() -> None:
    for verb in (*serving.verbs(), "hello"):
        assert f"| `{verb}` |" in TEXT
    for refusal in RunnerRefused.__subclasses__():
        assert f"`{refusal.__name__}`" in TEXT


def test_the_page_names_every_field_of_a_lease() -> None:
    runner = Stack().one_running()
    (lease,) = runner.claim()
    (row,) = re.findall(r"\| `claim` \|.*?`leases: \[\{(.*?)\}\]`", TEXT)
    told = set(re.findall(r"\b([a-z_]+)(?=[,:\s}]|$)", re.sub(r"\{[^}]*\}|null|\\\|", " ", row)))
    assert set(lease) == told


def test_the_size_of_the_largest_task_is_what_the_page_says() -> None:
    grid = [[9] * tasks.MAX_SIDE] * tasks.MAX_SIDE
    document = {
        "train": [{"input": grid, "output": grid}] * tasks.MAX_PAIRS,
        "test": [{"input": grid}] * tasks.MAX_PAIRS,
    }
    largest = len(tasks.canonical(tasks.task_from_json("x", document)))
    assert re.findall(r"A task has at most (\d+) KiB", TEXT) == [f"{-(-largest // KIB)}"]
    assert re.findall(r"eight ([\d.]+) MiB", TEXT) == [f"{8 * largest / KIB / KIB:.1f}"]
    assert largest <= handing.MOST_TASK_BYTES


def test_the_page_names_every_file_that_may_be_uploaded() -> None:
    for name in results.NAMES:
        assert f"`{name}`" in TEXT
        assert uploading.NAMES["result"].fullmatch(name)
