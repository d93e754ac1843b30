"""The documentation is true: what it shows is executed or compared with the code.

`execution-api.md` is followed by a shell against a really started service; the tables of routes,
error codes and variables are held against the code that has them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app import create_app
from config import Config
from tests.live_service import LiveService
from tests.markdown import (
    DOCS,
    NONE,
    ROOT,
    Block,
    blocks,
    differences,
    rows,
    section,
    sent_events,
)

PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
API = (DOCS / "execution-api.md").read_text(encoding="utf-8")
OPERATIONS = (DOCS / "operations.md").read_text(encoding="utf-8")

_CODE = re.compile(r"`([^`]+)`")
_NAME = re.compile(r"[A-Z]{2,}(?:_[A-Z]+)*")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_PARAMETER = re.compile(r"<(?:[a-z]+:)?([a-z_]+)>")


# Every page


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_a_page_names_no_path_of_one_machine(page: Path) -> None:
    text = page.read_text(encoding="utf-8")

    assert re.findall(r"(?:^|[^\w.])/(?:home|root|tmp|Users|mnt|opt)/\w+", text) == []


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_a_link_leads_somewhere(page: Path) -> None:
    dead = [link for link in _LINK.findall(page.read_text(encoding="utf-8")) if _leads(page, link)]

    assert dead == []


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_a_json_block_is_json(page: Path) -> None:
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.language == "json":
            block.json()


def _leads(page: Path, link: str) -> bool:
    """Whether a link within the repository leads nowhere."""
    if "://" in link:
        return False
    file, _, anchor = link.partition("#")
    target = (page.parent / file) if file else page
    if not target.exists():
        return True
    return bool(anchor) and anchor not in _anchors(target.read_text(encoding="utf-8"))


def _anchors(text: str) -> set[str]:
    """GitHub's anchors of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# execution-api.md


def test_the_api_answers_what_its_reference_shows(live: LiveService) -> None:
    page = blocks(API)
    calls = live.follow([block for block in page if block.language == "bash"])

    wrong: list[str] = []
    asked: Block | None = None
    for block in page:
        if block.language == "bash":
            asked = block
        elif asked is not None and block.status is not None:
            answer, asked = calls[asked.line], None
            where = f"line {block.line}"
            if answer.status != block.status:
                wrong.append(f"{where}: shows {block.status}, got {answer.status}: {answer.body}")
            if block.language == "sse":
                shown, got = sent_events(block.text), sent_events(answer.body)
            else:
                shown, got = block.json(), answer.json()
            wrong += [f"{where} {each}" for each in differences(shown, got)]
    assert wrong == []


def test_every_call_of_the_reference_shows_its_answer() -> None:
    page = [block for block in blocks(API) if block.language == "bash" or block.status]

    assert [block.language for block in page[::2]] == ["bash"] * (len(page) // 2)
    assert {block.language for block in page[1::2]} == {"json", "sse"}


def test_the_reference_has_every_route_and_no_other() -> None:
    app = create_app(Config())
    routes = {
        f"{method} {_shown_rule(rule.rule)}"
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }

    assert set(re.findall(r"`((?:GET|POST|PUT|DELETE|PATCH) /\S+)`", API)) == routes


def _shown_rule(rule: str) -> str:
    """A route as the reference writes it: `/workflows/:workflow_id`."""
    return _PARAMETER.sub(r":\1", rule)


def test_the_reference_has_every_error_code_and_no_other() -> None:
    text = section(API, "Errors")
    shown = {cells[1].strip("`") for cells in rows(text) if cells[0].isdigit()}
    mentioned = {code for code in _CODE.findall(text) if _NAME.fullmatch(code)}
    written = {
        code
        for layer in ("engine", "services", "controllers")
        for code in _strings(ROOT / layer / "errors.py")
    }

    assert written - mentioned == set()
    assert shown - written == set()


def _strings(file: Path) -> Iterator[str]:
    """The upper-case words that a module holds as whole strings."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        value = node.value if isinstance(node, ast.Constant) else None
        if isinstance(value, str) and _NAME.fullmatch(value):
            yield value


# operations.md


def test_every_variable_is_explained_with_its_default() -> None:
    read = _variables()
    table = {
        cells[0].strip("`"): cells[1].strip("`")
        for cells in rows(section(OPERATIONS, "Configuration"))
        if _NAME.fullmatch(cells[0].strip("`"))
    }

    assert table == read


def test_the_example_file_has_every_variable_with_its_default() -> None:
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    written = dict(re.findall(r"^#?([A-Z][A-Z0-9_]*)=(.*)$", text, re.MULTILINE))
    defaults = {name: "" if value == NONE else value for name, value in _variables().items()}

    assert written == defaults


def test_every_default_is_a_value_one_may_write() -> None:
    for name, default in _variables().items():
        if default != NONE:
            assert Config.from_env({name: default}) is not None


def _variables() -> dict[str, str]:
    """The variables config.py reads, and their defaults as one would write them."""
    names: list[str] = []
    for node in ast.walk(ast.parse((ROOT / "config.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and _NAME.fullmatch(str(first.value)):
                names.append(str(first.value))
    config = Config()
    fields = {"WADDLEBOT_TRANSPORT": "transport"}
    return {name: _written(getattr(config, fields.get(name, name.lower()))) for name in names}


def _written(value: Any) -> str:
    if isinstance(value, tuple):
        value = ",".join(value)
    if isinstance(value, float):
        value = f"{value:g}"
    return NONE if value in (None, "") else str(value)
