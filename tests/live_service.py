"""A really started service, and the shell of somebody who follows the documentation.

The service is the command a newcomer starts, in an empty directory on a free port; the shell runs
a page's commands there, so that `.data/api-key` is where the page says. Only the port differs.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.markdown import ROOT, Block
from tests.processes import free_port
from tests.waiting import PATIENCE_SECONDS

SHOWN_PORT = "127.0.0.1:8070"

# Every call is kept: a page's `curl` may stand in a pipe or in `$( )`.
PRELUDE = """
set -euo pipefail
curl() {
  local n; n=$(($(cat n) + 1)); echo $n > n
  command curl -sS -o "$n.body" "$@" -w '%{http_code}' > "$n.status"
  cat "$n.body"
}
"""


@dataclass(frozen=True, slots=True)
class Call:
    """What one `curl` got."""

    status: int
    body: str

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class LiveService:
    """A running service: the directory it was started in, its port, and what it has printed."""

    home: Path
    port: int
    printed: list[str]

    def follow(self, page: list[Block]) -> dict[int, Call]:
        """Runs a page's commands in one shell; the last call of each block, by the block's line.

        Raises `AssertionError` if a command fails.
        """
        notes = self.home / "shell"
        shutil.rmtree(notes, ignore_errors=True)
        notes.mkdir()
        (notes / "n").write_text("0")
        (notes / ".data").symlink_to(self.home / ".data")
        script = [PRELUDE]
        for block in page:
            script += [block.text.replace(SHOWN_PORT, f"127.0.0.1:{self.port}")]
            script += [f"cp n at.{block.line}"]
        done = subprocess.run(
            ["bash", "-c", "\n".join(script)],
            cwd=notes,
            env=_environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return {block.line: _call(notes, block.line) for block in page}


@contextmanager
def started(home: Path) -> Iterator[LiveService]:
    """Starts the service in `home` and stops it, gently, afterwards."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "app"],
        cwd=home,
        env={**_environment(), "PORT": str(port), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    printed: list[str] = []
    ready = threading.Event()
    reader = threading.Thread(target=_read, args=(process, printed, ready), daemon=True)
    reader.start()
    try:
        assert ready.wait(PATIENCE_SECONDS), "".join(printed)
        assert process.poll() is None, "".join(printed)
        yield LiveService(home, port, printed)
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE_SECONDS)
        finally:
            process.kill()
            reader.join(PATIENCE_SECONDS)
            if process.stdout is not None:
                process.stdout.close()


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    """One service for all pages of this run."""
    with started(tmp_path_factory.mktemp("live")) as service:
        yield service


def _read(process: subprocess.Popen[str], printed: list[str], ready: threading.Event) -> None:
    """Keeps what the service prints; an end without a welcome is the end of waiting too."""
    assert process.stdout is not None
    for line in process.stdout:
        printed.append(line)
        if "is running on http" in line:
            ready.set()
    ready.set()


def _call(notes: Path, line: int) -> Call:
    number = (notes / f"at.{line}").read_text().strip()
    return Call(
        int((notes / f"{number}.status").read_text()), (notes / f"{number}.body").read_text()
    )


def _environment() -> dict[str, str]:
    """A newcomer's: none of the settings this machine happens to have."""
    kept = ("PATH", "HOME", "LANG", "TMPDIR")
    return {name: os.environ[name] for name in kept if name in os.environ}
