"""What becomes of a delivery after a try: done, tried again when, or given up.

Its one rule: it is pure. The receiver's answer and the number of the try go in, chance is an
argument, and what is to be recorded comes out.
"""

from __future__ import annotations

from engine.errors import StepFailure
from engine.nodes.webhook import retry_after
from engine.ports import HttpResponse
from models.outbox import Trial

DELAYS = (5.0, 30.0, 120.0, 600.0, 1_800.0, 5_400.0, 14_400.0, 25_200.0, 37_800.0)
"""Seconds after the first, the second, … failed try: ten tries in 24 hours less a few minutes."""
TRIES = len(DELAYS) + 1
JITTER = 0.1
"""By how much of itself a delay may be shorter, so that what failed together is not tried again
together."""
LONGEST_WISH_SECONDS = 21_600.0
"""How far a receiver may put a try off by `Retry-After`."""
KEPT_CHARACTERS = 1_000
GONE = 410
_SUCCESS = range(200, 300)
_REDIRECT = range(300, 400)


def judge_answer(response: HttpResponse, attempt: int, chance: float) -> Trial:
    """What a receiver's answer to try number `attempt` means. `chance` is from 0 up to 1.

    Only 2xx is a success. A redirect is none: where it leads was not agreed on.
    """
    kept = str(response.body)[:KEPT_CHARACTERS]
    if response.status in _SUCCESS:
        return Trial(error=None, response_status=response.status, response_body=kept)
    gone = response.status == GONE
    wish = retry_after(dict(response.headers))
    return Trial(
        error=_what_was_wrong(response.status),
        response_status=response.status,
        response_body=kept,
        retry_seconds=None if gone else next_delay(attempt, chance, wish),
        gone=gone,
    )


def judge_failure(failure: StepFailure, attempt: int, chance: float) -> Trial:
    """What it means that no answer came."""
    return Trial(error=failure.message, retry_seconds=next_delay(attempt, chance))


def next_delay(attempt: int, chance: float, wish: float | None = None) -> float | None:
    """Seconds until the try after this one; None if this was the last. What the receiver wishes
    makes it longer, within bounds, and never shorter."""
    if attempt >= TRIES:
        return None
    delay = DELAYS[attempt - 1] * (1 - JITTER * chance)
    return max(delay, min(wish or 0.0, LONGEST_WISH_SECONDS))


def _what_was_wrong(status: int) -> str:
    if status in _REDIRECT:
        return f"the receiver answered {status}: redirects are not followed"
    return f"the receiver answered {status}"
