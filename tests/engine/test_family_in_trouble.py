"""The database fails while families are seen to."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from engine.context import JsonObject
from engine.errors import OutcomeUnknown, StoreUnavailable
from tests.engine.test_subworkflows import CHILD, adding, parent
from tests.engine.world import Log, World, document
from tests.virtual_time import simulate

ERRORS = "0190a000-0000-7000-8000-00000000000e"


@pytest.mark.parametrize("failure", [StoreUnavailable, OutcomeUnknown])
def test_a_child_is_found_although_the_database_failed_meanwhile(failure: type[Exception]) -> None:
    async def scenario() -> JsonObject:
        world = World()
        world.publish(adding(), CHILD)
        find, left = world.callee, [failure(), failure()]

        async def callee(workflow_id: str, caller: Any) -> Any:
            if left:
                raise left.pop()
            return await find(workflow_id, caller)

        world.callee = callee  # type: ignore[method-assign]
        return await world.run(parent(variables={"a": 1, "b": 2}))

    assert simulate(scenario())["status"] == "completed"


def test_a_drain_does_not_wait_for_a_child_that_cannot_be_found() -> None:
    async def scenario() -> float:
        world = World(shutdown_grace_seconds=5)

        async def callee(workflow_id: str, caller: Any) -> Any:
            raise StoreUnavailable

        world.callee = callee  # type: ignore[method-assign]
        await world.engine.start()
        await world.engine.execute_workflow(await world.context(parent()))
        await asyncio.sleep(3)
        before = world.clock.monotonic()
        await world.engine.shutdown()
        return world.clock.monotonic() - before

    assert simulate(scenario()) < 8


def test_an_answer_that_is_given_twice_ends_once() -> None:
    """`answered` did not get through, so the failure is answered again while its error workflow
    runs here: the second creation must not swallow the end of the first."""

    async def scenario() -> tuple[list[str], list[Any], float]:
        world = World()
        raw = document(
            {"t": {"node_type": "data_transform", "transformations": {"x": "1 / 0"}}},
            "start -> t",
            error_workflow_id=ERRORS,
        )
        world.publish(
            document(
                {
                    "say": {"node_type": "action_chat_message", "message": "hello"},
                    "d": {"node_type": "action_delay", "delay_seconds": 0.5},
                    "end": {"node_type": "flow_end"},
                },
                "start -> say",
                "say -> d",
                "d -> end",
            ),
            ERRORS,
        )
        answered, left = world.store.answered, [1, 2, 3, 4, 5]

        async def unlucky(ids: list[str]) -> None:
            if left:
                left.pop()
                raise StoreUnavailable
            await answered(ids)

        world.store.answered = unlucky  # type: ignore[method-assign]
        await world.engine.start()
        await world.engine.execute_workflow(await world.context(raw))
        session = world.engine._session
        assert session is not None
        for _ in range(100):
            session.nudge()
            await asyncio.sleep(0.02)
        await asyncio.sleep(60)
        rows = [r for r in world.store._rows.values() if r.context.workflow_id == ERRORS]
        ends = [
            (
                str(r.progress.status),
                (r.progress.end_time - r.context.created_at).total_seconds()
                if r.progress.end_time
                else None,
            )
            for r in rows
        ]
        return world.outside.messages(), ends, 0.0

    messages, ends, _ = simulate(scenario())
    assert messages == ["hello"]
    assert len(ends) == 1
    assert ends[0][0] == "completed"
    assert ends[0][1] < 3


def test_a_signal_with_the_same_id_must_say_the_same() -> None:
    from engine.errors import SignalReused

    async def scenario() -> None:
        world = World()
        raw = document({"w": {"node_type": "flow_wait", "signal": "go"}}, "start -> w")
        await world.engine.start()
        context = await world.context(raw)
        await world.engine.execute_workflow(context)
        letter = world.new_id()
        for payload in (1, True):
            await world.engine.signal_execution(
                context.execution_id, "go", payload, sent_by=1, letter_id=letter
            )

    with pytest.raises(SignalReused):
        simulate(scenario())


SPOOFED: JsonObject = {"execution": {"user_id": 1}, "trigger": "mine"}


def test_a_child_may_not_be_given_reserved_names() -> None:
    async def scenario() -> tuple[JsonObject, int]:
        world = World()
        world.publish(document({"end": {"node_type": "flow_end"}}, "start -> end"), CHILD)
        state = await world.run(parent(variables="{{ given }}"), variables={"given": SPOOFED})
        return state, len(world.store._rows)

    state, executions = simulate(scenario())
    assert (state["error_code"], executions) == ("BAD_CONFIG", 1)
    assert "'execution' is reserved and cannot be set" in state["error_message"]


def test_variables_of_reserved_names_that_got_in_all_the_same_are_not_read() -> None:
    """Children were given such once, and may still run."""

    async def scenario() -> JsonObject:
        raw = document(
            {"end": {"node_type": "flow_end", "output": "{{ [execution.user_id, trigger] }}"}},
            "start -> end",
        )
        metadata = {"trigger_source": "subworkflow"}
        return await World().run(raw, variables=SPOOFED, metadata=metadata)

    state = simulate(scenario())
    assert state["final_output"][0] == 456
    assert state["final_output"][1]["trigger_source"] == "subworkflow"


async def test_a_family_is_written_together_although_a_neighbour_is_refused() -> None:
    """The parent's record that it waits and the child it waits for: never one without the other."""
    from engine.journal import Journal
    from engine.records import Batch
    from tests.store_contract import FIRST, a_context, a_step, progress_of

    bad, mother = a_context(), a_context()
    child = a_context(parent_execution_id=mother.execution_id, parent_step_key="sub")
    flushes: list[set[str]] = []

    class Refusing:
        async def flush(self, worker_id: str, batch: Batch) -> None:
            if bad.execution_id in batch.executions():
                raise ValueError("no")
            flushes.append(batch.executions())

    refusing: Any = Refusing()
    journal = Journal(refusing, FIRST, lambda *_: None, lambda _: None, Log())
    journal.create(bad, progress_of(bad))
    journal.create(child, progress_of(child))
    position = journal.step(a_step(mother))
    writer = asyncio.ensure_future(journal.run())
    await journal.committed(position)
    journal.close()
    await writer
    assert {mother.execution_id, child.execution_id} in flushes
