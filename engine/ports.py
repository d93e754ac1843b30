"""The only abstractions of the engine, each with two real users.

`ExecutionStore` is kept by PostgreSQL and by memory, `Transport` by the router and the console,
`HttpClient` by aiohttp and by the tests' recorder, `Clock` by the wall and by virtual time,
`Directory` by the permission service's answers and by the tests' list, `Carrying` by the
community's vault and by the dry run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

from engine.context import ExecutionContext, ExecutionStatus, Json, JsonObject
from engine.records import Batch, Letter, StoredExecution
from engine.sealed import Place


class Clock(Protocol):
    """Time, as the engine may ask for it."""

    def now(self) -> datetime:
        """The present moment, aware, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back, for durations and deadlines."""
        ...

    def hear(self, told: datetime, asked: float) -> None:
        """Hears what time it is by the store's clock, in answer to a question of the monotonic
        moment `asked`. Timers are judged by that clock, so `now` follows it."""
        ...


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """An HTTP answer: `body` is parsed JSON when the content type says so, else text. If it was
    larger than it may be, it was `cut`: then `body` is `{truncated, bytes, preview}`, which says
    so, how large it is (null if the peer did not tell) and how it begins."""

    status: int
    headers: dict[str, str]
    body: Json
    cut: bool = False


class EngineLog(Protocol):
    """Where the engine says what happened to itself."""

    def system(self, action: str, result: str, **fields: Json) -> None:
        """Something the operator may want to know."""
        ...

    def error(self, action: str, result: str, **fields: Json) -> None:
        """Something that should not happen."""
        ...

    def trouble(self, action: str, **fields: Json) -> None:
        """Something that a loop cannot do at present. It says so on every try; what is written is
        the beginning, and now and then that it lasts."""
        ...

    def over(self, action: str) -> None:
        """The loop can do it: the end of its trouble, if there was any. Costs nothing else."""
        ...


class HttpClient(Protocol):
    """Outbound HTTP for workflow authors, guarded: see `services/http_client.py`."""

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        params: Mapping[str, str | list[str]] | None,
        body: Json,
        timeout_seconds: float,
    ) -> HttpResponse:
        """Sends one request. `body` None sends none, a string is sent as text, anything else as
        JSON. Raises `StepFailure` (`NETWORK_ERROR`, `TIMEOUT`, `EGRESS_BLOCKED`, …)."""
        ...


@dataclass(frozen=True, slots=True)
class SecretUse:
    """Whose secrets a request carries, and where. `may_act` says whether it may still be sent."""

    community_id: int
    places: Sequence[Place]
    may_act: Callable[[], bool]


Carrying = Callable[[SecretUse], HttpClient]
"""Makes the `HttpClient` of requests that carry a community's secrets: it fills them in, sends the
request and answers without them. See `services/secret_client.py`. It raises `StepFailure` as any
other does, and `SECRET_NOT_FOUND`, `SECRET_NOT_ALLOWED`, `SECRET_UNREADABLE`, `BAD_REQUEST`;
`LeaseLost` if the request may not be sent any more."""


class Transport(Protocol):
    """How messages, modules and overlays reach WaddleBot."""

    async def execute_module(
        self, request: JsonObject, *, idempotency_key: str, timeout_seconds: float
    ) -> Json:
        """Posts `{module_name, module_version, action, input, entity_id, user_id, session_id}`;
        returns the module's JSON. Raises `StepFailure`."""
        ...

    async def send_message(
        self, request: JsonObject, *, idempotency_key: str, timeout_seconds: float
    ) -> Json:
        """Posts `{message, destination, entity_id, user_id, platform, reply_to_message,
        channel_id?, target_user_id?}`; returns `{message_id}`. Raises `StepFailure`."""
        ...

    async def browser_source(
        self, request: JsonObject, *, idempotency_key: str, timeout_seconds: float
    ) -> Json:
        """Posts `{source_type, action, content, duration, priority, entity_id}`. Raises
        `StepFailure`."""
        ...


@dataclass(frozen=True, slots=True)
class Callee:
    """A published workflow that an execution may start: the version that is live now."""

    workflow_id: str
    version: int
    entity_id: int | None = None


class Directory(Protocol):
    """Which workflows an execution may start."""

    async def callee(self, workflow_id: str, caller: ExecutionContext) -> Callee:
        """The workflow of this id, if it is published, of the caller's community, and its user or
        the publisher of its version may execute it. Raises `StepFailure`
        (`SUBWORKFLOW_NOT_FOUND`, `SUBWORKFLOW_NOT_ACTIVE`), `StoreUnavailable`."""
        ...


@dataclass(frozen=True, slots=True)
class Cancellation:
    """What became of a request to cancel.

    `state` is `cancelled` (it is, since `at`), `requested` (another worker holds it and has been
    told), or `ended` (too late: it had already ended, with `status`).
    """

    state: str
    at: datetime | None = None
    status: str | None = None


Posted = Literal["kept", "known", "full", "ended"]
"""What becomes of a letter: it is kept; one of its id was before; there are `MOST_SIGNALS` signals
already; the execution has ended."""

MOST_SIGNALS = 500


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a worker may do now: whether something can be claimed, which of its executions
    somebody wants cancelled or paused, in how many seconds the next parked one is due, how many
    executions it holds, how many letters those have that have any, whether a failure waits
    for its error workflow, whether some of what can be claimed is of a workflow with a limit, and
    whether there are other workers."""

    claimable: bool
    cancel: tuple[str, ...]
    next_wake: float | None
    held: int
    letters: dict[str, int] = field(default_factory=dict)
    unanswered: bool = False
    pause: tuple[str, ...] = ()
    limited: bool = True
    company: bool = True


@dataclass(frozen=True, slots=True)
class Room:
    """How much a worker may claim: `free` executions in all; of one community only so many that
    at most `each` run here, with those that do already (`running`, by community); and so many
    that at most `everywhere` run on all workers together (None: no such limit)."""

    free: int
    each: int = 1_000_000
    running: Mapping[int, int] = field(default_factory=dict)
    everywhere: int | None = None


class ExecutionStore(Protocol):
    """Where executions live. Every write of a worker is conditional on that worker's lease.

    However an execution ends, and in the same transaction: the step of its parent that waits for
    it gets a letter, and the children that its own steps wait for are cancelled.
    """

    async def flush(self, worker_id: str, batch: Batch) -> None:
        """Writes a batch in one transaction; repeating one that was written changes nothing.

        Raises `LeaseLost` if the worker is not alive (nothing is written), `StoreUnavailable`
        (nothing is known to be written), `OutcomeUnknown` (repeat it to find out), `ValueError`
        if a value of the batch cannot be stored.
        """
        ...

    async def load(self, execution_id: str) -> StoredExecution | None:
        """One execution with its steps and letters."""
        ...

    async def claim(
        self, worker_id: str, room: Room, *, limited: bool = True
    ) -> list[StoredExecution]:
        """Takes over executions that nobody holds and that may run now, as far as there is room:
        pending ones and those whose `wake_at` has come. Communities take turns, the one that has
        fewest here first; within one, the oldest. They come back `running`, held by the worker,
        with their steps and letters. Without `limited`, none of a workflow with a limit."""
        ...

    async def look(self, worker_id: str) -> Outlook:
        """What there is to do for this worker, in one query."""
        ...

    async def held(self, worker_id: str) -> dict[str, int]:
        """The executions that this worker holds, and how often each had been claimed by then."""
        ...

    async def let_go(self, worker_id: str, held: Mapping[str, int]) -> int:
        """Frees those of these executions that this worker still holds by that claim, uncounted;
        a copy of the request that comes late must not free what it has claimed again since.
        Returns how many."""
        ...

    async def pending(self, most: int, community_id: int | None = None) -> int:
        """How many executions wait to be claimed, of one community or of all, counted up to
        `most` or a little beyond."""
        ...

    async def kept_bytes(self, community_id: int) -> int:
        """How many bytes are kept of the executions of a community that have ended or were parked:
        `stored_bytes` of each."""
        ...

    async def status(self, execution_id: str) -> ExecutionStatus | None:
        """An execution's status; None if there is none."""
        ...

    async def ended(self, execution_ids: list[str]) -> set[str]:
        """Those of these executions that have ended."""
        ...

    async def post(self, execution_id: str, letter: Letter) -> Posted | None:
        """Keeps a letter for an execution and wakes it; once, however often it is repeated. What
        became of it; None if there is no such execution."""
        ...

    async def letters(self, execution_id: str, after: int = 0) -> list[Letter]:
        """The letters of an execution but the first `after`, as they came."""
        ...

    async def peek(self, execution_id: str) -> StoredExecution | None:
        """One execution without its steps and letters."""
        ...

    async def unanswered(self, most: int) -> list[StoredExecution]:
        """At most `most` executions that failed and whose error workflow has not been started,
        without their steps."""
        ...

    async def answered(self, execution_ids: list[str]) -> None:
        """Notes that the error workflows of these failures were started, or cannot be."""
        ...

    async def request_cancel(self, execution_id: str) -> Cancellation | None:
        """Cancels an execution nobody holds, or asks its holder to. None if there is none."""
        ...

    async def request_pause(self, execution_id: str) -> ExecutionStatus | None:
        """Pauses an execution nobody holds, or asks its holder to. Its status then (a terminal
        one: it was too late); None if there is none."""
        ...

    async def request_resume(self, execution_id: str) -> ExecutionStatus | None:
        """Lets an execution go on that is paused or about to be; one that is neither stays as it
        is. Its status then; None if there is none."""
        ...

    async def register(self, worker_id: str, name: str, lease_seconds: float) -> datetime:
        """Enters a new worker, alive. What time it is by the store's clock."""
        ...

    async def heartbeat(self, worker_id: str, lease_seconds: float) -> datetime | None:
        """Renews the lease. What time it is by the store's clock; None if the worker was declared
        dead."""
        ...

    async def reap(self, worker_id: str, max_recoveries: int) -> int:
        """Declares silent workers dead and frees what they held; executions that have killed
        more than `max_recoveries` workers fail with `WORKER_LOST`. Returns how many were freed."""
        ...

    async def release(self, worker_id: str) -> int:
        """Frees everything this worker holds, uncounted, and ends its lease."""
        ...

    async def definition(self, workflow_id: str, version: int) -> JsonObject | None:
        """The canonical document of a published version."""
        ...

    async def listen(self, wake: Callable[[str], None]) -> None:
        """Calls `wake(topic)` when another process hints that there is something to do: `pending`,
        or `cancel`, `pause`, `resume`, `letter` and an execution's id after a colon; or when this
        process's own worker had better renew its lease now: `lease`. Hints may be lost."""
        ...
