"""The sabotages fit the code as it is, and the trial tells red from green and from broken.

`make sabotage` tries all of them; that is too long for here.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sabotage import trial
from sabotage.catalogue import SABOTAGES
from sabotage.change import Sabotage
from sabotage.trial import ROOT, Rotten, Trial, attempt, change

CODE = "def answer() -> int:\n    return 42\n"
TESTS = (
    "from code_under_test import answer\n\n\ndef test_it() -> None:\n    assert answer() == 42\n"
)
BREAKS = Sabotage(
    "breaks", "it is 42", "G0", "code_under_test.py", "return 42", "return 43", ("test_it.py",)
)


@pytest.fixture
def small_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of one function and one test, in the place of ours."""
    (tmp_path / "code_under_test.py").write_text(CODE)
    (tmp_path / "test_it.py").write_text(TESTS)
    monkeypatch.setattr(trial, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize("sabotage", SABOTAGES, ids=lambda s: s.name)
def test_a_sabotage_stands_in_its_file_once_and_its_tests_exist(sabotage: Sabotage) -> None:
    text = (ROOT / sabotage.file).read_text(encoding="utf-8")
    assert text.count(sabotage.before) == 1
    assert sabotage.after != sabotage.before
    assert (ROOT / sabotage.tests[0]).is_file()


def test_no_two_sabotages_have_one_name() -> None:
    names = [sabotage.name for sabotage in SABOTAGES]
    assert sorted(set(names)) == sorted(names)


def test_a_sabotage_that_a_test_notices_names_the_test(small_tree: Path) -> None:
    assert attempt(BREAKS).noticed_by == "test_it.py::test_it"
    assert (small_tree / "code_under_test.py").read_text() == CODE


@pytest.mark.usefixtures("small_tree")
def test_a_sabotage_that_nobody_notices_is_told_apart() -> None:
    found: Trial = attempt(replace(BREAKS, after="return 6 * 7"))
    assert found.noticed_by is None


@pytest.mark.usefixtures("small_tree")
def test_a_copy_whose_tests_cannot_be_collected_proves_nothing() -> None:
    with pytest.raises(Rotten, match="cannot be run"):
        attempt(replace(BREAKS, after="return ("))


@pytest.mark.parametrize("before", ["return 41", "n"])
def test_a_text_that_is_not_there_exactly_once_is_refused(small_tree: Path, before: str) -> None:
    with pytest.raises(Rotten, match="not once"):
        change(small_tree, replace(BREAKS, before=before))
