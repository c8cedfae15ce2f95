"""Folders' names: whatever a task is called, every system takes the name, and no two are the same to any."""

from __future__ import annotations

import random
import string
import unicodedata
from datetime import timedelta
from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcspot.domain.jobs import Job, TaskInput
from arcspot_cli.folders import OURS, Wanted, folder_names, plain, same
from tests.fakes.memory import START

# Found out about the systems from their own pages, not from the function under test.
DEVICES = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"} | {
    f"{port}{n}" for port in ("COM", "LPT") for n in "0123456789¹²³"
}
LIKED = [
    "07bbcb73",
    "AboveBelow1",
    "train_3-b",
    "ünïcode",
    "with space",
    "a.b.c",
    "~x",
    "日本",
    ".git",
    "src",
    "v1.0",
]
PATHS = [
    *("", ".", "..", "...", "../x", "../../etc/passwd", "/etc/passwd", "a/b", "a\\b", "-rf", "--help"),
    *("C:\\x", "C:", "c:x", "\\\\host\\x", "$HOME", "`id`", "%USERPROFILE%", "desktop.ini"),
]
DEVICE_NAMES = [
    *(
        "CON",
        "con",
        "nul.txt",
        "NUL .txt",
        "Aux.tar.gz",
        "com1",
        "LPT9.json",
        "COM¹",
        "conin$",
        "prn ",
        "nul.",
    ),
]
CHARACTERS = [
    *(
        "x.",
        "x ",
        "x. .",
        " x",
        "x\n",
        "x\x00y",
        "a:b",
        "a*b",
        "a?b",
        'a"b',
        "a<b>",
        "a|b",
        "x::$INDEX_ALLOCATION",
    ),
    *(
        "\ud800",
        "a\udfffb",
        "\u202egnp.exe",
        "a\u200db",
        "\ufeffx",
        "x\u2028y",
        "\u00a0",
        "\ue000",
        "é",
        "e\u0301",
    ),
]
OF_ARCSPOT = ["submission.json", "Submission.JSON", "report.html", ".arcspot", ".ARCSPOT-part-x"]
LONG = ["x" * 300, "ü" * 200, "日" * 90, "e\u0301" * 150, "\U0001f600" * 70, "~" * 256]
ODD = [*PATHS, *DEVICE_NAMES, *CHARACTERS, *OF_ARCSPOT, *LONG]


def faults(name: str) -> list[str]:
    """What some system has against a folder of this name."""
    found = []
    if not name or name in (".", ".."):
        found.append("nothing, here or above")
    if set(name) & set('<>:"/\\|?*') or any(ord(c) < 32 or ord(c) == 127 for c in name):
        found.append("characters")
    if name[-1:] in (".", " ") or name[:1] == " ":
        found.append("an end that Windows drops")
    if name.split(".")[0].rstrip(" ").upper() in DEVICES:
        found.append("a device")
    try:
        if len(name.encode()) > 255 or len(unicodedata.normalize("NFD", name)) > 255:
            found.append("length")
    except UnicodeEncodeError:
        found.append("no UTF-8")
    if PureWindowsPath(name).parts != (name,) or Path(name).parts != (name,):
        found.append("more than one part")
    if name.lower().startswith(".arcspot"):
        found.append("arcspot's own")
    return found


def named(*tasks: tuple[str, str], turn: int | None = None) -> dict[tuple[str, str], str]:
    """The names of (task id, job id), the jobs having come in this order."""
    jobs = {
        job_id: Job(
            job_id=job_id,
            batch_id="b",
            input=TaskInput("bucket", "tasks/b/x.json", "v", "x"),
            config={},
            solver_version="1",
            created_at=START + timedelta(seconds=n),
            updated_at=START,
            estimate_s=1.0,
        )
        for n, job_id in reversed(list(enumerate(job_id for _, job_id in tasks)))
    }
    asked = [Wanted(*task) for task in tasks]
    if turn is not None:
        random.Random(turn).shuffle(asked)
    return folder_names(asked, jobs)


def distinct_everywhere(names: list[str]) -> bool:
    """To Linux, to Windows (upper case), to macOS (decomposed, folded)."""
    return (
        len(set(names))
        == len({name.upper() for name in names})
        == len({unicodedata.normalize("NFD", unicodedata.normalize("NFD", n).casefold()) for n in names})
        == len(names)
    )


@pytest.mark.parametrize("task_id", LIKED)
def test_an_id_that_every_system_takes_is_the_folders_name(task_id: str) -> None:
    assert plain(task_id) == task_id


@pytest.mark.parametrize("task_id", ODD)
def test_whatever_the_id_is_every_system_takes_the_name(task_id: str) -> None:
    assert faults(plain(task_id)) == []
    (name,) = named((task_id, "j" * 24)).values()
    assert faults(name) == []
    assert same(name) not in OURS


def test_the_checks_of_this_file_find_something() -> None:
    assert sum(bool(faults(task_id)) for task_id in ODD) > 40


@pytest.mark.parametrize(
    "twins",
    [
        ("Foo", "foo", "FOO"),
        ("é", "e\u0301"),
        ("É", "e\u0301"),
        ("straße", "STRASSE"),
        ("\ufb01t", "fit"),
        ("a:b", "a?b", "a_b"),
        ("x.", "x_", "x "),
        ("\u212aelvin", "kelvin", "KELVIN"),
        ("ı", "I", "i", "İ"),
        ("nul", "_nul"),
        ("x" * 300, "x" * 301),
        ("submission.json", "SUBMISSION.JSON"),
        (".git", ".GIT"),
    ],
)
@pytest.mark.parametrize("one_job", [False, True])
def test_ids_that_some_system_takes_for_one_have_two_folders(twins: tuple[str, ...], one_job: bool) -> None:
    tasks = [(task_id, "j" * 24 if one_job else f"{n:x}" * 24) for n, task_id in enumerate(twins)]
    names = named(*tasks)
    assert len(names) == len(twins)
    assert distinct_everywhere(list(names.values()))
    assert all(faults(name) == [] for name in names.values())
    assert names == named(*tasks, turn=3), "the order in which they are asked for decides nothing"


def test_sixty_spellings_of_one_task_have_sixty_folders() -> None:
    spellings = ["".join(c.upper() if n >> i & 1 else c for i, c in enumerate("abcdef")) for n in range(60)]
    names = named(*((spelling, "0123456789abcdef01234567") for spelling in spellings))
    assert distinct_everywhere(list(names.values()))


def test_what_comes_later_renames_nothing() -> None:
    tasks = [("x", f"{n:x}" * 24) for n in range(8)] + [("X", f"{n:x}" * 24) for n in range(8, 12)]
    before: dict[tuple[str, str], str] = {}
    for n in range(1, len(tasks) + 1):
        after = named(*tasks[:n])
        assert before.items() <= after.items()
        before = after


@given(
    st.lists(st.text(max_size=8) | st.text(alphabet="aA.~ :é\u0301/", max_size=5), max_size=12),
    st.integers(0, 99),
)
def test_whatever_ids_there_are_the_names_are_good_distinct_and_always_the_same(
    ids: list[str], turn: int
) -> None:
    tasks = [(task_id, f"{n % 7:024x}") for n, task_id in enumerate(dict.fromkeys(ids))]
    names = named(*tasks)
    assert len(names) == len(tasks)
    assert distinct_everywhere(list(names.values()))
    assert [name for name in names.values() if faults(name)] == []
    assert names == named(*tasks, turn=turn)


@given(st.text(max_size=300))
def test_a_name_stays_what_it_is(task_id: str) -> None:
    assert plain(plain(task_id)) == plain(task_id)


@given(st.text(alphabet=string.ascii_letters + string.digits + "_-", min_size=1, max_size=40))
def test_ids_of_the_usual_letters_are_kept(task_id: str) -> None:
    if not faults(task_id):
        assert plain(task_id) == task_id
