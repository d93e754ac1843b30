"""What can go wrong while a workflow runs.

Two families. `WorkflowEngineException` and its kin are raised to callers of the engine; their
docstring is the default message. `StepFailure` is how a node says that its step failed: the
engine turns it into a recorded error, a retry, or the `error` port, and never lets it escape.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


class WorkflowEngineException(Exception):
    """The workflow engine could not do what was asked."""

    code = "EXECUTION_ERROR"

    def __init__(self, message: str | None = None, **details: Any) -> None:
        super().__init__(message or (self.__doc__ or "").strip())
        self.details = details


class WorkflowTimeoutException(WorkflowEngineException):
    """The execution took longer than it may."""

    code = "EXECUTION_TIMEOUT"


class NodeExecutionException(WorkflowEngineException):
    """A node of the workflow failed."""

    code = "NODE_FAILED"


class ExecutionNotRunning(WorkflowEngineException):
    """The execution has already ended."""

    code = "EXECUTION_NOT_RUNNING"


class ExecutionNotEnded(WorkflowEngineException):
    """The execution has not ended yet; cancel it, or wait until it has."""

    code = "EXECUTION_NOT_ENDED"


class NothingFailed(WorkflowEngineException):
    """Nothing in this execution failed or was cut off; retry it from start or from a node."""

    code = "NOTHING_FAILED"


class SignalUnknown(WorkflowEngineException):
    """No node of this workflow waits for a signal of this name."""

    code = "SIGNAL_NOT_FOUND"


class SignalReused(WorkflowEngineException):
    """This Idempotency-Key was used for another signal; take a new one for this."""

    code = "IDEMPOTENCY_KEY_REUSED"


class TooManySignals(WorkflowEngineException):
    """The execution has been sent as many signals as it may get."""

    code = "TOO_MANY_SIGNALS"


class ExecutionNotFound(WorkflowEngineException):
    """There is no such execution."""

    code = "EXECUTION_NOT_FOUND"


class AmbiguousTrigger(WorkflowEngineException):
    """The workflow has several triggers and the request does not say which one starts."""

    code = "AMBIGUOUS_TRIGGER"


class Overloaded(WorkflowEngineException):
    """The service has as many waiting executions as it accepts; try again later."""

    code = "OVERLOADED"


class CommunityOverloaded(Overloaded):
    """This community has as many waiting executions as it may have; try again later."""

    code = "RATE_LIMIT_EXCEEDED"


class CommunityFull(WorkflowEngineException):
    """The community's executions take as much room as they may, until retention removes some."""

    code = "PAYLOAD_TOO_LARGE"


class StoreUnavailable(WorkflowEngineException):
    """The database cannot be reached; nothing was accepted."""

    code = "OVERLOADED"


class CancelPending(StoreUnavailable):
    """The cancel was taken and will be obeyed, but nobody confirms it yet. Ask again to be sure."""


class OutcomeUnknown(WorkflowEngineException):
    """The connection was lost during COMMIT; repeat the request with the same Idempotency-Key."""

    code = "OUTCOME_UNKNOWN"


class LeaseLost(WorkflowEngineException):
    """This worker's lease is gone: others have taken over its executions."""

    code = "LEASE_LOST"


class InvalidDefinition(WorkflowEngineException):
    """The workflow definition is not valid."""

    code = "INVALID_DEFINITION"


@dataclass(slots=True)
class StepFailure(Exception):
    """A step failed.

    `error_type` is a stable upper-case name (`EXPRESSION_ERROR`, `HTTP_STATUS`, `TIMEOUT`, …),
    `retryable` says whether another attempt could help, `retry_after` is the peer's own wish in
    seconds, `fatal` failures (limits) end the execution whatever the node's error handling says.
    After an `uncertain` one nobody knows whether the effect took place (a time-out, a connection
    that broke off): an `at_most_once` effect is then not tried again.
    """

    error_type: str
    message: str
    retryable: bool = False
    retry_after: float | None = None
    fatal: bool = False
    uncertain: bool = False
    details: dict[str, Any] | None = None

    def __str__(self) -> str:
        return self.message
