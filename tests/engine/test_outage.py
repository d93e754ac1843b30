"""A trouble is said when it begins, once a minute, and when it is over."""

from __future__ import annotations

from engine.outage import Outage, Trouble


def test_a_trouble_is_said_at_its_first_try_and_then_once_a_minute() -> None:
    outage = Outage()
    said = [outage.failed(float(second)) for second in range(121)]
    assert [trouble for trouble in said if trouble] == [
        Trouble(0.0, 1),
        Trouble(60.0, 61),
        Trouble(120.0, 121),
    ]


def test_the_end_of_a_trouble_is_said_once_with_how_long_it_was() -> None:
    outage = Outage()
    for second in (5.0, 6.0, 7.0):
        outage.failed(second)
    assert outage.worked(9.0) == Trouble(4.0, 3)
    assert outage.worked(10.0) is None


def test_what_works_has_nothing_to_say() -> None:
    assert Outage().worked(1.0) is None


def test_the_next_trouble_is_said_at_once_again() -> None:
    outage = Outage()
    outage.failed(1.0)
    outage.worked(2.0)
    assert outage.failed(3.0) == Trouble(0.0, 1)
