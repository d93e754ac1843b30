"""What a run of the benchmark leaves behind: its JSON, its chart, the README, and the check."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest

from bench import against, check
from bench.__main__ import Chosen, measure
from bench.chart import chart
from bench.measure import Figure
from bench.peers import conversation
from bench.report import README, Report, load, newest, with_figures
from bench.world import PAYLOAD, World, engine_on
from models.dal import AsyncDAL

LESS = Figure("W1", "202 over handler + commit", " x", [1.5, 1.6, 1.4], "<= 2")
MORE = Figure("W2a", "of the bare journal", " x", [0.6, 0.5, 0.7], ">= 0.5")
TIME = Figure("W3", "forty pure steps", "ms", [4.0], "<= 10")
SERVER = Figure("W2", "uvicorn over hypercorn, accepted one by one", " x", [0.9])
PEER = Figure("W2", "ours over DBOS Transact, pure", " x", [40.0])


class TestCheck:
    def test_the_same_figures_are_kept_whole(self) -> None:
        kept = check.compare([LESS, MORE, TIME, PEER], [LESS, MORE])
        assert {each.key for each in kept} == {("W1", LESS.what), ("W2a", MORE.what)}
        assert [each.share for each in kept] == [1, 1]

    @pytest.mark.parametrize(("now", "enough"), [(0.37, True), (0.35, False), (1.2, True)])
    def test_more_is_better_where_the_target_is_a_least(self, now: float, enough: bool) -> None:
        [kept] = check.compare([MORE], [replace(MORE, values=[now])])
        assert kept.enough is enough

    @pytest.mark.parametrize(("now", "enough"), [(2.4, True), (2.6, False), (0.9, True)])
    def test_less_is_better_where_the_target_is_a_most(self, now: float, enough: bool) -> None:
        [kept] = check.compare([LESS], [replace(LESS, values=[now])])
        assert kept.enough is enough

    def test_one_slow_round_does_not_decide(self) -> None:
        [kept] = check.compare([MORE], [replace(MORE, values=[0.05, 0.6, 0.61])])
        assert kept.enough

    def test_a_ratio_that_nobody_measures_any_more_does_not_pass(self) -> None:
        with pytest.raises(KeyError):
            check.compare([LESS, MORE], [LESS])

    def test_the_best_try_of_each_ratio_counts(self) -> None:
        slow, fast = replace(MORE, values=[0.1]), replace(MORE, values=[0.59])
        worse = replace(LESS, values=[9])
        tries = [check.compare([LESS, MORE], each) for each in ([LESS, slow], [worse, fast])]
        assert all(each.enough for each in check.best(tries))

    def test_the_committed_baseline_has_the_ratios_that_are_measured(self) -> None:
        baseline = check.paired(load(check.BASELINE).figures)
        assert {workload for workload, _ in baseline} == {"W1", "W2a", "W2b", "W3"}
        assert len(baseline) == 6


class TestReport:
    def test_what_is_saved_is_read_back(self, tmp_path: Path) -> None:
        report = Report("2 cores", figures=[LESS, PEER], versions={"dbos": "3"}, skipped=["w5: no"])
        report.save(tmp_path / "new" / "run.json")
        read = load(tmp_path / "new" / "run.json")
        assert str(read) == str(report)
        assert "with dbos 3" in str(read)
        assert "not measured: w5: no" in str(read)

    def test_the_readme_shows_the_newest_result(self) -> None:
        text = README.read_text(encoding="utf-8")
        assert with_figures(text, newest()) == text

    def test_the_readme_shows_targets_peers_and_servers_and_the_chart(self) -> None:
        plain = Figure("W1", "bare handler", "ms", [1.0])
        figures = [plain, LESS, PEER, SERVER]
        block = Report("2 cores", figures=figures).for_readme("a/chart.svg")
        assert "bare handler" not in block
        assert LESS.what in block
        assert PEER.what in block
        assert SERVER.what in block
        assert "(a/chart.svg)" in block


class TestChart:
    def test_it_is_a_drawing_with_a_bar_for_each_ratio(self) -> None:
        peer = replace(PEER, what="A & B <c> over ours, completed")
        root = ElementTree.fromstring(chart([LESS, MORE, TIME, peer], "2 cores"))
        space = "{http://www.w3.org/2000/svg}"
        bars = [each for each in root.iter(f"{space}rect") if each.get("x")]
        assert len(bars) == 4
        assert all(float(bar.attrib["width"]) > 0 for bar in bars)
        said = [each.text or "" for each in root.iter(f"{space}text")]
        assert any("A & B <c>" in each for each in said)

    def test_a_bar_that_is_too_long_is_cut_and_says_by_how_much(self) -> None:
        drawn = chart([replace(LESS, values=[400.0])], "2 cores")
        assert "20000%" in drawn
        width = float(ElementTree.fromstring(drawn).attrib["width"])
        assert width < 1_000


@pytest.mark.parametrize(
    ("target", "value", "share"),
    [
        ("<= 2", 1.0, 0.5),
        ("<= 100 µs", 50.0, 0.5),
        (">= 0.5", 1.0, 0.5),
        ("<= 3 commits + 5 ms", 1.0, None),
        ("0.7 to 1.3", 1.0, None),
        ("", 1.0, None),
    ],
)
def test_the_share_of_a_target(target: str, value: float, share: float | None) -> None:
    assert Figure("W", "what", " x", [value], target).share_of_target == share


class TestPeers:
    PROGRAM = """
import asyncio
from bench.peers.conversation import converse, middles, at_once

async def one():
    print("what a peer prints is no answer")
    return [1.0, 2.0]

async def broken(width):
    raise ValueError("no fans here")

async def main():
    workloads = {
        "w1": lambda number: middles(number, one),
        "w2": lambda number: at_once(number, one),
        "w4": broken,
    }
    await converse(workloads, {"stand-in": "1.0"})

asyncio.run(main())
"""

    @pytest.fixture
    def installed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A peer named dbos whose Python runs the program above, whatever it is told to run."""
        home = tmp_path / "dbos" / "bin"
        home.mkdir(parents=True)
        (home / "program.py").write_text(self.PROGRAM)
        python = home / "python"
        python.write_text(f"#!/bin/sh\nPYTHONPATH=. exec {sys.executable} {home}/program.py\n")
        python.chmod(0o755)
        monkeypatch.setattr(against, "INSTALLED", tmp_path)
        return tmp_path

    async def test_ours_and_a_peer_are_measured_in_turn(
        self,
        dal: AsyncDAL,
        database_url: str,
        installed: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        peer = against.Peer("A stand-in", {"w1": 2, "w2": 70})
        monkeypatch.setitem(against.PEERS, "dbos", peer)
        monkeypatch.setattr(against, "OUR_EXECUTIONS", 20)
        async with engine_on(dal) as (engine, clock):
            figures, versions = await against.run(
                World(dal, database_url, engine, clock), "dbos", 2
            )
        assert versions == {"stand-in": "1.0"}
        assert [len(figure.values) for figure in figures] == [2] * 6
        assert figures[1].values == [2.0, 2.0]
        assert await dal.fetchval("SELECT count(*) FROM workflow_executions") == 3 * (2 + 20 + 20)

    async def test_a_peer_that_fails_says_why_and_leaves_nothing(
        self,
        dal: AsyncDAL,
        database_url: str,
        installed: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setitem(against.PEERS, "dbos", against.Peer("A stand-in", {"w4": 2}))
        async with engine_on(dal) as (engine, clock):
            world = World(dal, database_url, engine, clock)
            with pytest.raises(against.PeerUnavailable, match="w4: ValueError: no fans here"):
                await against.run(world, "dbos", 1)
        of_peers = "starts_with(datname, current_database() || '_peer')"
        assert not await dal.fetch(f"SELECT 1 FROM pg_database WHERE {of_peers}")

    async def test_a_peer_that_is_not_installed_is_a_line_of_the_report(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(against, "INSTALLED", tmp_path)
        report = await measure(Chosen(quick=True, only=frozenset({"restate"}), rows=()))
        assert report.skipped == ["restate: it is not installed; `make bench-peers` does that"]
        assert not report.failed
        assert "not measured: restate" in str(report)

    def test_their_payload_is_ours(self) -> None:
        assert json.dumps(conversation.PAYLOAD) == json.dumps(PAYLOAD)

    def test_each_has_a_program_and_pinned_requirements(self) -> None:
        programs = Path(conversation.__file__).parent
        for key in against.PEERS:
            assert (programs / f"with_{key}.py").exists()
            lines = (programs / f"{key}.txt").read_text(encoding="utf-8").splitlines()
            assert all("==" in line for line in lines if not line.startswith("#"))
            assert not any("://" in line for line in lines)
