"""The codes of findings, collected from the code that can give them.

The one rule: nothing is listed by hand. A code is a constant where a finding is made: the first
argument of the calls below, or what is assigned to `code` or to `SHAPE` before one.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.markdown import ROOT

_MAKERS = frozenset({"Finding", "Problem", "ConditionError", "error", "warn", "report", "_report"})
_NAMED = frozenset({"code", "SHAPE"})
_CODE = re.compile(r"[A-Z]{2,}(?:_[A-Z]+)*")

INNER = frozenset({"VALIDATION"})
"""What a node's own check and a condition give where they need no code of their own: the
validator makes it BAD_CONFIG and BAD_CONDITION."""


def finding_codes() -> set[str]:
    """Every code that the reader and the validator can give."""
    codes = {code for file in _judges() for code in _given(file)}
    return codes - INNER


def _judges() -> Iterator[Path]:
    engine = ROOT / "engine"
    for pattern in ("definition*.py", "validation*.py", "static_*.py", "region*.py"):
        yield from engine.glob(pattern)
    yield from (engine / "nodes").glob("*.py")
    yield from (engine / "issues.py", engine / "conditions.py")


def _given(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and _name(node.func) in _MAKERS and node.args:
            yield from _constants(node.args[0])
        elif isinstance(node, ast.Assign) and _name(node.targets[0]) in _NAMED:
            yield from _constants(node.value)


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _constants(node: ast.expr) -> Iterator[str]:
    for part in ast.walk(node):
        value = part.value if isinstance(part, ast.Constant) else None
        if isinstance(value, str) and _CODE.fullmatch(value):
            yield value
