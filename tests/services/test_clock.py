"""The clock follows the database's (G9)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from services.clock import SystemClock

TEN = datetime(2026, 1, 1, 10, tzinfo=UTC)


class Machine:
    """A machine's clocks, which do as they are told."""

    def __init__(self) -> None:
        self.wall = TEN
        self.ticks = 100.0
        self.clock = SystemClock(lambda: self.wall, lambda: self.ticks)

    def passes(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)
        self.ticks += seconds

    def hears(self, told: datetime, took: float = 0.0) -> None:
        asked = self.ticks
        self.passes(took)
        self.clock.hear(told, asked)


def test_g09_before_the_database_was_heard_it_is_the_machines() -> None:
    machine = Machine()
    machine.passes(5)
    assert machine.clock.now() == TEN + timedelta(seconds=5)


def test_g09_then_it_is_the_databases() -> None:
    machine = Machine()
    machine.hears(TEN + timedelta(hours=1))
    machine.passes(5)
    assert machine.clock.now() == TEN + timedelta(hours=1, seconds=5)


def test_g09_a_jump_of_the_machines_clock_changes_nothing() -> None:
    machine = Machine()
    machine.hears(TEN)
    machine.wall += timedelta(days=1)
    machine.passes(5)
    assert machine.clock.now() == TEN + timedelta(seconds=5)


def test_g09_a_jump_of_the_databases_clock_is_followed() -> None:
    machine = Machine()
    machine.hears(TEN)
    for jump in (1, -1):
        moved = machine.clock.now() + timedelta(hours=jump)
        machine.hears(moved)
        assert machine.clock.now() == moved


def test_what_was_told_agrees_as_long_as_it_lies_within_the_time_the_answer_took() -> None:
    machine = Machine()
    machine.hears(TEN)
    machine.passes(10)
    machine.hears(TEN + timedelta(seconds=10.02), took=0.1)
    assert machine.clock.now() == TEN + timedelta(seconds=10.1)


def test_an_answer_that_took_long_is_not_believed() -> None:
    machine = Machine()
    machine.hears(TEN)
    machine.hears(TEN + timedelta(hours=1), took=4.0)
    assert machine.clock.now() == TEN + timedelta(seconds=4)


def test_a_small_step_back_is_waited_for() -> None:
    machine = Machine()
    machine.hears(TEN)
    machine.passes(10)
    before = machine.clock.now()
    machine.hears(TEN + timedelta(seconds=9.5))
    assert machine.clock.now() == before
    machine.passes(0.4)
    assert machine.clock.now() == before
    machine.passes(0.2)
    assert machine.clock.now() == before + timedelta(seconds=0.1)
