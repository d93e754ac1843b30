"""What a clone needs to be built the same way everywhere."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-audit.lock")


def lock(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def pins(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==([^\s;]+)", lock(name), re.MULTILINE))


def declared(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w.-]", requirement)[0] for requirement in requirements}


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_no_host(name: str) -> None:
    assert not re.search(r"://|--(extra-)?index-url|--find-links", lock(name))


@pytest.mark.parametrize("name", LOCKS)
def test_every_pin_has_a_hash(name: str) -> None:
    entries = re.split(r"^(?=[\w.-]+==)", lock(name), flags=re.MULTILINE)[1:]
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_the_locks_agree() -> None:
    assert pins("requirements.lock").items() <= pins("requirements-dev.lock").items()


def test_what_the_project_declares_is_locked() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project, groups = settings["project"], settings["dependency-groups"]
    development = project["optional-dependencies"]["dev"]
    assert declared(project["dependencies"]) <= pins("requirements.lock").keys()
    assert declared(development) <= pins("requirements-dev.lock").keys()
    assert declared(groups["audit"]) <= pins("requirements-audit.lock").keys()


def test_continuous_integration_can_be_run() -> None:
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_the_image_gets_every_module_of_the_service() -> None:
    let_in = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    modules = {f"!{path.name}" for path in ROOT.glob("*.py")}
    assert modules
    assert modules <= set(let_in)


class TestAudit:
    """`.ci/audit`, with a stand-in for pip-audit."""

    @staticmethod
    def audit(tool: Path, script: str) -> subprocess.CompletedProcess[str]:
        tool.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        tool.chmod(0o755)
        return subprocess.run(
            [ROOT / ".ci" / "audit", tool], capture_output=True, text=True, check=False
        )

    def test_a_flaw_fails_and_is_named(self, tmp_path: Path) -> None:
        flaw = '{"id": "PYSEC-1", "fix_versions": ["2.0"]}'
        found = f'{{"dependencies": [{{"name": "a", "version": "1.0", "vulns": [{flaw}]}}]}}'
        # The report's path is the last argument.
        done = self.audit(tmp_path / "tool", f"for out; do :; done; echo '{found}' > $out; exit 1")
        assert done.returncode == 1
        assert "a 1.0: PYSEC-1, mended in 2.0" in done.stdout

    def test_an_advisory_service_out_of_reach_is_said_and_passes(self, tmp_path: Path) -> None:
        done = self.audit(tmp_path / "tool", "exit 1")
        assert done.returncode == 0
        assert "out of reach" in done.stderr
