"""The README is true: its lines are run as they stand, and answer what it shows."""

from __future__ import annotations

import re

from tests.live_service import LiveService
from tests.markdown import ROOT, Block, blocks, differences

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_lines_of_the_readme_give_what_it_shows(live: LiveService) -> None:
    page = blocks(TEXT)
    calls = live.follow([block for block in page if block.language == "bash"])

    wrong: list[str] = []
    asked: Block | None = None
    for block in page:
        if block.language == "bash":
            asked = block
        elif block.language == "json" and asked is not None:
            answer = calls[asked.line]
            wrong += [f"line {block.line}: got {answer.status}"] * (answer.status != block.status)
            wrong += [
                f"line {block.line} {each}" for each in differences(block.json(), answer.json())
            ]
    assert wrong == []


def test_every_curl_line_of_the_readme_is_run_and_shows_its_answer() -> None:
    page = [block for block in blocks(TEXT) if block.language in ("bash", "json")]

    assert [block.language for block in page] == ["bash", "json"] * 5
    assert all(block.text.count("curl ") == 1 for block in page if block.language == "bash")
    assert TEXT.count("curl ") == 5


def test_the_targets_that_the_readme_names_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))

    assert set(re.findall(r"\bmake ([a-z]+)", TEXT)) <= targets


def test_the_figures_stand_between_their_marks_and_name_their_command() -> None:
    before, _, rest = TEXT.partition("<!-- bench:begin -->")
    figures, mark, _ = rest.partition("<!-- bench:end -->")

    assert mark
    assert "make bench" in before
    assert {"W1", "W2a", "W3"} <= set(re.findall(r"^(W\w+)", figures, re.MULTILINE))


def test_a_newcomer_reads_the_same_lines_when_the_service_starts(live: LiveService) -> None:
    printed = "".join(live.printed)

    assert f"http://127.0.0.1:{live.port}" in printed
    assert ".data/api-key" in printed
