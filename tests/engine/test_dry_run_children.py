"""Sub-workflows of a dry run: tried themselves, on the same stage, within the same bounds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from engine.context import ExecutionContext, JsonObject, Limits
from engine.errors import StoreUnavailable, WorkflowTimeoutException
from engine.ports import Callee
from tests.engine.rehearsing import entries, rehearse
from tests.engine.world import World, document
from tests.virtual_time import simulate

CHILD = "0190a000-0000-7000-8000-00000000000c"
OTHER = "0190a000-0000-7000-8000-00000000000d"


def message(text: str, **node: Any) -> JsonObject:
    return {"node_type": "action_chat_message", "config": {"message": text}, **node}


def delay(seconds: float) -> JsonObject:
    return {"node_type": "action_delay", "config": {"delay_seconds": seconds}}


def calling(workflow_id: str = CHILD, node: JsonObject | None = None, **config: Any) -> JsonObject:
    return {
        "node_type": "flow_subworkflow",
        "config": {"workflow_id": workflow_id, **config},
        **(node or {}),
    }


def ending(output: Any) -> JsonObject:
    return {"node_type": "flow_end", "config": {"output": output}}


GREETER = document(
    {"pause": delay(30), "say": message("Hi {{ who }}"), "end": ending("{{ who.upper() }}")},
    "start -> pause",
    "pause -> say",
    "say -> end",
)


def in_world(main: Callable[[World], Awaitable[None]], **world: Any) -> None:
    async def run() -> None:
        await main(World(**world))

    simulate(run())


def test_a_child_is_tried_in_the_same_time_and_its_output_is_the_steps() -> None:
    async def main(world: World) -> None:
        version = world.publish(GREETER, CHILD)
        raw = document(
            {"call": calling(variables={"who": "{{ name }}"}), "say": message("{{ input }}")},
            "start -> call",
            "call -> say",
        )
        report = await rehearse(world, raw, variables={"name": "Ada"})
        assert report["status"] == "completed", report["error_message"]
        call = entries(report)["call"]
        assert (call["output"], call["duration_seconds"]) == ("ADA", 30)
        assert call["would_send"] == {
            "workflow_id": CHILD,
            "variables": {"who": "Ada"},
            "wait": True,
        }
        child = call["child"]
        assert (child["workflow_id"], child["workflow_version"]) == (CHILD, version)
        assert (child["status"], child["final_output"]) == ("completed", "ADA")
        said = entries(child)["say"]
        assert said["would_send"]["message"] == "Hi Ada"
        assert said["idempotency_key"] == f"{child['execution_id']}:say"
        assert entries(report)["say"]["would_send"]["message"] == "ADA"
        assert report["coverage"]["nodes_total"] == 3
        assert world.outside.arrived == []
        assert await world.store.load(child["execution_id"]) is None

    in_world(main)


def test_a_dry_run_of_a_child_ends_as_a_real_run_of_it() -> None:
    async def main(world: World) -> None:
        bad = document({"m": message("{{ missing }}")}, "start -> m")
        world.publish(bad, CHILD)
        raw = document(
            {"call": calling(), "sorry": message("{{ input.type }}: {{ input.message }}")},
            "start -> call",
            "call.error -> sorry",
        )
        report = await rehearse(world, raw)
        state = await world.run(raw)
        await world.engine.shutdown()
        assert report["status"] == state["status"] == "completed"
        call = entries(report)["call"]
        assert (call["error_type"], call["port"]) == ("SUBWORKFLOW_FAILED", "error")
        real = next(step for step in state["steps"] if step["step_key"] == "call")
        assert (call["error"], call["error_type"]) == (real["error"], real["error_type"])
        told = [call["output"]["details"], real["output_data"]["details"]]
        assert told[0].pop("execution_id") != told[1].pop("execution_id")
        assert told[0] == told[1]
        assert call["child"]["error_node_id"] == "m"

    in_world(main)


def test_a_mock_or_a_test_output_stands_for_the_whole_child() -> None:
    async def main(world: World) -> None:
        raw = document(
            {"a": calling(OTHER), "b": calling(OTHER, test_output={"n": 2})},
            "start -> a",
            "a -> b",
        )
        mocks = {"a": {"output": {"n": 1}, "duration_seconds": 50}}
        report = await rehearse(world, raw, mocks=mocks)
        found = entries(report)
        assert [found[key]["output"] for key in "ab"] == [{"n": 1}, {"n": 2}]
        assert "child" not in found["a"]
        assert report["execution_time_seconds"] == 50

    in_world(main)


def test_children_side_by_side_take_as_long_as_the_longest() -> None:
    async def main(world: World) -> None:
        world.publish(document({"w": delay(100)}, "start -> w"), CHILD)
        world.publish(document({"w": delay(40)}, "start -> w"), OTHER)
        raw = document(
            {"a": calling(), "b": calling(OTHER), "c": delay(10)},
            "start -> a",
            "start -> b",
            "start -> c",
        )
        report = await rehearse(world, raw)
        assert report["execution_time_seconds"] == 100
        assert [e["step_key"] for e in report["trace"]] == ["start", "c", "b", "a"]

    in_world(main)


def test_a_child_nobody_waits_for_is_tried_too() -> None:
    async def main(world: World) -> None:
        world.publish(GREETER, CHILD)
        raw = document({"call": calling(variables={"who": "b"}, wait=False)}, "start -> call")
        report = await rehearse(world, raw)
        call = entries(report)["call"]
        child = call["child"]
        assert call["output"] == {
            "execution_id": child["execution_id"],
            "workflow_id": CHILD,
            "status": "pending",
        }
        assert report["execution_time_seconds"] == 0
        assert (child["status"], child["execution_time_seconds"]) == ("completed", 30)
        assert [e["step_key"] for e in child["trace"]] == ["start", "pause", "say", "end"]

    in_world(main)


def test_a_child_that_takes_too_long_fails_its_step() -> None:
    async def main(world: World) -> None:
        asking = {"node_type": "flow_wait", "config": {"signal": "go"}}
        world.publish(document({"w": asking}, "start -> w", max_execution_time_seconds=60), CHILD)
        report = await rehearse(world, document({"call": calling()}, "start -> call"))
        assert (report["status"], report["error_code"]) == ("failed", "SUBWORKFLOW_FAILED")
        assert "'w' waits for ever for the signal 'go'" in report["error_message"]
        assert entries(report)["call"]["child"]["error_code"] == "EXECUTION_TIMEOUT"
        assert report["execution_time_seconds"] == 60

    in_world(main)


def test_a_parents_timeout_names_what_its_child_waits_for() -> None:
    async def main(world: World) -> None:
        asking = {"node_type": "flow_wait", "config": {"signal": "go"}}
        world.publish(document({"w": asking}, "start -> w", max_execution_time_seconds=600), CHILD)
        raw = document({"call": calling()}, "start -> call")
        with pytest.raises(WorkflowTimeoutException, match=r"'call' is still under way .*'go'"):
            await rehearse(world, raw)

    in_world(main)


def test_a_child_whose_step_loses_a_race_is_cancelled() -> None:
    async def main(world: World) -> None:
        mocked = {"tell": {"output": None, "duration_seconds": 5}}
        world.publish(GREETER, CHILD)
        raw = document(
            {
                "race": {"node_type": "flow_parallel", "config": {"execution_type": "any_first"}},
                "call": calling(variables={"who": "x"}),
                "tell": message("first"),
                "join": {"node_type": "flow_merge", "config": {"mode": "any"}},
            },
            "start -> race",
            "race -> call",
            "race -> tell",
            "call -> join",
            "tell -> join",
        )
        report = await rehearse(world, raw, mocks=mocked)
        assert report["execution_time_seconds"] == 5
        call = entries(report)["call"]
        assert (call["status"], call["child"]["status"]) == ("cancelled", "cancelled")
        assert [e["step_key"] for e in call["child"]["trace"]] == ["start"]

    in_world(main)


def test_a_workflow_that_may_not_be_started_fails_its_step() -> None:
    async def main(world: World) -> None:
        report = await rehearse(world, document({"call": calling(OTHER)}, "start -> call"))
        assert (report["status"], report["error_code"]) == ("failed", "SUBWORKFLOW_NOT_FOUND")
        assert "child" not in entries(report)["call"]

    in_world(main)


def test_a_store_that_cannot_be_asked_is_no_result() -> None:
    async def main(world: World) -> None:
        async def unreachable(workflow_id: str, caller: ExecutionContext) -> Callee:
            raise StoreUnavailable

        world.callee = unreachable  # type: ignore[method-assign]  # the database is gone
        with pytest.raises(StoreUnavailable):
            await rehearse(world, document({"call": calling()}, "start -> call"))

    in_world(main)


def test_a_workflow_that_starts_itself_ends_at_the_depth_limit() -> None:
    async def main(world: World) -> None:
        world.publish(document({"again": calling()}, "start -> again"), CHILD)
        report = await rehearse(world, document({"call": calling()}, "start -> call"))
        assert (report["status"], report["error_code"]) == ("failed", "SUBWORKFLOW_FAILED")
        depth, one = 0, entries(report)["call"]
        while "child" in one:
            depth, one = depth + 1, entries(one["child"])["again"]
        assert (depth, one["error_type"]) == (4, "SUBWORKFLOW_TOO_DEEP")

    in_world(main, limits=Limits(max_subworkflow_depth=4))


def test_a_family_that_multiplies_ends_at_the_trials_own_limit() -> None:
    async def main(world: World) -> None:
        many = document(
            {
                "each": {
                    "node_type": "loop_foreach",
                    "config": {"items": "{{ range(9) }}", "concurrency": 9},
                },
                "again": calling(),
            },
            "start -> each",
            "each.loop -> again",
        )
        world.publish(many, CHILD)
        report = await rehearse(world, document({"call": calling()}, "start -> call"))
        assert report["status"] == "failed"
        assert (report["error_code"], report["error_node_id"]) == (
            "OPERATION_LIMIT_EXCEEDED",
            "call",
        )
        assert "mock a sub-workflow" in report["error_message"]
        assert _steps(report) <= 500

    in_world(main, limits=Limits(max_total_operations=50))


def _steps(report: JsonObject) -> int:
    return sum(1 + _steps(entry["child"]) for entry in report["trace"] if "child" in entry) + sum(
        1 for entry in report["trace"] if "child" not in entry
    )


def test_what_the_children_record_counts_against_one_limit() -> None:
    async def main(world: World) -> None:
        big = document({"end": ending("{{ 'x' * 3000 }}")}, "start -> end")
        world.publish(big, CHILD)
        raw = document(
            {f"c{i}": calling() for i in range(9)},
            *(f"{a} -> c{i}" for i, a in enumerate(["start", *(f"c{i}" for i in range(8))])),
        )
        report = await rehearse(world, raw)
        assert (report["status"], report["error_code"]) == ("failed", "EXECUTION_TOO_LARGE")
        assert "sub-workflows recorded more than 20000 bytes" in report["error_message"]

    in_world(main, limits=Limits(max_execution_bytes=20_000))


def test_a_step_gives_its_child_up_after_its_own_timeout() -> None:
    async def main(world: World) -> None:
        world.publish(document({"w": delay(100)}, "start -> w"), CHILD)
        raw = document({"call": calling(node={"timeout_seconds": 20})}, "start -> call")
        report = await rehearse(world, raw)
        call = entries(report)["call"]
        assert (call["error_type"], call["duration_seconds"]) == ("TIMEOUT", 20)
        assert call["child"]["status"] == "cancelled"

    in_world(main)


def test_a_child_that_fails_is_started_anew_if_its_step_is_retried() -> None:
    async def main(world: World) -> None:
        world.publish(document({"m": message("{{ missing }}")}, "start -> m"), CHILD)
        retry = {"max_attempts": 2, "initial_seconds": 10, "jitter": False}
        raw = document({"call": calling(node={"retry": retry})}, "start -> call")
        report = await rehearse(world, raw)
        call = entries(report)["call"]
        assert (call["attempt"], call["duration_seconds"]) == (2, 10)

    in_world(main)
