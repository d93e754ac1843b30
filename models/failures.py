"""Which database errors mean what to a caller.

The one distinction that matters: `StoreUnavailable` says that nothing was accepted,
`OutcomeUnknown` that it may have been. A statement is only said to have done nothing when the
server said so itself, or when it never left.
"""

from __future__ import annotations

import asyncio
import re

import asyncpg

from engine.errors import OutcomeUnknown, StoreUnavailable

LOST = (asyncpg.PostgresConnectionError, asyncpg.InternalClientError, OSError, TimeoutError)
"""The conversation broke off: what the server did with the last request is not known.
asyncpg reports a connection that dies between two messages as an `InternalClientError`."""

REFUSED = (
    asyncpg.OperatorInterventionError,  # shut down, cancelled, starting up, database dropped
    asyncpg.InsufficientResourcesError,  # disk full, out of memory, too many connections
    asyncpg.PostgresSystemError,  # the server's own input and output
    asyncpg.InternalServerError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.LockNotAvailableError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.TransactionTimeoutError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InvalidCachedStatementError,  # the schema changed under a prepared statement
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
)
"""The server answered that it cannot: whatever was asked did not happen."""

UNFIT = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
)
"""A value that no repetition makes fit."""

_BROKEN = re.compile(r"clos(?:ed|ing)|another operation")
"""What asyncpg says, by `InterfaceError` and in words only, of a connection or a pool that cannot
be used any more, or whose last conversation was broken off."""


def is_lost(error: BaseException) -> bool:
    """Whether the connection broke off."""
    return isinstance(error, LOST) or (
        isinstance(error, asyncpg.InterfaceError) and _BROKEN.search(str(error)) is not None
    )


def is_spent(error: BaseException) -> bool:
    """Whether the connection must not be used again: it broke off, nobody waited for the end of
    what it did, or it leads nowhere."""
    return (
        is_lost(error)
        or isinstance(error, OutcomeUnknown | asyncio.CancelledError)
        or leads_nowhere(error)
    )


def leads_nowhere(error: BaseException) -> bool:
    """Whether nothing can be written on this connection, and probably on none made as early: a
    session that began read-only stays so, and so does one with a primary that became a replica,
    when that is long over."""
    return isinstance(error, asyncpg.ReadOnlySQLTransactionError)


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
