"""What is mutated, and which tests must notice.

One rule: a file is judged by the tests of its own subject, so that what kills a mutant is a test
that says what was wrong, and not some far-off failure. Tests of random or hostile expressions are
left out: they are slow, and the figures must be the same every time.
"""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

_LEFT_OUT = ("_oracle.py", "_hostile.py", "_audit.py")

_STATE = (
    "tests/engine/test_state*.py",
    "tests/engine/test_frontier*.py",
    "tests/engine/test_scopes*.py",
)

_TESTS = {
    "engine/expression*.py": ("tests/engine/test_expression*.py", "tests/engine/test_templates.py"),
    "engine/condition*.py": ("tests/engine/test_condition*.py",),
    "engine/state.py": _STATE,
    "engine/frontier.py": _STATE,
    "engine/scopes.py": _STATE,
}


def target_files() -> list[str]:
    """Every file that is mutated when none is named, relative to the root."""
    return [
        str(path.relative_to(ROOT)) for pattern in _TESTS for path in sorted(ROOT.glob(pattern))
    ]


def tests_of(file: str) -> list[str]:
    """The test files for a source file. Raises `LookupError` if nobody said which they are."""
    for pattern, tests in _TESTS.items():
        if fnmatch(file, pattern):
            found = {str(path) for one in tests for path in ROOT.glob(one)}
            return sorted(one for one in found if not one.endswith(_LEFT_OUT))
    raise LookupError(f"mutation/targets.py names no tests for {file}")
