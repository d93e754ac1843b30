"""What a use case refuses to do, and why. Controllers turn each into a status and a code.

`denied` marks refusals that are security decisions: they are logged as AUTHZ, whatever the
caller is told.
"""

from __future__ import annotations

from typing import Any, TypedDict

from services.allowances import Standing


class _Problem(TypedDict):
    path: str
    message: str


class Problem(_Problem, total=False):
    """One thing wrong with a request: a JSON pointer, what is wrong, what would be right."""

    hint: str


class Refusal(Exception):
    """The request was refused."""

    code = "BAD_REQUEST"
    denied = False

    def __init__(self, message: str | None = None, details: Any = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip())
        self.details = details


class WorkflowNotFound(Refusal):
    """There is no such workflow."""

    code = "WORKFLOW_NOT_FOUND"

    def __init__(self, *, denied: bool = False) -> None:
        super().__init__()
        self.denied = denied


class ExecutionUnknown(Refusal):
    """There is no such execution."""

    code = "EXECUTION_NOT_FOUND"

    def __init__(self, *, denied: bool = False) -> None:
        super().__init__()
        self.denied = denied


class StepUnknown(Refusal):
    """The execution has no such step."""

    code = "STEP_NOT_FOUND"


class VersionNotFound(Refusal):
    """The workflow has no such version."""

    code = "WORKFLOW_NOT_FOUND"


class Denied(Refusal):
    """You may not do this."""

    code = "PERMISSION_DENIED"
    denied = True


class WorkflowNotActive(Refusal):
    """The workflow is not active."""

    code = "WORKFLOW_NOT_ACTIVE"


class VersionConflict(Refusal):
    """The workflow has been changed since you read it."""

    code = "VERSION_CONFLICT"


class NotValid(Refusal):
    """The request is not valid."""

    code = "VALIDATION_ERROR"

    def __init__(self, problems: list[Problem], message: str | None = None) -> None:
        super().__init__(message or _summary(problems), problems)
        self.problems = problems

    def below(self, path: str) -> NotValid:
        """The same, of something that is part of a request: at `path`."""
        return NotValid([{**problem, "path": path + problem["path"]} for problem in self.problems])


class DefinitionRefused(Refusal):
    """The workflow definition is not valid."""

    code = "INVALID_DEFINITION"


class InvalidCursor(Refusal):
    """The cursor is not one that this list gave out."""

    code = "INVALID_CURSOR"

    def __init__(self) -> None:
        message = "must be a next_cursor that this list, with these filters, gave to this caller"
        super().__init__(details=[Problem(path="/cursor", message=message)])


class IdempotencyKeyReused(Refusal):
    """This Idempotency-Key was used for another request; take a new one for this."""

    code = "IDEMPOTENCY_KEY_REUSED"


class TooManyWorkflows(Refusal):
    """The community has as many workflows as it may have; archive one that is not needed."""

    code = "RATE_LIMIT_EXCEEDED"


class DefinitionsTooLarge(Refusal):
    """The community's definitions, with all their versions, would take more room than they may."""

    code = "PAYLOAD_TOO_LARGE"


class GrantUnknown(Refusal):
    """This target has no grant on the workflow."""

    code = "PERMISSION_NOT_FOUND"


class TooManyGrants(Refusal):
    """The workflow has 1000 grants already: grant to a role or to the community instead."""

    code = "TOO_MANY_PERMISSIONS"


class TooManyStreams(Refusal):
    """You have too many live streams open here."""

    code = "RATE_LIMIT_EXCEEDED"


class StreamsFull(Refusal):
    """No more live streams can be opened here."""

    code = "OVERLOADED"


class KeyUnknown(Refusal):
    """There is no such API key."""

    code = "KEY_NOT_FOUND"

    def __init__(self, *, denied: bool = False) -> None:
        super().__init__()
        self.denied = denied


class KeyNotActive(Refusal):
    """The key is revoked, expired or rotated already."""

    code = "KEY_NOT_ACTIVE"


class TooManyAttempts(Refusal):
    """Too many refused credentials came from your address; try again later."""

    code = "RATE_LIMIT_EXCEEDED"
    denied = True

    def __init__(self, standing: Standing) -> None:
        super().__init__()
        self.standing = standing
        self.retry_after = standing.retry_after


class RateLimited(Refusal):
    """You send more requests than you may; go on after the time in Retry-After."""

    code = "RATE_LIMIT_EXCEEDED"

    def __init__(self, retry_after: int) -> None:
        super().__init__()
        self.retry_after = retry_after


class TokenRefused(Refusal):
    """The token is not valid."""

    code = "UNAUTHORIZED"
    denied = True


class SigningKeysUnavailable(Refusal):
    """The keys that tokens are verified with cannot be had right now."""

    code = "OVERLOADED"


class CommunityUnknown(Refusal):
    """There is no such community."""

    code = "COMMUNITY_NOT_FOUND"

    def __init__(self, *, denied: bool = False) -> None:
        super().__init__()
        self.denied = denied


class MemberUnknown(Refusal):
    """This user has no such role in the community, or none at all."""

    code = "MEMBER_NOT_FOUND"


class SecretUnknown(Refusal):
    """The community has no such secret."""

    code = "SECRET_NOT_FOUND"


class TooManySecrets(Refusal):
    """The community has as many secrets as it may have."""

    code = "TOO_MANY_SECRETS"


class SecretsUnavailable(Refusal):
    """Secrets cannot be kept here: the operator has set no SECRETS_KEY."""

    code = "SECRETS_UNAVAILABLE"


class WebhookUnknown(Refusal):
    """There is no such webhook."""

    code = "WEBHOOK_NOT_FOUND"

    def __init__(self, *, denied: bool = False) -> None:
        super().__init__()
        self.denied = denied


class DeliveryUnknown(Refusal):
    """There is no such delivery."""

    code = "DELIVERY_NOT_FOUND"

    def __init__(self, *, denied: bool = False) -> None:
        super().__init__()
        self.denied = denied


class DeliveryPending(Refusal):
    """The delivery is still being tried."""

    code = "DELIVERY_PENDING"


class WebhookDisabled(Refusal):
    """The webhook is disabled; enable it first."""

    code = "WEBHOOK_DISABLED"


class TooManyWebhooks(Refusal):
    """The community has as many webhooks as it may have."""

    code = "TOO_MANY_WEBHOOKS"


class AlertUnknown(Refusal):
    """There is no such alert."""

    code = "ALERT_NOT_FOUND"

    def __init__(self, *, denied: bool = False) -> None:
        super().__init__()
        self.denied = denied


class TooManyAlerts(Refusal):
    """The community has as many alerts as it may have."""

    code = "TOO_MANY_ALERTS"


def _summary(problems: list[Problem]) -> str:
    first = problems[0]
    where = f"{first['path']}: " if first["path"] else ""
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{where}{first['message']}{more}"
