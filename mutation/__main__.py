"""`python -m mutation [file[:line] …]`: small changes in the code, and how many the tests notice.

Without files: all of `mutation/targets.py`. Prints each change that no test noticed, and the
figures. Fails below 90 % in any file.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mutation.mutants import Mutant, mutants_of
from mutation.targets import ROOT, target_files, tests_of
from mutation.transplant import (
    Unreachable,
    called_at_import,
    exchange,
    functions_of,
    import_anew,
)
from mutation.trial import Trials

FLOOR = 0.9
_OPTIONS = ["-q", "-s", "--no-header", "--no-summary", "--noconftest"]
_OPTIONS += ["--assert=plain", "--tb=native", "-p", "no:cacheprovider", "-p", "no:xdist"]


@dataclass(slots=True)
class Score:
    """What became of the mutants of a file."""

    file: str
    made: int = 0
    killed: int = 0

    @property
    def share(self) -> float:
        """The part that was noticed."""
        return self.killed / self.made if self.made else 1.0

    def __str__(self) -> str:
        return f"{self.file}: {self.killed} of {self.made} killed ({self.share:.1%})"


class Judge:
    """A pytest plugin that runs the collected tests on every mutant of one file."""

    def __init__(self, file: str, line: int | None, every: int, tests: list[str]) -> None:
        self.score = Score(file)
        self._path = ROOT / file
        self._line = line
        self._every = every
        self._tests = tests

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Takes the place of running the tests once."""
        if session.testsfailed:
            raise session.Interrupted("the tests could not be collected")
        trials = Trials(session)
        failing = trials.rehearse()
        if failing is not None:
            raise session.Interrupted(f"{failing} fails without any change")
        source = self._path.read_text(encoding="utf-8")
        tree = ast.parse(source)
        original = compile(source, str(self._path), "exec", dont_inherit=True)
        functions = functions_of(self._path)
        at_import = called_at_import(tree)
        name = self.score.file.removesuffix(".py").replace("/", ".")

        for mutant in self._chosen(tree):
            take_back = mutant.apply()
            mutated = compile(
                ast.fix_missing_locations(tree), str(self._path), "exec", dont_inherit=True
            )
            take_back()

            def change() -> int | None:
                try:
                    exchange(functions, original, mutated, at_import)  # noqa: B023  # runs at once
                except Unreachable:
                    import_anew(name, self._path, mutated)  # noqa: B023  # runs at once
                    return int(pytest.main([*_OPTIONS, "-x", *self._tests]))
                return None

            self._count(mutant, trials.notices(change))
        return True

    def _chosen(self, tree: ast.Module) -> Iterator[Mutant]:
        made = [one for one in mutants_of(tree) if self._line in (None, one.line)]
        yield from made[:: self._every]

    def _count(self, mutant: Mutant, killed: bool) -> None:
        self.score.made += 1
        self.score.killed += killed
        if not killed:
            print(f"{self.score.file}:{mutant.line}: {mutant.text}", flush=True)


def judge(file: str, line: int | None, every: int) -> Score:
    """Tries every mutant of a file. Raises `RuntimeError` if its tests fail as it is."""
    tests = tests_of(file)
    judge_of_file = Judge(file, line, every, tests)
    code = pytest.main([*_OPTIONS, *tests], plugins=[judge_of_file])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise RuntimeError(f"the tests of {file} fail without any change")
    return judge_of_file.score


def main() -> int:
    """The command: 1 if too many mutants of a file live."""
    parser = argparse.ArgumentParser(prog="python -m mutation", description=__doc__)
    parser.add_argument("files", nargs="*", help="such as engine/state.py or engine/state.py:120")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only each Nth mutant")
    chosen = parser.parse_args()
    scores = []
    for named in chosen.files or target_files():
        file, _, line = named.partition(":")
        scores.append(judge(str(Path(file)), int(line) if line else None, chosen.every))
        print(scores[-1], flush=True)
    print(Score("all", sum(one.made for one in scores), sum(one.killed for one in scores)))
    return 0 if all(one.share >= FLOOR for one in scores) else 1


if __name__ == "__main__":
    sys.exit(main())
