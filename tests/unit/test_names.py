"""What a batch may be called, where a task file may lie, and what is derived from a key."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcspot.domain import names, tasks
from arcspot.domain.names import MAX_BATCH_BYTES, MAX_OBJECT_KEY_BYTES

BAD = {
    "": "an empty name",
    ".": 'the name "."',
    "..": 'the name ".."',
    "2026/11/27": 'a "/"',
    "/a": 'a "/"',
    "a/": 'a "/"',
    "/": 'a "/"',
    "team/monday": 'a "/"',
    "../a": 'a "/"',
    "team\\monday": 'a "\\"',
    " monday": "a space at its begin or end",
    "monday ": "a space at its begin or end",
    " ": "a space at its begin or end",
    "a\tb": "a character that cannot be printed",
    "a\n": "a character that cannot be printed",
    "a\x00": "a character that cannot be printed",
    "a\x7f": "a character that cannot be printed",
    "a\u2028b": "a character that cannot be printed",
    "a\u00a0b": "a character that cannot be printed",
    "a\ud800": "a character that cannot be printed",
    "x" * (MAX_BATCH_BYTES + 1): "201 bytes",
    "ü" * 101: "202 bytes",
    "x" * 5000: "5,000 bytes",
}
GOOD = [
    "monday", "a b", "team-monday", "2026-11-27", "...", "..a", "a..", ".hidden", "ü", "日本語", "😀",
    "x" * MAX_BATCH_BYTES,
    "a+b=c&d?e#f%2F", '"quoted" <b>', "default", "BATCH#b", "nightly-20261127T2200", "~", "-",
]  # fmt: skip


@pytest.mark.parametrize("name", BAD, ids=lambda name: repr(name)[:20])
def test_a_name_that_no_batch_can_have_is_told_with_the_rule_and_one_that_can_be(name: str) -> None:
    assert names.batch_fault(name) == BAD[name]
    said = names.batch_refusal(name)
    assert said is not None
    assert names.A_BATCH in said
    assert BAD[name] in said
    assert said.isprintable(), "it is shown on one line, and can be encoded"
    assert len(said) < 700
    assert names.batch_fault(names.plain(name)) is None
    assert f'Call it "{names.plain(name)}"' in said


@pytest.mark.parametrize("name", GOOD, ids=lambda name: repr(name)[:20])
def test_any_other_name_is_kept_as_it_is(name: str) -> None:
    assert (names.batch_fault(name), names.batch_refusal(name)) == (None, None)
    key = f"tasks/{name}/x.json"
    assert names.batch_of(key) == name
    assert tasks.key_fault(key) is None


@given(st.text())
def test_what_is_made_of_any_text_is_a_name_and_stays_the_same(text: str) -> None:
    made = names.plain(text)
    assert names.batch_fault(made) is None
    assert names.plain(made) == made


@given(st.text(min_size=1, max_size=MAX_BATCH_BYTES))
def test_whatever_is_made_of_a_good_name_fits(name: str) -> None:
    if names.batch_fault(name) is None:
        for derived in (f"reports/{name}/submission.json", f"accepted/runs/{name}/", f"tasks/{name}/x.json"):
            assert len(derived.encode()) <= MAX_OBJECT_KEY_BYTES // 2
            assert names.path_fault(derived.rstrip("/")) is None


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("tasks/team/monday/x.json", "2 folders"),
        ("tasks/2026/11/27/x.json", "3 folders"),
        ("tasks/../x.json", 'the folder ".."'),
        ("tasks/./x.json", 'the folder "."'),
        ("tasks/b/../x.json", 'the folder ".."'),
        ("tasks/b/./x.json", 'the folder "."'),
        ("tasks//x.json", "a folder without a name"),
        ("tasks/b//x.json", "a folder without a name"),
        ("//tasks/b/x.json", "a folder without a name"),
        ("recurring/nightly/../x.json", 'the folder ".."'),
        ("recurring//x.json", "a folder without a name"),
        ("tasks/ b/x.json", "a space at its begin or end"),
        ("tasks/b\\c/x.json", 'a "\\"'),
        (f"tasks/{'b' * 201}/x.json", "201 bytes"),
        ("tasks/b/..", 'the folder ".."'),
        ("tasks/b\x85/x.json", "a character that cannot be printed"),
    ],
)
def test_a_key_that_belongs_to_no_batch_or_that_no_url_can_carry_is_refused(key: str, found: str) -> None:
    fault = tasks.key_fault(key)
    assert fault is not None
    assert fault.found == found


def test_who_drops_into_a_folder_of_a_folder_is_told_where_to_copy_it() -> None:
    fault = tasks.key_fault("tasks/team/monday/x.json")
    assert fault is not None
    assert "copy it to tasks/team-monday/x.json" in fault.expected


@pytest.mark.parametrize(
    "key", ["tasks/x.json", "tasks/b/x.json", "tasks/b/x", "recurring/a/b/c/x.json", "tasks/b/.x.json"]
)
def test_other_keys_are_none_of_that(key: str) -> None:
    assert tasks.key_fault(key) is None


def test_a_refused_key_is_told_in_a_batch_that_can_be_reported() -> None:
    keys = {"tasks/../x.json": "default", "tasks//x.json": "default", "tasks/x.json": "default",
            f"tasks/{'b' * 900}/x.json": "default", "tasks/team/monday/x.json": "team"}  # fmt: skip
    assert {key: names.batch_of(key) for key in keys} == keys


@pytest.mark.parametrize("length", [*range(1000, 1025)])
def test_what_is_kept_about_a_key_of_any_length_has_a_key_of_its_own_that_fits(length: int) -> None:
    key = "tasks/b/" + "x" * (length - 8)
    derived = names.derived_key("rejected/", key)
    assert len(derived.encode()) <= MAX_OBJECT_KEY_BYTES
    assert derived.startswith("rejected/")
    assert derived != names.derived_key("rejected/", key[:-1] + "y")
    assert (derived == f"rejected/{key}.json") == (length <= 1010), "the key itself wherever it fits"


@given(st.text(min_size=1), st.text(min_size=1))
def test_no_two_keys_share_what_is_kept_about_them(one: str, other: str) -> None:
    derived = [names.derived_key("rejected/", key) for key in (one, other)]
    assert (derived[0] == derived[1]) == (one == other)
    for key in derived:
        assert len(key.encode()) <= MAX_OBJECT_KEY_BYTES
        assert names.path_fault(key) is None
