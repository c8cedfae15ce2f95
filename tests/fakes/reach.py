"""Which ports a function can reach: its handler's code, followed through the services by name.

Too much rather than too little: whatever is named is taken as called, and of a class all methods.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.fakes.house import COMMON, ROOT

SERVICES = COMMON / "arcspot" / "services"
PORTS = ("store", "objects", "compute", "workflow", "mail", "identity", "timers", "clock", "price_list")
CALLED = ("kick", "bell")
WRITES = ("store.write", "store.write_each", "store.add")

Definition = tuple[str, str]  # module, name


@cache
def _module(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _path(module: str) -> Path:
    return SERVICES / f"{module}.py"


@cache
def _names(path: Path) -> dict[str, Definition | str]:
    """Name in a module → the definition it means, or the service module it means."""
    found: dict[str, Definition | str] = {}
    own = path.stem
    for node in _module(path).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = (own, node.name)
        elif isinstance(node, ast.ImportFrom) and node.module == "arcspot.services":
            found |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("arcspot.services."):
            module = (node.module or "").rpartition(".")[2]
            found |= {alias.asname or alias.name: (module, alias.name) for alias in node.names}
    return found


def _body(path: Path, name: str) -> ast.AST | None:
    return next(
        (
            node
            for node in _module(path).body
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name
        ),
        None,
    )


def _mentions(path: Path, body: ast.AST) -> Iterator[Definition]:
    names = _names(path)
    for node in ast.walk(body):
        if isinstance(node, ast.Name) and isinstance(meant := names.get(node.id), tuple):
            yield meant
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = names.get(node.value.id)
            if isinstance(module, str):
                yield module, node.attr


def _uses(body: ast.AST) -> Iterator[str]:
    """`port.method` of every use of a port; `kick:function` for a kick."""
    for node in ast.walk(body):
        if isinstance(node, ast.Attribute) and _last(node.value).lstrip("_") in PORTS:
            yield f"{_last(node.value).lstrip('_')}.{node.attr}"
        elif isinstance(node, ast.Call) and _last(node.func) in CALLED and "ports" in ast.unparse(node.func):
            if _last(node.func) == "bell":
                yield "bell"
            else:
                yield f"kick:{ast.literal_eval(node.args[0])}"


def _last(node: ast.AST) -> str:
    """The last part of a dotted name."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


@cache
def reachable(function: str) -> frozenset[str]:
    """Every `port.method` that the handler of a function can come to."""
    uses = set(_uses(_module(_app(function))))
    for definition in definitions(function):
        body = _body(_path(definition[0]), definition[1])
        uses |= set(_uses(body)) if body is not None else set()
    return frozenset(uses)


def places(function: str) -> dict[tuple[str, int, int], Definition]:
    """Where a function can write rows or ask for objects: module, first and last line → whose code it is."""
    found = {}
    for module, name in definitions(function):
        body = _body(_path(module), name)
        for node in ast.walk(body) if body is not None else ():
            if isinstance(node, ast.Call) and _touches(node.func):
                found[(module, node.lineno, node.end_lineno or node.lineno)] = (module, name)
    return found


def subjects(function: str) -> frozenset[str]:
    """Of what a function's code adds to the history: the first words of the keys of all `Event(…)` in it."""
    found = set()
    for module, name in definitions(function):
        body = _body(_path(module), name)
        for node in ast.walk(body) if body is not None else ():
            if isinstance(node, ast.Call) and _last(node.func) == "Event":
                first = node.args[0].values[0] if isinstance(node.args[0], ast.JoinedStr) else node.args[0]
                found.add(str(ast.literal_eval(first)).partition("#")[0])
    return frozenset(found)


def _touches(called: ast.expr) -> bool:
    if not isinstance(called, ast.Attribute):
        return False
    port = _last(called.value).lstrip("_")
    return port == "objects" or (port == "store" and f"store.{called.attr}" in WRITES)


def _app(function: str) -> Path:
    return ROOT / "functions" / function / "app.py"


@cache
def definitions(function: str) -> frozenset[Definition]:
    """Every function and class of the services that a handler can come to."""
    app, seen = _app(function), set[Definition]()
    waiting = [each for each in _mentions(app, _module(app)) if each[0] != "app"]
    while waiting:
        definition = waiting.pop()
        path = _path(definition[0])
        if definition in seen or not path.exists():
            continue
        seen.add(definition)
        body = _body(path, definition[1])
        if body is not None:
            waiting += list(_mentions(path, body))
    return frozenset(seen)
