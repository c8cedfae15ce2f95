"""Text that strangers wrote leaves through one function for each edge, and nobody goes around it.

The walk looks at every call that writes to a terminal, a log, a mail or a page: only the modules of the edges
may make it. The properties say what comes out, whatever went in.
"""

from __future__ import annotations

import ast
import json
import re
import unicodedata
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

from hypothesis import example, given
from hypothesis import strategies as st

from arcspot.domain import edges
from gpu_runner import saying

ROOT = Path(__file__).parents[2]
FOLDERS = ("layers/common/arcspot", "functions", "gpu_runner", "arcspot_cli", "arcspot_simulator", "bench")

RAW = re.compile(
    r"print|click\.(echo|secho|style|progressbar|prompt|confirm|echo_via_pager|getchar|edit)|pprint\.\w+"
    r"|sys\.(stdout|stderr|__stdout__|__stderr__)(\.buffer)?\.write(lines)?|(.*\.)?stream\.write(lines)?"
    r"|os\.write|os\.system|traceback\.print_\w+|(rich\.)?(\w+\.)?Console|(\w+\.)*StreamHandler|(\w+\.)*publish"
    r"|(html\.)?escape|(saxutils\.)?(quoteattr|xmlescape)|logging\.basicConfig|warnings\.showwarning"
)
AT_THE_EDGE = {
    "arcspot_cli/terminal.py": {"click.echo", "click.progressbar", "click.prompt", "click.confirm"},
    "arcspot_cli/showing.py": {"Console"},  # of tables, each of whose cells is a line
    "arcspot_cli/local/patches.py": {"escape"},  # XML that the emulator answers with
    "arcspot_cli/local/refusals.py": {"escape"},  # the same
    "gpu_runner/saying.py": {"print"},
    "gpu_runner/solver/progress.py": {"self.stream.write"},  # the line of a training, through saying.line
    "gpu_runner/logs.py": {"logging.StreamHandler"},
    "layers/common/arcspot/domain/edges.py": {"escape"},
    "layers/common/arcspot/aws/messages.py": {"self._client.publish"},
}


def sources() -> Iterator[tuple[str, ast.Module]]:
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


def dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Name):
        return node.id
    return f"{dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else "?"


def names_in(tree: ast.AST) -> Iterator[str]:
    """Every name that is called, or handed to somebody who will."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield dotted(node.func)
            yield from (dotted(each) for each in (*node.args, *(word.value for word in node.keywords)))
        elif isinstance(node, ast.FunctionDef | ast.Lambda):
            yield from (dotted(each) for each in (*node.args.defaults, *node.args.kw_defaults) if each)


def test_only_the_edges_write_to_what_people_look_at() -> None:
    found = {
        path: raw
        for path, tree in sources()
        if (raw := {name for name in names_in(tree) if RAW.fullmatch(name)})
    }
    assert found == AT_THE_EDGE


def test_nobody_ends_with_words_that_went_through_no_edge() -> None:
    """`sys.exit("words")` writes them to stderr; measurements may, their words are their own."""
    for path, tree in sources():
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and dotted(call.func) in ("sys.exit", "SystemExit", "exit"):
                words = [each for each in call.args if isinstance(each, ast.JoinedStr | ast.BinOp)]
                texts = [each for each in call.args if isinstance(each, ast.Constant | ast.Attribute)
                         and not isinstance(getattr(each, "value", None), int)]  # fmt: skip
                assert path.startswith("bench/") or not (words or texts), path


def test_every_handler_logs_lines_that_are_bounded() -> None:
    loggers = [
        (path, [ast.unparse(word) for word in call.keywords])
        for path, tree in sources()
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and dotted(call.func).rsplit(".", 1)[-1] == "Logger"
        if not path.startswith("bench/")  # a peer's solver has one of that name
    ]
    assert len(loggers) == len(list((ROOT / "functions").glob("*/app.py")))
    assert {tuple(words) for _, words in loggers} == {("json_serializer=log_line",)}


def test_every_page_has_a_policy_and_every_picture_is_drawn_by_one_hand() -> None:
    for path, tree in sources():
        texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
        markup = [
            text for text in texts if isinstance(text, str) and re.search(r"<(html|svg|script)\b", text)
        ]
        if any("<html" in text for text in markup):
            assert any("Content-Security-Policy" in str(text) for text in texts), path
        imports = {alias.asname or alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
                   for alias in node.names}  # fmt: skip
        assert not markup or "text" in imports or path.endswith("drawing.py"), path


HOSTILE = (
    "\x1b[2J\x1b]0;title\x07", "</script><svg onload=alert(1)>", "\r\nBcc: all@example.com", "\u202egnp.exe",
    "a\u2028b\u2029c\x85d", "x" * 10_240, "\ud800\udfff", "\x9b31m", "\u200bzero\u2066width\u2069\ufeff",
    "\x00\x7f",
    "\" onmouseover=\"x", "' autofocus='", "&lt;", "\U000e0041", "javascript:alert(1)",
)  # fmt: skip
anything = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(st.characters(), max_size=60),
    st.text("\x1b[]0;m\r\n<>\"'&", max_size=20),
)


def shows_itself(text: str) -> bool:
    return all(c.isprintable() or unicodedata.category(c) == "Zs" for c in text)


@given(anything)
@example("\n")
def test_a_line_is_one_line_that_moves_nothing(text: str) -> None:
    told = edges.line(text)
    assert shows_itself(told)
    assert len(told) <= 10 * edges.MOST_OF_A_LINE
    assert told == edges.line(told) or len(text) > edges.MOST_OF_A_LINE
    told.encode()
    assert saying.line(text) == told


@given(anything)
def test_a_picture_keeps_its_colours_and_nothing_else(text: str) -> None:
    told = edges.coloured(f"\x1b[48;2;0;1;2m  \x1b[0m{text}")
    assert told.startswith("\x1b[48;2;0;1;2m  \x1b[0m")
    assert shows_itself(re.sub(r"\x1b\[[0-9;]*m", "", told))


@given(anything, anything)
def test_a_mail_has_the_header_that_we_wrote(subject: str, body: str) -> None:
    told = edges.subject(f"arcspot: {subject}")
    assert re.fullmatch(r"[!-~][ -~]{0,98}", told)
    text = edges.body(f"Batch {edges.line(body, most=200)}\n\nnext\n")
    assert text.count("\n") == 3
    assert all(shows_itself(line) for line in edges.body(body).split("\n"))
    assert 1 <= len(edges.body(body).encode()) <= 256 * 1024
    assert re.fullmatch(r"[!-~][ -~]{0,98}", edges.subject(subject))


def test_a_mail_of_megabytes_is_cut() -> None:
    assert len(edges.body("é" * 5_000_000).encode()) <= 256 * 1024
    assert len(edges.body("é\n" * 500_000).encode()) <= 256 * 1024


class Wordless:
    def __str__(self) -> str:
        raise RuntimeError("nothing to say")


def nested(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.lists(inner, max_size=4) | st.dictionaries(anything, inner, max_size=4)


deep = st.recursive(anything | st.integers() | st.floats() | st.none(), nested, max_leaves=20)


@given(st.dictionaries(anything, deep, max_size=5))
def test_a_line_of_a_log_is_one_bounded_line_of_json(entry: dict[str, object]) -> None:
    told = edges.log_line(entry)
    assert told.isascii()
    assert told.isprintable()
    assert isinstance(json.loads(told), dict)
    assert len(told) <= 200_000


def test_whatever_is_logged_a_line_comes_out() -> None:
    endless: list[object] = []
    endless.append(endless)
    entry = {
        "long": "x" * 5_000_000, "deep": endless, "odd": Wordless(), "bytes": b"\xff", "huge": 10**5000,
        "many": list(range(100_000)), "names": {"n" * 10_000: 1}, 5: {1, 2},
    }  # fmt: skip
    told = edges.log_line(entry)  # type: ignore[arg-type]
    assert len(told) < 200_000
    assert "Wordless" in told
    ends = edges.log_line({"exception": "begin" + "x" * 9_000 + "ValueError: the end"})
    assert "begin" in ends
    assert "the end" in ends


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[object] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, [name for name, _ in attrs]))

    def handle_endtag(self, tag: str) -> None:
        self.seen.append(tag)


@given(anything)
def test_markup_is_text_in_a_page_and_in_a_picture(text: str) -> None:
    told = edges.markup(text)
    page = f"<p title=\"{told}\" lang='{told}'>{told}</p>"
    tags = Tags()
    tags.feed(page)
    tags.close()
    assert tags.seen == [("p", ["title", "lang"]), "p"]
    (element,) = [ElementTree.fromstring(page)]
    assert len(element) == 0
    assert shows_itself(re.sub(r"[\t\r\n]", "", told))
    assert not {"<", ">", '"', "'"} & set(told)
