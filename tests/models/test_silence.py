"""While the server is silent one call asks and the others fail; nothing else makes it silent."""

from __future__ import annotations

import pytest

from engine.errors import OutcomeUnknown, StoreUnavailable
from models.silence import Silence
from tests.virtual_time import simulate


def ask(silence: Silence, ends: BaseException | None = None, *, urgent: bool = False) -> None:
    with silence.call(urgent=urgent):
        if ends is not None:
            raise ends


def fall_silent(silence: Silence) -> None:
    with pytest.raises(TimeoutError):
        ask(silence, TimeoutError())


def test_while_one_call_asks_a_silent_server_the_others_fail_at_once() -> None:
    async def main() -> None:
        silence = Silence()
        fall_silent(silence)
        with silence.call(urgent=False):
            with pytest.raises(StoreUnavailable):
                ask(silence)
            ask(silence, urgent=True)

    simulate(main())


def test_a_probe_that_is_not_answered_leaves_room_for_the_next() -> None:
    async def main() -> None:
        silence = Silence()
        fall_silent(silence)
        fall_silent(silence)
        ask(silence)

    simulate(main())


@pytest.mark.parametrize("answer", [None, ConnectionRefusedError(), LookupError()])
def test_any_answer_ends_the_silence_for_all(answer: Exception | None) -> None:
    async def main() -> None:
        silence = Silence()
        fall_silent(silence)
        try:
            ask(silence, answer)
        except (OSError, LookupError):
            assert answer is not None
        with silence.call(urgent=False):
            ask(silence)

    simulate(main())


def test_a_call_that_waits_in_vain_while_others_are_answered_is_no_silence() -> None:
    async def main() -> None:
        silence = Silence()
        waiting = silence.call(urgent=False)
        waiting.__enter__()
        ask(silence)
        late = TimeoutError()
        assert not waiting.__exit__(TimeoutError, late, None)
        with silence.call(urgent=False):
            ask(silence)

    simulate(main())


def test_a_write_whose_outcome_is_unknown_for_want_of_an_answer_is_silence() -> None:
    async def main() -> None:
        silence = Silence()
        unknown = OutcomeUnknown()
        unknown.__cause__ = TimeoutError()
        with pytest.raises(OutcomeUnknown):
            ask(silence, unknown)
        with silence.call(urgent=False), pytest.raises(StoreUnavailable):
            ask(silence)

    simulate(main())
