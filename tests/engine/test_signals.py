"""Signals: who may go on, with what, and that none is lost on its way."""

from __future__ import annotations

from typing import Any

import pytest

from engine.context import JsonObject
from engine.errors import ExecutionNotFound, ExecutionNotRunning, SignalUnknown
from engine.signals import SignalUnfit
from tests.engine.world import World, document
from tests.virtual_time import simulate

ASK: JsonObject = {"node_type": "flow_wait", "signal": "approved"}
SAY: JsonObject = {"node_type": "action_chat_message", "message": "ok {{ input }}"}


def waiting_for(**config: Any) -> JsonObject:
    return document({"ask": {**ASK, **config}, "say": SAY}, "start -> ask", "ask -> say")


def letter_id(number: int) -> str:
    return f"0190f000-0000-7000-8000-{number:012d}"


class Told:
    """A world with one execution that waits, and somebody who sends it signals."""

    def __init__(self, world: World, execution_id: str) -> None:
        self.world = world
        self.execution_id = execution_id
        self._sent = 0

    async def send(self, payload: Any, name: str = "approved", number: int | None = None) -> None:
        self._sent += 1
        await self.world.engine.signal_execution(
            self.execution_id, name, payload, sent_by=1, letter_id=letter_id(number or self._sent)
        )

    async def end(self) -> JsonObject:
        assert await self.world.engine.wait(self.execution_id, 40 * 86_400)
        return await self.state()

    async def state(self) -> JsonObject:
        state = await self.world.engine.get_execution_status(self.execution_id)
        assert state is not None
        return state

    async def parked(self) -> None:
        while (await self.world.store.status(self.execution_id)) != "waiting":
            await self.world.turn()


async def started(world: World, raw: JsonObject, **fields: Any) -> Told:
    if not world.engine.ready:
        await world.engine.start()
    context = await world.context(raw, **fields)
    await world.engine.execute_workflow(context)
    return Told(world, context.execution_id)


def test_a_signal_lets_a_parked_execution_go_on_with_its_payload() -> None:
    async def scenario() -> JsonObject:
        told = await started(World(), waiting_for())
        await told.parked()
        await told.send({"by": "ada"})
        return await told.end()

    state = simulate(scenario())
    assert state["status"] == "completed"
    assert state["node_states"]["ask"]["output_data"] == {"by": "ada"}
    assert state["node_states"]["ask"]["port"] == "output"
    assert [line["message"] for line in state["node_states"]["ask"]["logs"]] == [
        "Waiting for the signal 'approved'.",
        "Finished; left by port 'output'.",
    ]
    assert state["node_states"]["say"]["input_data"]["message"] == 'ok {"by":"ada"}'


def test_a_parked_execution_takes_no_memory_while_it_waits() -> None:
    async def scenario() -> int:
        world = World()
        told = await started(world, waiting_for())
        await told.parked()
        await world.turn()
        assert world.engine._session is not None
        return len(world.engine._session._runners)

    assert simulate(scenario()) == 0


def test_a_signal_that_comes_before_its_wait_is_kept_for_it() -> None:
    raw = document(
        {"nap": {"node_type": "action_delay", "delay_seconds": 60}, "ask": ASK},
        "start -> nap",
        "nap -> ask",
    )

    async def scenario() -> JsonObject:
        told = await started(World(), raw)
        await told.parked()
        await told.send("early")
        return await told.end()

    state = simulate(scenario())
    assert state["node_states"]["ask"]["output_data"] == "early"
    assert state["execution_time_seconds"] == pytest.approx(60, abs=1)


def test_a_signal_reaches_an_execution_that_is_busy_beside_its_wait() -> None:
    raw = document(
        {"ask": ASK, "hook": {"node_type": "action_webhook", "url": "https://slow.example/"}},
        "start -> ask",
        "start -> hook",
    )

    async def scenario() -> tuple[JsonObject, float]:
        world = World()
        world.outside.answers["https://slow.example/"] = world.gate.wait_for_it
        told = await started(world, raw)
        await world.turn()
        await told.send(1)
        while "ask" not in (await told.state())["execution_path"]:
            await world.turn()
        before = world.clock.monotonic()
        world.gate.open()
        return await told.end(), before

    state, signalled = simulate(scenario())
    assert state["execution_path"] == ["start", "ask", "hook"]
    assert signalled < 1


def test_the_time_out_leaves_by_its_own_port() -> None:
    raw = document(
        {
            "ask": {**ASK, "timeout_seconds": 30},
            "late": {"node_type": "flow_end", "output": "late"},
        },
        "start -> ask",
        "ask.timeout -> late",
    )
    state = simulate(World().run(raw))
    assert state["final_output"] == "late"
    assert state["node_states"]["ask"]["port"] == "timeout"


def test_each_wait_takes_one_signal_in_the_order_they_came() -> None:
    raw = document(
        {"first": ASK, "second": ASK, "end": {"node_type": "flow_end"}},
        "start -> first",
        "first -> second",
        "second -> end",
    )

    async def scenario() -> JsonObject:
        told = await started(World(), raw)
        await told.send("one")
        await told.send("two")
        return await told.end()

    state = simulate(scenario())
    assert state["node_states"]["first"]["output_data"] == "one"
    assert state["node_states"]["second"]["output_data"] == "two"


def test_a_signal_sent_twice_with_one_id_counts_once() -> None:
    raw = document(
        {"first": ASK, "second": {**ASK, "timeout_seconds": 5}},
        "start -> first",
        "first -> second",
    )

    async def scenario() -> JsonObject:
        told = await started(World(), raw)
        await told.send("one", number=7)
        await told.send("one", number=7)
        return await told.end()

    assert simulate(scenario())["node_states"]["second"]["port"] == "timeout"


def test_a_wait_takes_the_oldest_signal_that_fits_its_schema() -> None:
    number, text = ({"type": kind} for kind in ("integer", "string"))
    raw = document(
        {"a": {**ASK, "schema": number}, "b": {**ASK, "schema": text}},
        "start -> a",
        "a -> b",
    )

    async def scenario() -> JsonObject:
        told = await started(World(), raw)
        await told.send("text")
        await told.send(5)
        return await told.end()

    state = simulate(scenario())
    assert state["node_states"]["a"]["output_data"] == 5
    assert state["node_states"]["b"]["output_data"] == "text"


def test_a_payload_that_fits_no_node_is_refused_with_what_is_wrong() -> None:
    schema = {
        "type": "object",
        "properties": {"who": {"type": "object", "properties": {"age": {"minimum": 18}}}},
    }

    async def scenario() -> SignalUnfit:
        told = await started(World(), waiting_for(schema=schema))
        with pytest.raises(SignalUnfit) as refused:
            await told.send({"who": {"age": 3}})
        return refused.value

    refused = simulate(scenario())
    assert [problem.path for problem in refused.problems] == ["/who/age"]
    assert "minimum" in str(refused)


def test_a_signal_nobody_waits_for_is_refused_naming_those_that_are() -> None:
    async def scenario() -> str:
        told = await started(World(), waiting_for())
        with pytest.raises(SignalUnknown) as refused:
            await told.send(1, name="aproved")
        return str(refused.value)

    assert "approved" in simulate(scenario())


def test_an_execution_that_has_ended_takes_no_signal() -> None:
    async def scenario() -> None:
        told = await started(World(), waiting_for())
        await told.send(1)
        await told.end()
        with pytest.raises(ExecutionNotRunning):
            await told.send(2)
        unknown = Told(told.world, letter_id(99))
        with pytest.raises(ExecutionNotFound):
            await unknown.send(1)

    simulate(scenario())


def test_signals_drive_a_loop() -> None:
    raw = document(
        {
            "each": {"node_type": "loop_foreach", "items": "{{ [1, 2, 3] }}"},
            "ask": ASK,
            "end": {"node_type": "flow_end"},
        },
        "start -> each",
        "each.loop -> ask",
        "each -> end",
    )

    async def scenario() -> JsonObject:
        told = await started(World(), raw)
        for answer in "abc":
            await told.parked()
            await told.send(answer)
            await told.world.turn()
        return await told.end()

    assert simulate(scenario())["final_output"] == ["a", "b", "c"]


def test_a_signal_taken_before_a_crash_is_not_taken_again() -> None:
    raw = document(
        {
            "first": ASK,
            "hook": {"node_type": "action_webhook", "url": "https://x.example/"},
            "second": {**ASK, "timeout_seconds": 500},
        },
        "start -> first",
        "first -> hook",
        "hook -> second",
    )

    async def scenario() -> JsonObject:
        world = World(lease_seconds=5)
        world.outside.answers["https://x.example/"] = world.gate.wait_for_it
        told = await started(world, raw, max_execution_seconds=2_000)
        await told.send("one")
        while not world.outside.arrived:
            await world.turn()
        world.store.kill(world.store.workers()[0])
        await told.send("two")
        world.gate.open()
        return await told.end()

    state = simulate(scenario())
    assert state["node_states"]["first"]["output_data"] == "one"
    assert state["node_states"]["second"]["output_data"] == "two"


def test_a_wait_fails_like_any_node_when_its_time_out_makes_no_sense() -> None:
    world = World()
    raw = waiting_for(timeout_seconds="{{ 'soon' }}")
    state = simulate(world.run(raw))
    assert state["status"] == "failed"
    assert state["error_node_id"] == "ask"


def test_the_wait_of_a_loser_ends_with_its_race() -> None:
    raw = document(
        {
            "race": {"node_type": "flow_parallel", "execution_type": "any_first"},
            "ask": ASK,
            "fast": {"node_type": "action_delay", "delay_seconds": 2},
            "join": {"node_type": "flow_merge"},
        },
        "start -> race",
        "race -> ask",
        "race -> fast",
        "ask -> join",
        "fast -> join",
    )
    state = simulate(World(outside=None).run(raw))
    assert state["status"] == "completed"
    assert state["node_states"]["ask"]["status"] == "cancelled"
