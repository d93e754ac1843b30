"""How streams are kept honest: whose callers are proved again, and what is looked for."""

from __future__ import annotations

from typing import Any

import pytest

from services.caller import EVERYDAY_SCOPES, Caller
from services.errors import Denied
from services.live_filters import LiveFilter
from services.live_streams import Stream
from services.live_updates import LOOKED_AT_ONCE, RECHECK_SECONDS, LiveLimits, LiveUpdates
from tests.engine.world import Log

CALLER = Caller(user_id=456, community_id=1, scopes=EVERYDAY_SCOPES)


class Proof:
    """Proves one credential, as long as it is good."""

    def __init__(self) -> None:
        self.asked = 0
        self.good = True

    async def __call__(self) -> Caller:
        self.asked += 1
        if not self.good:
            raise Denied("It was revoked.")
        return CALLER


@pytest.fixture
def live() -> LiveUpdates:
    nothing: Any = None
    return LiveUpdates(nothing, nothing, nothing, nothing, nothing, nothing, Log(), LiveLimits())


async def test_a_credential_is_proved_once_for_all_of_its_streams(live: LiveUpdates) -> None:
    proofs = Proof(), Proof()
    streams = [Stream(CALLER, proofs[number % 2], LiveFilter(), 10) for number in range(20)]
    for stream in streams:
        live._hub.add(stream)

    await live._prove_again(RECHECK_SECONDS)
    await live._prove_again(RECHECK_SECONDS + 0.1)
    assert [proof.asked for proof in proofs] == [1, 1]

    proofs[0].good = False
    await live._prove_again(2 * RECHECK_SECONDS)
    assert [proof.asked for proof in proofs] == [2, 2]
    assert [stream.ended for stream in streams] == ["refused", None] * 10


def test_of_many_that_are_in_flight_each_has_its_turn(live: LiveUpdates) -> None:
    few = {str(number): number for number in range(LOOKED_AT_ONCE)}
    assert live._in_turn(few) == few
    many = {str(number): number for number in range(2 * LOOKED_AT_ONCE + 500)}
    looks = [live._in_turn(many) for _ in range(3)]
    assert [len(look) for look in looks] == [LOOKED_AT_ONCE] * 3
    assert looks[0] | looks[1] | looks[2] == many
