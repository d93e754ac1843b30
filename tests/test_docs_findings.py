"""Every finding of the reader and the validator is explained, tested and true.

The codes are collected from the code. The reference has a paragraph for each, with examples that
give exactly that finding at that place, and a mended form that gives none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest

from engine.context import Limits
from engine.issues import Issue
from engine.validation import validate
from tests.engine.validation_cases import CASES
from tests.finding_codes import finding_codes
from tests.markdown import DOCS, blocks, section

VALIDATION = section((DOCS / "workflow-definition.md").read_text(encoding="utf-8"), "Validation")
BASE = blocks(VALIDATION.partition("\n### ")[0])[1].json()
EXPLAINED = re.findall(r"^### `(\w+)`$", VALIDATION, re.MULTILINE)

_LIMIT = re.compile(r"With `(MAX_\w+)` (\d+):")


@dataclass(frozen=True)
class Example:
    """A broken document, what the reference says of it, and the mended one."""

    code: str
    broken: Any
    quote: str
    mended: Any
    limits: Limits


def patched(document: Any, patch: Any) -> Any:
    """A JSON merge patch, applied (RFC 7386)."""
    if not isinstance(patch, dict):
        return patch
    made = dict(document) if isinstance(document, dict) else {}
    for name, value in patch.items():
        if value is None:
            made.pop(name, None)
        else:
            made[name] = patched(made.get(name), value)
    return made


def examples_of(code: str) -> list[Example]:
    """The examples of a paragraph; its blocks come in pairs with a quote between them."""
    text = section(VALIDATION, f"`{code}`")
    limits = Limits(**{name.lower(): int(most) for name, most in _LIMIT.findall(text)})
    given = blocks(text)
    return [
        Example(
            code,
            patched(BASE, broken.json()),
            mended.before.strip(),
            patched(BASE, mended.json()),
            limits,
        )
        for broken, mended in zip(given[::2], given[1::2], strict=True)
    ]


def quoted(issue: Issue) -> str:
    """A finding as the reference shows it."""
    hint = f" — {issue.hint}" if issue.hint else ""
    return f"> `{issue.path}`: {issue.message}{hint}"


EXAMPLES = [example for code in EXPLAINED for example in examples_of(code)]


def test_the_reference_explains_every_finding_and_no_other() -> None:
    assert set(EXPLAINED) == finding_codes()
    assert len(EXPLAINED) == len(set(EXPLAINED))


def test_every_finding_has_an_example_and_a_case_of_its_own() -> None:
    assert {example.code for example in EXAMPLES} == finding_codes()
    assert {case.code for case in CASES} == finding_codes()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.code)
def test_an_example_gives_exactly_the_finding_it_shows(example: Example) -> None:
    issues = validate(example.broken, example.limits).issues

    assert [issue.code for issue in issues] == [example.code]
    assert quoted(issues[0]) == example.quote


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.code)
def test_the_mended_form_of_an_example_is_clean(example: Example) -> None:
    assert validate(example.mended, example.limits).issues == ()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.code)
def test_a_paragraph_says_whether_it_is_an_error_and_when_it_arises(example: Example) -> None:
    text = section(VALIDATION, f"`{example.code}`").strip()
    (issue,) = validate(example.broken, example.limits).issues

    kind = "Warning" if issue.warning else "Error"
    assert re.match(rf"{kind}\. [A-Z`].{{20,}}", text)
