"""One trial: a copy of the tree, one change, the tests that must notice.

Its one rule: only a test that fails, or hangs, counts as noticing. A copy whose tests cannot be
collected has proved nothing, and neither has one whose tests fail without the change.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sabotage.change import Sabotage

ROOT = Path(__file__).resolve().parent.parent
MOST_SECONDS = 180.0

_LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv*", ".data", "__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache",
    ".hypothesis",
)  # fmt: skip
_OPTIONS = ("-q", "-rfE", "--no-header", "--tb=no", "-p", "no:cacheprovider")
_GREEN, _RED = 0, 1
_NOTICED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)
_KEPT = ("PATH", "HOME", "LANG", "TMPDIR")


class Rotten(Exception):
    """The sabotage does not fit the code any more."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of it: the test that went red first, None if all stayed green."""

    noticed_by: str | None
    seconds: float


def change(root: Path, sabotage: Sabotage) -> None:
    """Makes the change in the tree at `root`. Raises `Rotten` unless its text is there once."""
    path = root / sabotage.file
    text = path.read_text(encoding="utf-8")
    if text.count(sabotage.before) != 1:
        found = text.count(sabotage.before)
        raise Rotten(f"{sabotage.name}: its text is {found} times in {sabotage.file}, not once")
    path.write_text(text.replace(sabotage.before, sabotage.after), encoding="utf-8")


def attempt(sabotage: Sabotage) -> Trial:
    """Breaks a copy and runs the tests that must notice. Raises `Rotten`."""
    with _copy() as root:
        change(root, sabotage)
        began = time.monotonic()
        code, printed = _pytest(root, ("-x", *sabotage.tests))
        seconds = time.monotonic() - began
    if code == _GREEN:
        return Trial(None, seconds)
    if code is None:
        return Trial(f"(the tests hang for {MOST_SECONDS:g} s)", seconds)
    noticed = _NOTICED.search(printed)
    if code != _RED or noticed is None:
        raise Rotten(f"{sabotage.name}: the tests cannot be run:\n{printed[-2000:]}")
    return Trial(noticed[1], seconds)


def rehearse(sabotages: Iterable[Sabotage]) -> str | None:
    """Runs the same tests without any change; what they printed if one fails."""
    with _copy() as root:
        for tests in dict.fromkeys(sabotage.tests for sabotage in sabotages):
            code, printed = _pytest(root, ("-x", *tests))
            if code != _GREEN:
                return printed[-4000:]
    return None


@contextmanager
def _copy() -> Iterator[Path]:
    """A copy of the tree, in a temporary folder that goes with it."""
    home = Path(tempfile.mkdtemp(prefix="sabotage-"))
    try:
        yield Path(shutil.copytree(ROOT, home / "tree", ignore=_LEFT_OUT))
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _pytest(root: Path, arguments: tuple[str, ...]) -> tuple[int | None, str]:
    """Its exit code (None if it was stopped) and what it printed. It has a folder of its own for
    what is temporary: in the usual one, pytest would take away the rights that a database needs
    which another run is just making there."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *_OPTIONS, f"--basetemp={root.parent}/tests", *arguments],
        cwd=root,
        env={**kept, "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        printed, _ = process.communicate(timeout=MOST_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        printed, _ = process.communicate()
        return None, printed
    return process.returncode, printed
