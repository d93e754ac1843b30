"""When a failed step is tried again. Pure: the random number is an argument.

One rule: a peer that names a delay (`Retry-After`) is believed up to the policy's own maximum
or an hour, whichever is more; nobody can park an execution for ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from engine.context import Json, JsonObject

Backoff = Literal["exponential", "linear", "fixed"]

_BACKOFFS: dict[str, Backoff] = {
    "exponential": "exponential",
    "linear": "linear",
    "fixed": "fixed",
    "constant": "fixed",
}
MAX_ATTEMPTS = 100
_DEFAULT_ATTEMPTS = 3
_DEFAULT_INITIAL_SECONDS = 1
_DEFAULT_MOST_SECONDS = 60
"""Of a node's `retry` object; the longest pause is never shorter than the first, unless told."""
MAX_DELAY_SECONDS = 30 * 24 * 3600.0
_MOST_WISHED_SECONDS = 3600.0
_MOST_DOUBLINGS = 64


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a step is tried and how long it waits in between.

    `max_attempts` counts the first one; `max_seconds` bounds every delay; `jitter` spreads each
    delay over its upper half, so that what failed together does not return together.
    """

    max_attempts: int = 1
    backoff: Backoff = "exponential"
    initial_seconds: float = 1.0
    max_seconds: float = 60.0
    jitter: bool = True


def parse_retry(value: Json) -> RetryPolicy:
    """The policy of a node's `retry` object, three attempts unless it says otherwise; null gives a
    policy without retries. Raises `ValueError` naming what is wrong."""
    if value is None:
        return RetryPolicy()
    if not isinstance(value, dict):
        raise ValueError("retry must be an object")
    unknown = sorted(value.keys() - {*RetryPolicy.__slots__})
    if unknown:
        known = ", ".join(RetryPolicy.__slots__)
        raise ValueError(f"retry has no key {unknown[0]!r}; it has {known}")
    backoff = value.get("backoff", "exponential")
    if not isinstance(backoff, str) or backoff not in _BACKOFFS:
        raise ValueError("retry.backoff must be exponential, linear or fixed")
    jitter = value.get("jitter", True)
    if not isinstance(jitter, bool):
        raise ValueError("retry.jitter must be true or false")
    initial = _seconds(value, "initial_seconds", _DEFAULT_INITIAL_SECONDS)
    return RetryPolicy(
        max_attempts=_attempts(value.get("max_attempts", _DEFAULT_ATTEMPTS)),
        backoff=_BACKOFFS[backoff],
        initial_seconds=initial,
        max_seconds=_seconds(value, "max_seconds", max(_DEFAULT_MOST_SECONDS, initial)),
        jitter=jitter,
    )


def completed_retry(given: JsonObject) -> JsonObject:
    """A node's `retry` object with everything that it leaves out, as `parse_retry` reads it.
    `given` holds nothing but what is right."""
    initial = given.get("initial_seconds", _DEFAULT_INITIAL_SECONDS)
    return {
        "max_attempts": _DEFAULT_ATTEMPTS,
        "backoff": "exponential",
        "initial_seconds": initial,
        "max_seconds": max(_DEFAULT_MOST_SECONDS, initial),
        "jitter": True,
        **given,
    }


def delay_before(
    policy: RetryPolicy, next_attempt: int, random: float, retry_after: float | None = None
) -> float:
    """Seconds to wait before attempt number `next_attempt` (the first retry is 2).

    `random` is in [0, 1); `retry_after` is the peer's wish in seconds, which is a minimum.
    """
    retries = max(1, next_attempt - 1)
    match policy.backoff:
        case "exponential":
            delay = policy.initial_seconds * 2.0 ** min(retries - 1, _MOST_DOUBLINGS)
        case "linear":
            delay = policy.initial_seconds * retries
        case "fixed":
            delay = policy.initial_seconds
    delay = min(delay, policy.max_seconds)
    if policy.jitter:
        delay *= 0.5 + random / 2
    if retry_after is None or not retry_after > 0:
        return delay
    return max(delay, min(retry_after, max(policy.max_seconds, _MOST_WISHED_SECONDS)))


def _attempts(value: Json) -> int:
    if type(value) is not int or not 1 <= value <= MAX_ATTEMPTS:
        raise ValueError(f"retry.max_attempts must be a whole number from 1 to {MAX_ATTEMPTS}")
    return value


def _seconds(retry: dict[str, Json], key: str, default: float) -> float:
    value = retry.get(key, default)
    if type(value) not in (int, float) or not 0 <= value <= MAX_DELAY_SECONDS:
        raise ValueError(f"retry.{key} must be a number of seconds from 0 to 30 days")
    return float(value)
