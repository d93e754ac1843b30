"""What a dry run is asked: signals, assertions, the expected status; and what it covered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from engine.context import JsonObject
from engine.trial import TrialRefused
from tests.engine.rehearsing import entries, rehearse
from tests.engine.world import World, document
from tests.virtual_time import simulate


def setting(**variables: Any) -> JsonObject:
    return {"node_type": "data_variable_set", "config": {"variables": variables}}


def message(text: str, **node: Any) -> JsonObject:
    return {"node_type": "action_chat_message", "config": {"message": text}, **node}


def wait(signal: str, **config: Any) -> JsonObject:
    return {"node_type": "flow_wait", "config": {"signal": signal, **config}}


APPROVAL: JsonObject = {
    "type": "object",
    "required": ["ok"],
    "properties": {"ok": {"type": "boolean"}},
}
ASKING = document(
    {
        "ask": message("May I?"),
        "answer": wait("approved", schema=APPROVAL, timeout_seconds=100),
        "yes": setting(by="{{ input }}"),
        "late": message("Too late"),
    },
    "start -> ask",
    "ask -> answer",
    "answer -> yes",
    "answer.timeout -> late",
)


def in_world(main: Callable[[World], Awaitable[None]], **world: Any) -> None:
    async def run() -> None:
        await main(World(**world))

    simulate(run())


async def refusal(world: World, raw: JsonObject, **asked: Any) -> list[tuple[str, str]]:
    with pytest.raises(TrialRefused) as refused:
        await rehearse(world, raw, **asked)
    return [(issue.path, issue.message) for issue in refused.value.issues]


# Signals


def test_a_signal_ends_the_wait_at_its_time() -> None:
    async def main(world: World) -> None:
        signals = [{"name": "approved", "payload": {"ok": True}, "after_seconds": 60}]
        report = await rehearse(world, ASKING, signals=signals)
        assert report["execution_time_seconds"] == 60
        assert entries(report)["answer"]["output"] == {"ok": True}
        assert report["final_variables"] == {"by": {"ok": True}}

    in_world(main)


def test_a_signal_that_comes_before_anybody_waits_is_kept() -> None:
    async def main(world: World) -> None:
        mocks = {"ask": {"output": None, "duration_seconds": 5}}
        report = await rehearse(world, ASKING, mocks=mocks, signals={"approved": {"ok": False}})
        assert entries(report)["answer"]["output"] == {"ok": False}
        assert entries(report)["answer"]["duration_seconds"] == 0
        assert report["execution_time_seconds"] == 5

    in_world(main)


def test_a_wait_leaves_by_timeout_when_its_signal_comes_later() -> None:
    async def main(world: World) -> None:
        signals = [{"name": "approved", "payload": {"ok": True}, "after_seconds": 101}]
        report = await rehearse(world, ASKING, signals=signals)
        assert entries(report)["answer"]["port"] == "timeout"
        assert report["execution_time_seconds"] == 100

    in_world(main)


def test_each_signal_is_taken_once_and_the_oldest_that_fits_first() -> None:
    async def main(world: World) -> None:
        raw = document(
            {
                "number": wait("told", schema={"type": "integer"}),
                "any": wait("told"),
                "last": wait("told"),
            },
            "start -> number",
            "number -> any",
            "any -> last",
        )
        signals = [
            {"name": "told", "payload": "one"},
            {"name": "told", "payload": 2},
            {"name": "told", "after_seconds": 7},
        ]
        found = entries(await rehearse(world, raw, signals=signals))
        assert [found[key]["output"] for key in ("number", "any", "last")] == [2, "one", None]
        assert found["last"]["duration_seconds"] == 7

    in_world(main)


def test_a_trials_faults_are_told_all_at_once_and_where_they_are() -> None:
    async def main(world: World) -> None:
        problems = await refusal(
            world,
            ASKING,
            mocks={"aks": {"output": 1}, "ask": [{"output": 1}, {"outptu": 1}]},
            signals=[
                {"name": "aproved"},
                {"name": "approved", "payload": {"ok": "yes"}},
                {"name": "approved", "payload": {"ok": True}, "after_seconds": -1},
                {"payload": 1},
            ],
            assertions=[
                {"expression": "status =="},
                {"expression": "true", "mesage": "x"},
                {"message": "x"},
            ],
            expected_status="cancelled",
        )
        assert [path for path, _ in problems] == [
            "/mocks/aks",
            "/mocks/ask/1",
            "/signals/2/after_seconds",
            "/signals/3",
            "/signals/0/name",
            "/signals/1/payload/ok",
            "/assertions/0/expression",
            "/assertions/1/mesage",
            "/assertions/2",
            "/expected_status",
        ]
        said = dict(problems)
        assert said["/mocks/aks"].startswith("'aks' is not an action of this workflow; its actions")
        assert "it waits for 'approved'" in said["/signals/0/name"]
        assert said["/signals/1/payload/ok"].startswith("'answer' would not take it: ")
        assert "line 1, column" in said["/assertions/0/expression"]

    in_world(main)


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        ({"mocks": []}, "/mocks"),
        ({"mocks": {"ask": []}}, "/mocks/ask"),
        ({"mocks": {"ask": None}}, "/mocks/ask"),
        ({"mocks": {"ask": {"output": 1, "error": "x"}}}, "/mocks/ask"),
        ({"mocks": {"ask": {"duration_seconds": 1}}}, "/mocks/ask"),
        ({"mocks": {"ask": {"output": 1, "after": 1}}}, "/mocks/ask/after"),
        ({"mocks": {"ask": {"output": 1, "duration_seconds": "1"}}}, "/mocks/ask/duration_seconds"),
        (
            {"mocks": {"ask": {"output": 1, "duration_seconds": True}}},
            "/mocks/ask/duration_seconds",
        ),
        ({"mocks": {"ask": {"error": 5}}}, "/mocks/ask/error"),
        ({"mocks": {"ask": {"error": {"type": "X"}}}}, "/mocks/ask/error"),
        ({"mocks": {"ask": {"error": {"message": "x", "type": "x y"}}}}, "/mocks/ask/error/type"),
        (
            {"mocks": {"ask": {"error": {"message": "x", "retryable": 1}}}},
            "/mocks/ask/error/retryable",
        ),
        ({"mocks": {"answer": {"output": 1}}}, "/mocks/answer"),
        ({"signals": "approved"}, "/signals"),
        ({"signals": {"approved": {}}}, "/signals/approved"),
        ({"signals": {"other": {}}}, "/signals/other"),
        ({"signals": [{"name": "approved", "payload": {"ok": True}}] * 101}, "/signals"),
        ({"signals": [{"name": "approved", "when": 1}]}, "/signals/0/when"),
        ({"assertions": []}, "/assertions"),
        ({"assertions": [{"expression": "true"}] * 101}, "/assertions"),
        ({"assertions": ["true"]}, "/assertions/0"),
        ({"assertions": [{"expression": "true", "message": 1}]}, "/assertions/0/message"),
        ({"expected_status": None}, "/expected_status"),
    ],
)
def test_a_part_that_can_mean_nothing_is_refused(asked: JsonObject, path: str) -> None:
    async def main(world: World) -> None:
        assert (await refusal(world, ASKING, **asked))[0][0] == path

    in_world(main)


def test_a_workflow_that_waits_for_nothing_takes_no_signal() -> None:
    async def main(world: World) -> None:
        raw = document({"m": message("hi")}, "start -> m")
        problems = await refusal(world, raw, signals={"go": 1})
        assert "none of its nodes waits for a signal" in problems[0][1]

    in_world(main)


# Assertions


def test_assertions_see_how_it_ended() -> None:
    async def main(world: World) -> None:
        held = [
            "final_output.yes.by.ok",
            "final_variables.by == variables.by",
            "status == 'completed' and error_message == None and error_code == None",
            "nodes.answer.output.ok and nodes.answer.port == 'output'",
            "not has(nodes.late)",
            "execution.platform == 'twitch' and trigger.who == 'Ada'",
            "summary.nodes_executed == 4 and summary.nodes_skipped == 1",
            "coverage.nodes_covered == 4",
            "len(json(now())) > 0",
        ]
        report = await rehearse(
            world,
            ASKING,
            signals={"approved": {"ok": True}},
            assertions=[{"expression": each} for each in held],
            platform="twitch",
            metadata={"who": "Ada"},
        )
        assert [a["expression"] for a in report["assertions"] if not a["passed"]] == []
        assert report["summary"]["passed"] is True

    in_world(main)


def test_one_assertion_that_does_not_hold_fails_the_trial() -> None:
    async def main(world: World) -> None:
        assertions = [
            {"expression": "{{ final_output.yes.by.ok }}", "message": "It was approved"},
            {"expression": "final_output.total == 3"},
        ]
        report = await rehearse(
            world, ASKING, signals={"approved": {"ok": False}}, assertions=assertions
        )
        assert report["status"] == "completed"
        assert report["summary"]["passed"] is False
        first, second = report["assertions"]
        assert first == {
            "expression": "final_output.yes.by.ok",
            "message": "It was approved",
            "passed": False,
        }
        assert (second["passed"], second["message"]) == (False, None)
        assert "total" in second["error"]

    in_world(main)


def test_a_failure_that_was_expected_passes_and_one_that_did_not_come_does_not() -> None:
    async def main(world: World) -> None:
        raw = document({"m": message("hi")}, "start -> m")
        down = {"m": {"error": "down"}}
        assertions = [{"expression": "error_node_id == 'm' and nodes.m.error.type == error_code"}]
        report = await rehearse(
            world, raw, mocks=down, expected_status="failed", assertions=assertions
        )
        assert (report["status"], report["summary"]["passed"]) == ("failed", True)
        report = await rehearse(world, raw, mocks=down)
        assert report["summary"]["passed"] is False
        report = await rehearse(world, raw, expected_status="failed")
        assert (report["status"], report["summary"]["passed"]) == ("completed", False)

    in_world(main)


def test_an_assertion_that_works_too_much_fails_and_the_others_do_not() -> None:
    async def main(world: World) -> None:
        tower = "len([1 for a in range(900) for b in range(900)]) > 0"
        report = await rehearse(
            world,
            document({"m": message("hi")}, "start -> m"),
            assertions=[{"expression": tower}, {"expression": "status == 'completed'"}],
        )
        assert [a["passed"] for a in report["assertions"]] == [False, True]
        assert "too much work" in report["assertions"][0]["error"]

    in_world(main)


# Coverage


def test_coverage_names_the_nodes_that_did_not_run_and_the_branches_never_taken() -> None:
    async def main(world: World) -> None:
        report = await rehearse(world, ASKING, signals={"approved": {"ok": True}})
        assert report["coverage"] == {
            "nodes_covered": 4,
            "nodes_total": 5,
            "percentage": 80.0,
            "nodes_not_covered": ["late"],
            "branches_never_taken": [
                {"node_id": "answer", "port": "timeout", "to_node_id": "late"}
            ],
        }
        assert report["summary"]["nodes_covered"] == 4

    in_world(main)


def test_the_edges_of_a_loop_count_once_an_iteration_has_taken_them() -> None:
    def looping(items: str) -> JsonObject:
        return document(
            {
                "each": {"node_type": "loop_foreach", "config": {"items": items}},
                "big": {"node_type": "condition_if", "config": {"condition": "item > 1"}},
                "m": message("big"),
                "n": message("small"),
                "done": setting(x=1),
            },
            "start -> each",
            "each.loop -> big",
            "big.true -> m",
            "big.false -> n",
            "m -> each",
            "each -> done",
        )

    async def main(world: World) -> None:
        coverage = (await rehearse(world, looping("{{ [1, 2] }}")))["coverage"]
        assert (coverage["percentage"], coverage["branches_never_taken"]) == (100.0, [])
        coverage = (await rehearse(world, looping("{{ [2] }}")))["coverage"]
        assert coverage["nodes_not_covered"] == ["n"]
        coverage = (await rehearse(world, looping("{{ [] }}")))["coverage"]
        never = [(edge["node_id"], edge["port"]) for edge in coverage["branches_never_taken"]]
        assert never == [("each", "loop"), ("big", "true"), ("big", "false")]

    in_world(main)


def test_a_condition_on_an_edge_a_break_and_an_error_port_decide_what_is_taken() -> None:
    async def main(world: World) -> None:
        raw = document(
            {
                "while": {"node_type": "loop_while", "config": {"condition": "index < 3"}},
                "stop": {"node_type": "loop_break", "config": {"condition": "index == 0"}},
                "m": message("m"),
                "caught": message("caught"),
                "after": message("after"),
            },
            "start -> while",
            "while.loop -> stop",
            "stop -> after",
            "while -> m if false",
            "while -> caught",
            "caught.error -> m",
        )
        coverage = (await rehearse(world, raw, mocks={"caught": {"error": "no"}}))["coverage"]
        assert coverage["nodes_not_covered"] == ["after"]
        assert coverage["branches_never_taken"] == [
            {"node_id": "while", "port": "output", "to_node_id": "m"},
            {"node_id": "stop", "port": "output", "to_node_id": "after"},
        ]

    in_world(main)


def test_disabled_nodes_count_for_nothing() -> None:
    async def main(world: World) -> None:
        raw = document(
            {"off": message("off", enabled=False), "on": message("on")},
            "start -> off",
            "off -> on",
            "start -> on",
        )
        coverage = (await rehearse(world, raw))["coverage"]
        assert (coverage["nodes_total"], coverage["percentage"]) == (2, 100.0)
        assert coverage["branches_never_taken"] == []

    in_world(main)
