"""Which database errors mean what to a caller.

The one distinction that matters: `StoreUnavailable` says that nothing was accepted,
`OutcomeUnknown` that it may have been. A statement is only said to have done nothing when the
server said so itself, or when it never left.
"""

from __future__ import annotations

import asyncpg

from engine.errors import OutcomeUnknown, StoreUnavailable

LOST = (asyncpg.PostgresConnectionError, asyncpg.InternalClientError, OSError, TimeoutError)
"""The conversation broke off: what the server did with the last request is not known.
asyncpg reports a connection that dies between two messages as an `InternalClientError`."""

REFUSED = (
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.DeadlockDetectedError,
    asyncpg.DatabaseDroppedError,
    asyncpg.IdleSessionTimeoutError,
    asyncpg.InsufficientResourcesError,
    asyncpg.QueryCanceledError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
)
"""The server answered that it cannot: whatever was asked did not happen."""


def is_lost(error: BaseException) -> bool:
    """Whether the connection broke off."""
    return isinstance(error, LOST) or (
        isinstance(error, asyncpg.InterfaceError) and "closed" in str(error)
    )


def unavailable(error: BaseException) -> StoreUnavailable | None:
    """The error as `StoreUnavailable`, None if it is about the statement and not the server."""
    if is_lost(error) or isinstance(error, REFUSED):
        return StoreUnavailable(f"the database does not answer: {_describe(error)}")
    return None


def outcome_unknown(error: BaseException) -> OutcomeUnknown:
    """The error as `OutcomeUnknown`: the connection was lost while something was committing."""
    return OutcomeUnknown(f"the connection was lost during COMMIT: {_describe(error)}")


def _describe(error: BaseException) -> str:
    return str(error) or ("no answer in time" if isinstance(error, TimeoutError) else repr(error))
