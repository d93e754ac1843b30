"""The page on security is true: what it names exists, and no risk is left out."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from tests.markdown import DOCS, ROOT, rows, section

PAGE = (DOCS / "security.md").read_text(encoding="utf-8")
POLICY = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
TOP_TEN = section(PAGE, "OWASP API Security Top 10 (2023)")
ASVS = section(PAGE, "OWASP ASVS 5.0")

_TEST = re.compile(r"`(tests/[a-z0-9_/]+\.py)::(test_[a-z0-9_]+)`")


@cache
def names_of(path: str) -> set[str]:
    file = ROOT / path
    if not file.is_file():
        return set()
    tree = ast.parse(file.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, kinds)}


def test_every_test_that_the_page_names_exists() -> None:
    named = _TEST.findall(PAGE)
    missing = [f"{path}::{name}" for path, name in named if name not in names_of(path)]

    assert len(named) > 60
    assert missing == []


@pytest.mark.parametrize("table", [TOP_TEN, ASVS], ids=["Top 10", "ASVS"])
def test_every_row_says_what_is_done_and_which_test_shows_it(table: str) -> None:
    for risk, done, shown in list(rows(table))[2:]:  # behind the heading and its rule
        assert done, risk
        assert _TEST.sub("", shown).strip() == "", f"{risk}: only tests stand here"
        assert _TEST.findall(shown), risk


def test_none_of_the_ten_is_left_out() -> None:
    numbers = {int(found) for found in re.findall(r"^\| API(\d+)\b", TOP_TEN, re.MULTILINE)}

    assert numbers == set(range(1, 11))


def test_every_file_of_attacks_is_named_by_the_page() -> None:
    files = {f"tests/security/{path.name}" for path in (ROOT / "tests/security").glob("test_*.py")}

    assert files == {path for path, _ in _TEST.findall(PAGE) if path.startswith("tests/security/")}


def test_the_files_that_both_pages_link_to_exist() -> None:
    for text, base in ((PAGE, DOCS), (POLICY, ROOT)):
        links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text)]
        assert links
        assert [link for link in links if not (base / link).exists()] == []


def test_the_policy_names_no_address_that_nobody_reads() -> None:
    assert not re.findall(r"[\w.]+@[\w.]+|mailto:|https?://", POLICY)
