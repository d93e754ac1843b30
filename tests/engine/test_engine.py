"""The engine: what is durable when, who takes over, and what it costs."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

import pytest

from engine.context import ExecutionContext, ExecutionStatus
from engine.errors import (
    CancelPending,
    ExecutionNotFound,
    ExecutionNotRunning,
    OutcomeUnknown,
    Overloaded,
    StoreUnavailable,
    WorkflowTimeoutException,
)
from engine.ports import Room
from engine.records import Batch, StoredExecution
from tests.engine.test_running import message, setting
from tests.engine.world import World, after, document
from tests.virtual_time import simulate


def in_world(main: Any, **settings: Any) -> None:
    """Runs `main(world)` with a started engine, in virtual time."""

    async def run() -> None:
        world = World(**settings)
        await world.engine.start()
        try:
            await main(world)
        finally:
            await world.engine.shutdown()

    simulate(run())


def flushes(world: World) -> int:
    session = world.engine._session
    assert session is not None
    return session.journal.flushes


def chain(length: int, node: Any = setting) -> Any:
    names = [f"s{n}" for n in range(length)]
    nodes = {name: node(**{name: 1}) for name in names}
    edges = [f"{a} -> {b}" for a, b in zip(["start", *names], names, strict=False)]
    return document(nodes, *edges)


def test_forty_pure_steps_cost_one_commit() -> None:
    async def main(world: World) -> None:
        before = flushes(world)
        state = await world.run(chain(40))
        assert state["status"] == "completed"
        assert len(state["steps"]) == 41
        assert flushes(world) - before == 1

    in_world(main)


def test_whoever_waits_for_what_ends_here_does_not_ask_the_store() -> None:
    async def main(world: World) -> None:
        slow = await world.context(document({"m": message("slow")}, "start -> m"))
        quick = await world.context(chain(1))
        asked: list[str] = []
        status = world.store.status

        async def counted(execution_id: str) -> ExecutionStatus | None:
            asked.append(execution_id)
            return await status(execution_id)

        world.store.status = counted  # type: ignore[method-assign]  # counts
        world.outside.answers["slow"] = lambda: asyncio.sleep(1)
        await world.engine.execute_many([slow, quick])
        assert await world.engine.wait(quick.execution_id, 10)
        assert await world.engine.wait(slow.execution_id, 10)
        assert await world.engine.wait(slow.execution_id, 10)
        assert asked == []
        assert await status(slow.execution_id) is ExecutionStatus.COMPLETED

    in_world(main)


def test_an_end_that_the_store_refuses_is_not_told_before_the_one_that_replaced_it() -> None:
    async def main(world: World) -> None:
        context = await world.context(document({"m": message("x")}, "start -> m"))
        flush = world.store.flush

        async def refusing(worker_id: str, batch: Batch) -> None:
            if any(update.end_time and update.final_output for update in batch.updates.values()):
                raise ValueError("unstorable")
            await asyncio.sleep(1)
            await flush(worker_id, batch)

        world.store.flush = refusing  # type: ignore[method-assign]  # dislikes every output
        await world.engine.execute_workflow(context)
        assert await world.engine.wait(context.execution_id, 10)
        stored = await world.store.load(context.execution_id)
        assert stored is not None
        assert stored.progress.status is ExecutionStatus.FAILED
        assert stored.progress.error_message == "A value of this execution cannot be stored."

    in_world(main)


def test_a_pure_step_takes_no_task(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(world: World) -> None:
        loop = asyncio.get_running_loop()
        context = await world.context(chain(40))
        created: list[Coroutine[Any, Any, Any]] = []
        create_task = loop.create_task

        def counted(coroutine: Any, **options: Any) -> Any:
            created.append(coroutine)
            return create_task(coroutine, **options)

        monkeypatch.setattr(loop, "create_task", counted)
        await world.engine.execute_workflow(context)
        await world.engine.wait(context.execution_id, 10)
        monkeypatch.undo()
        names = [coroutine.__qualname__ for coroutine in created]
        assert names.count("Session._supervised") == 1
        assert len(names) <= 3

    in_world(main)


def test_an_effect_starts_only_after_what_it_depends_on_is_durable() -> None:
    async def main(world: World) -> None:
        seen: list[list[str]] = []
        context = await world.context(
            document({"a": setting(x=1), "m": message("now")}, "start -> a", "a -> m")
        )

        async def look() -> None:
            stored = await world.store.load(context.execution_id)
            assert stored is not None
            seen.append([row.step_key for row in stored.steps])

        world.outside.answers["now"] = look
        await world.engine.execute_workflow(context)
        assert await world.engine.wait(context.execution_id, 10)
        assert seen == [["start", "a"]]

    in_world(main)


def test_what_was_accepted_is_in_the_store_before_the_answer() -> None:
    async def main(world: World) -> None:
        context = await world.context(document({"m": message("x")}, "start -> m"))
        started = await world.engine.execute_workflow(context)
        assert started.status == "running"
        assert await world.store.load(context.execution_id) is not None

    in_world(main)


def test_many_executions_are_accepted_in_one_commit() -> None:
    async def main(world: World) -> None:
        raw = document({"a": setting(x=1)}, "start -> a")
        contexts = [await world.context(raw) for _ in range(50)]
        before = flushes(world)
        started = await world.engine.execute_many(contexts)
        assert flushes(world) - before == 1
        assert [s.status for s in started].count("pending") == 41  # one place is others'
        for context in contexts:
            assert await world.engine.wait(context.execution_id, 60)

    in_world(main, max_concurrent_executions=10)


def test_an_execution_survives_its_workers_death_and_repeats_nothing_recorded() -> None:
    async def main(world: World) -> None:
        raw = document(
            {"first": message("first"), "second": message("second", timeout_seconds=100)},
            "start -> first",
            "first -> second",
        )
        world.outside.answers["second"] = after(30)
        context = await world.context(raw)
        await world.engine.execute_workflow(context)
        await asyncio.sleep(1)
        world.store.kill(world.store.workers()[0])
        other = world.another_engine()
        await other.start()
        assert await other.wait(context.execution_id, 200)
        state = await other.get_execution_status(context.execution_id)
        await other.shutdown()
        assert state is not None
        assert state["status"] == "completed"
        assert world.outside.messages() == ["first", "second", "second"]
        assert len(set(world.outside.keys[1:])) == 1
        assert [step["step_key"] for step in state["steps"]] == ["start", "first", "second"]

    in_world(main)


def test_a_zombie_writes_nothing_and_comes_back_as_somebody_new() -> None:
    async def main(world: World) -> None:
        context = await world.context(document({"m": message("m")}, "start -> m"))
        world.outside.answers["m"] = after(5)
        await world.engine.execute_workflow(context)
        await asyncio.sleep(1)
        (first,) = world.store.workers()
        world.store.kill(first)
        await asyncio.sleep(60)
        assert len(world.store.workers()) > 1
        assert world.engine.ready
        assert await world.store.status(context.execution_id) is ExecutionStatus.COMPLETED

    in_world(main)


def test_a_lease_that_was_late_once_costs_no_execution() -> None:
    async def main(world: World) -> None:
        renew = world.store.heartbeat

        async def renewed(worker_id: str, lease_seconds: float) -> bool:
            if asyncio.get_running_loop().time() < 12:
                raise StoreUnavailable
            return await renew(worker_id, lease_seconds)

        world.store.heartbeat = renewed  # type: ignore[method-assign]  # away for a while
        world.outside.answers["first"] = after(11)
        raw = document(
            {"first": message("first"), "second": message("second")},
            "start -> first",
            "first -> second",
        )
        context = await world.context(raw)
        await world.engine.execute_workflow(context)
        assert await world.engine.wait(context.execution_id, 60)
        assert world.outside.messages() == ["first", "second"]

    in_world(main, lease_seconds=10)


def test_a_claim_whose_answer_was_lost_costs_no_execution() -> None:
    async def main(world: World) -> None:
        claim = world.store.claim
        lost: list[StoredExecution] = []

        async def claimed(worker_id: str, room: Room, **how: bool) -> list[StoredExecution]:
            answer = await claim(worker_id, room, **how)
            if not lost:
                lost.extend(answer)
                raise OutcomeUnknown
            return answer

        world.store.claim = claimed  # type: ignore[method-assign]  # the first answer is cut off
        wait = {"node_type": "action_delay", "config": {"delay_seconds": 5}}
        raw = document({"wait": wait, "m": message("m")}, "start -> wait", "wait -> m")
        context = await world.context(raw)
        await world.engine.execute_workflow(context)
        assert await world.engine.wait(context.execution_id, 60)
        assert [stored.context for stored in lost] == [context]
        assert world.outside.messages() == ["m"]

    in_world(main)


@pytest.mark.parametrize("broken", ["look", "reap", "heartbeat", "flush", "register"])
def test_a_bug_in_a_background_loop_ends_a_session_but_not_the_engine(broken: str) -> None:
    async def main(world: World) -> None:
        method = getattr(world.store, broken)
        context = await world.context(document({"m": message("m")}, "start -> m"))
        world.outside.answers["m"] = after(5)
        await world.store.register("another", "so that there is something to sweep", 3600)
        await world.engine.execute_workflow(context)
        await asyncio.sleep(2)

        async def breaks(*_: object, **__: object) -> None:
            setattr(world.store, broken, method)
            raise RuntimeError("unforeseen")

        setattr(world.store, broken, breaks)
        if broken == "register":
            world.store.kill(world.store.workers()[0])
        assert await world.engine.wait(context.execution_id, 120)
        assert world.engine.ready
        failures = [
            fields["reason"] for _, result, fields in world.log.lines if result != "SUCCESS"
        ]
        assert any("unforeseen" in reason for reason in failures)

    in_world(main)


def test_a_long_delay_leaves_memory_and_comes_back_when_due() -> None:
    async def main(world: World) -> None:
        raw = document(
            {
                "wait": {"node_type": "action_delay", "config": {"delay_seconds": 100}},
                "done": setting(x=1),
            },
            "start -> wait",
            "wait -> done",
        )
        context = await world.context(raw)
        await world.engine.execute_workflow(context)
        await asyncio.sleep(50)
        session = world.engine._session
        assert session is not None
        assert not session.holds(context.execution_id)
        state = await world.engine.get_execution_status(context.execution_id)
        assert state is not None
        assert state["status"] == "waiting"
        assert state["node_states"]["wait"]["status"] == "waiting"
        assert await world.engine.wait(context.execution_id, 60)
        assert asyncio.get_running_loop().time() <= 102

    in_world(main)


def test_cancelling_stops_at_once_and_aborts_what_runs() -> None:
    async def main(world: World) -> None:
        world.outside.answers["slow"] = after(100)
        raw = document(
            {"m": message("slow", timeout_seconds=200), "n": setting(x=1)}, "start -> m", "m -> n"
        )
        context = await world.context(raw)
        await world.engine.execute_workflow(context)
        await asyncio.sleep(1)
        assert world.outside.running == 1
        await world.engine.cancel_execution(context.execution_id)
        assert world.outside.running == 0
        state = await world.engine.get_execution_status(context.execution_id)
        assert state is not None
        assert state["status"] == "cancelled"
        assert state["node_states"]["m"]["status"] == "cancelled"
        with pytest.raises(ExecutionNotRunning):
            await world.engine.cancel_execution(context.execution_id)

    in_world(main)


def test_cancelling_a_parked_execution_needs_no_worker() -> None:
    async def main(world: World) -> None:
        raw = document(
            {"wait": {"node_type": "action_delay", "config": {"delay_seconds": 100}}},
            "start -> wait",
        )
        context = await world.context(raw)
        await world.engine.execute_workflow(context)
        await asyncio.sleep(5)
        await world.engine.cancel_execution(context.execution_id)
        assert await world.store.status(context.execution_id) is ExecutionStatus.CANCELLED

    in_world(main)


async def slow_one(world: World) -> ExecutionContext:
    """An execution whose message takes a hundred seconds."""
    world.outside.answers["slow"] = after(100)
    context = await world.context(
        document({"m": message("slow", timeout_seconds=200)}, "start -> m")
    )
    await world.engine.execute_workflow(context)
    return context


def test_another_process_can_cancel_what_this_one_runs() -> None:
    async def main(world: World) -> None:
        context = await slow_one(world)
        other = world.another_engine()
        await other.start()
        await other.cancel_execution(context.execution_id)
        assert world.outside.running == 0
        assert await world.store.status(context.execution_id) is ExecutionStatus.CANCELLED
        await other.shutdown()

    in_world(main)


@pytest.mark.parametrize("asked_by", ["the one that runs it", "another"])
def test_a_cancel_that_nobody_confirms_stands(asked_by: str) -> None:
    """The database is gone once it was asked for: it is done when somebody answers again."""

    async def main(world: World) -> None:
        context = await slow_one(world)
        await asyncio.sleep(1)
        engine = world.engine if asked_by == "the one that runs it" else world.another_engine()
        if engine is not world.engine:
            await engine.start()
        request, flush, asked = world.store.request_cancel, world.store.flush, []

        async def once(execution_id: str) -> Any:
            if asked or engine is world.engine:
                raise StoreUnavailable
            asked.append(execution_id)
            return await request(execution_id)

        async def gone(worker_id: str, batch: Batch) -> None:
            raise StoreUnavailable

        world.store.request_cancel = once  # type: ignore[method-assign]
        world.store.flush = gone  # type: ignore[method-assign]
        with pytest.raises(CancelPending):
            await engine.cancel_execution(context.execution_id)
        assert await world.store.status(context.execution_id) is ExecutionStatus.RUNNING
        world.store.request_cancel = request  # type: ignore[method-assign]
        world.store.flush = flush  # type: ignore[method-assign]
        await asyncio.sleep(10)
        assert await world.store.status(context.execution_id) is ExecutionStatus.CANCELLED
        if engine is not world.engine:
            await engine.shutdown()

    in_world(main)


def test_a_cancel_that_reached_nobody_is_refused() -> None:
    async def main(world: World) -> None:
        other = world.another_engine()
        await other.start()
        context = await slow_one(world)
        await asyncio.sleep(1)

        async def gone(execution_id: str) -> Any:
            raise StoreUnavailable

        world.store.request_cancel = gone  # type: ignore[method-assign]
        with pytest.raises(StoreUnavailable) as refused:
            await other.cancel_execution(context.execution_id)
        assert not isinstance(refused.value, CancelPending)
        assert world.outside.running == 1
        await other.shutdown()

    in_world(main)


def test_a_pause_that_was_asked_for_is_answered_without_the_database() -> None:
    async def main(world: World) -> None:
        context = await slow_one(world)
        await asyncio.sleep(1)

        async def gone(execution_id: str) -> Any:
            raise StoreUnavailable

        status = world.store.status
        world.store.status = gone  # type: ignore[method-assign]
        paused = await world.engine.pause_execution(context.execution_id)
        world.store.status = status  # type: ignore[method-assign]
        assert paused is ExecutionStatus.RUNNING

    in_world(main)


def test_cancelling_what_does_not_exist_says_so() -> None:
    async def main(world: World) -> None:
        with pytest.raises(ExecutionNotFound):
            await world.engine.cancel_execution(world.new_id())

    in_world(main)


def test_beyond_the_pending_limit_nothing_is_accepted() -> None:
    async def main(world: World) -> None:
        world.outside.answers["slow"] = after(50)
        raw = document({"m": message("slow", timeout_seconds=100)}, "start -> m")
        for _ in range(3):
            await world.engine.execute_workflow(await world.context(raw))
        refused = await world.context(raw)
        with pytest.raises(Overloaded):
            await world.engine.execute_workflow(refused)
        assert await world.store.load(refused.execution_id) is None

    in_world(main, max_concurrent_executions=1, max_pending_executions=2)


def test_a_workflow_runs_no_more_at_once_than_it_says() -> None:
    async def main(world: World) -> None:
        world.outside.answers["slow"] = after(10)
        raw = document(
            {"m": message("slow", timeout_seconds=100)}, "start -> m", max_parallel_executions=2
        )
        contexts = [await world.context(raw) for _ in range(5)]
        for context in contexts:
            await world.engine.execute_workflow(context)
        for context in contexts:
            assert await world.engine.wait(context.execution_id, 100)
        assert world.outside.most_running == 2

    in_world(main)


def test_a_store_that_does_not_answer_is_unavailable_or_its_outcome_unknown() -> None:
    async def main(world: World) -> None:
        flush = world.store.flush

        async def frozen(worker_id: str, batch: Batch) -> None:
            await asyncio.sleep(30)
            await flush(worker_id, batch)

        world.store.flush = frozen  # type: ignore[method-assign]  # the database froze
        raw = document({"a": setting(x=1)}, "start -> a")
        on_its_way, behind = await world.context(raw), await world.context(raw)
        first = asyncio.create_task(world.engine.execute_workflow(on_its_way))
        await asyncio.sleep(1)
        with pytest.raises(StoreUnavailable):
            await world.engine.execute_workflow(behind)
        with pytest.raises(OutcomeUnknown):
            await first
        await asyncio.sleep(60)
        assert await world.store.load(behind.execution_id) is None
        assert await world.store.load(on_its_way.execution_id) is not None

    in_world(main, lease_seconds=1000)


def test_shutting_down_lets_what_runs_finish_and_releases_the_rest() -> None:
    async def main(world: World) -> None:
        world.outside.answers["quick"] = after(5)
        world.outside.answers["slow"] = after(500)
        contexts = [
            await world.context(document({"m": message(m, timeout_seconds=900)}, "start -> m"))
            for m in ("quick", "slow")
        ]
        await world.engine.execute_many(contexts)
        await asyncio.sleep(1)
        await world.engine.shutdown()
        quick, slow = [await world.store.load(c.execution_id) for c in contexts]
        assert quick is not None
        assert slow is not None
        assert quick.progress.status is ExecutionStatus.COMPLETED
        assert slow.progress.status is ExecutionStatus.PENDING
        assert slow.recoveries == 0

    in_world(main, shutdown_grace_seconds=20)


def test_an_interrupted_at_most_once_effect_is_not_repeated() -> None:
    async def main(world: World) -> None:
        world.outside.answers["once"] = after(50)
        raw = document(
            {"m": message("once", timeout_seconds=100, effect="at_most_once")}, "start -> m"
        )
        context = await world.context(raw)
        await world.engine.execute_workflow(context)
        await asyncio.sleep(1)
        world.store.kill(world.store.workers()[0])
        assert await world.engine.wait(context.execution_id, 100)
        state = await world.engine.get_execution_status(context.execution_id)
        assert state is not None
        assert state["error_code"] == "OUTCOME_UNKNOWN"
        assert world.outside.messages() == ["once"]

    in_world(main)


def test_a_dry_run_sends_nothing_and_sleeps_in_no_time() -> None:
    async def main(world: World) -> None:
        raw = document(
            {
                "m": message("Hello {{ name }}"),
                "wait": {"node_type": "action_delay", "config": {"delay_seconds": 604_800}},
                "after": setting(id="{{ nodes.m.output.message_id }}"),
            },
            "start -> m",
            "m -> wait",
            "wait -> after",
            max_execution_time_seconds=864_000,
        )
        context = await world.context(raw, variables={"name": "Ada"})
        graph = await world.engine.graphs.get(context.workflow_id, context.workflow_version)
        report = await world.engine.dry_run(graph, context, {"m": {"output": {"message_id": "7"}}})
        assert report["status"] == "completed"
        assert report["summary"]["passed"]
        assert report["trace"][1]["would_send"]["message"] == "Hello Ada"
        assert report["final_variables"]["id"] == "7"
        assert report["execution_time_seconds"] == 604_800
        assert world.outside.arrived == []
        assert await world.store.load(context.execution_id) is None
        assert asyncio.get_running_loop().time() < 1

    in_world(main)


def test_a_dry_run_that_would_take_too_long_times_out() -> None:
    async def main(world: World) -> None:
        raw = document(
            {"wait": {"node_type": "action_delay", "config": {"delay_seconds": 10}}},
            "start -> wait",
            max_execution_time_seconds=5,
        )
        context = await world.context(raw)
        graph = await world.engine.graphs.get(context.workflow_id, context.workflow_version)
        with pytest.raises(WorkflowTimeoutException):
            await world.engine.dry_run(graph, context)

    in_world(main)


def test_mocks_answer_call_by_call_and_errors_are_retried() -> None:
    async def main(world: World) -> None:
        retry = {"max_attempts": 3, "initial_seconds": 1, "jitter": False}
        raw = document({"m": message("hi", retry=retry)}, "start -> m")
        context = await world.context(raw)
        graph = await world.engine.graphs.get(context.workflow_id, context.workflow_version)
        mocks = {"m": [{"error": "down"}, {"output": {"message_id": "2"}}]}
        report = await world.engine.dry_run(graph, context, mocks)
        assert report["status"] == "completed"
        assert report["trace"][1]["output"] == {"message_id": "2"}
        assert report["trace"][1]["attempt"] == 2

    in_world(main)


def test_shutting_down_does_not_wait_for_a_store_that_is_frozen() -> None:
    async def main(world: World) -> None:
        context = await world.context(document({"a": setting(x=1)}, "start -> a"))
        await world.engine.execute_workflow(context)

        async def frozen(worker_id: str, batch: Batch) -> None:
            await asyncio.sleep(10_000)

        world.store.flush = frozen  # type: ignore[method-assign]  # the database froze
        await world.engine.shutdown()
        assert asyncio.get_running_loop().time() < 60

    in_world(main, shutdown_grace_seconds=20)


def test_a_short_wait_began_when_it_did() -> None:
    """Nothing is recorded of it before it is over."""

    async def main(world: World) -> None:
        wait = {"node_type": "action_delay", "config": {"delay_ms": 400}}
        context = await world.context(document({"wait": wait}, "start -> wait"))
        await world.engine.execute_workflow(context)
        assert await world.engine.wait(context.execution_id, 60)
        stored = await world.store.load(context.execution_id)
        assert stored is not None
        begun, waited = stored.steps
        assert waited.completed_at is not None
        assert begun.completed_at == waited.started_at
        assert waited.completed_at - waited.started_at == timedelta(milliseconds=400)

    in_world(main)
