"""The AAA log: who asked for what, and whether it was given. One line per event, to one stream.

The rule it keeps: a line tells the truth whatever was in the input. Values are bare only if they
cannot be mistaken for anything else, and otherwise JSON strings, so no name or message can end a
line, start a field or forge one; and secrets are masked before anything is written.

    [2025-12-09T12:00:00Z] INFO workflow_core_module AUDIT community=123 user=456
    action=execute_workflow result=SUCCESS execution_id=0198…    (one line)

`community=-` and `user=-` stand for "none". The JSON format has the same fields with their JSON
types. Records of the libraries' own loggers are written in the same form (`route_library_logs`).
Written by hand, because the format and the masking are all there is to it: a logging framework
would still need both, and would cost more per event.
"""

from __future__ import annotations

import json
import logging
import re
import time
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

from engine.outage import Outage

Category = Literal["AUTH", "AUTHZ", "AUDIT", "ERROR", "SYSTEM"]
Result = Literal["SUCCESS", "DENIED", "FAILURE"]
LogFormat = Literal["text", "json"]

MODULE = "workflow_core_module"
MASK = "***"
MAX_VALUE = 4_000
"""Characters of one value; the rest is cut, and the cut is shown."""

_BARE = re.compile(r"(?!-\Z)[A-Za-z0-9_.:/@+,;*-]+\Z")
_NOT_IN_KEYS = re.compile(r"[^A-Za-z0-9_.]")
_FIXED_KEYS = frozenset(
    {"time", "level", "module", "category", "community", "user", "action", "result"}
)
_SECRET_KEY = re.compile(
    r"(?:^|[_.-])(?:token|secret|password|passwd|authorization|api[_-]?key|service[_-]?key"
    r"|secret[_-]?key|cookie)$",
    re.IGNORECASE,
)
_SECRET_ENDINGS = ("token", "secret", "password", "passwd", "authorization", "key", "cookie")
_KEY = re.compile(r"wa-[0-9a-f]{16,}", re.IGNORECASE)
_WEBHOOK_SECRET = re.compile(r"whsec_[\w+/=-]{8,}")
_JWT = re.compile(r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*")
_PHRASES = (
    (re.compile(r"\b(bearer|basic) +[\w.~+/=-]{8,}", re.IGNORECASE), r"\1 " + MASK),
    (re.compile(r"(://[^\s/:@]*:)[^\s/@]+@"), r"\1" + MASK + "@"),
    (
        re.compile(
            r"((?:token|secret|password|authorization|api[_-]?key|service[_-]?key)"
            r"[\"']?\s*[=:]\s*[\"']?)(?!\*\*\*|bearer |basic )[^\s\"'&,;}]+",
            re.IGNORECASE,
        ),
        r"\1" + MASK,
    ),
)
"""Secrets that their surroundings give away, and what is written instead."""


class AaaLog:
    """Writes events to a text stream.

    `level` is the least level written (`DEBUG` … `CRITICAL`), `now` gives aware UTC. An event
    that is filtered costs one comparison. A stream that fails (a closed pipe) never fails the
    operation that is logged: the event is counted in `lost`. `monotonic` gives seconds that never
    go back.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        level: str = "INFO",
        format: LogFormat = "text",
        module: str = MODULE,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        number = logging.getLevelNamesMapping().get(level.upper())
        if number is None:
            raise ValueError(f"unknown log level {level!r}; one of DEBUG, INFO, WARNING, ERROR")
        self.level: int = number
        self.lost = 0
        self._stream = stream
        self._format = format
        self._module = module
        self._now = now
        self._monotonic = monotonic
        self._outages: dict[str, Outage] = {}

    def auth(
        self,
        action: str,
        result: Result,
        *,
        community: int | None = None,
        user: int | None = None,
        **fields: Any,
    ) -> None:
        """Who someone is: keys and tokens presented, accepted, refused."""
        self._event("AUTH", action, result, community, user, fields)

    def authz(
        self,
        action: str,
        result: Result,
        *,
        community: int | None = None,
        user: int | None = None,
        **fields: Any,
    ) -> None:
        """What someone may do: permission checks, every denial."""
        self._event("AUTHZ", action, result, community, user, fields)

    def audit(
        self,
        action: str,
        result: Result,
        *,
        community: int | None = None,
        user: int | None = None,
        **fields: Any,
    ) -> None:
        """What someone did: one line per operation."""
        self._event("AUDIT", action, result, community, user, fields)

    def error(
        self,
        action: str,
        result: str = "FAILURE",
        *,
        community: int | None = None,
        user: int | None = None,
        cause: BaseException | None = None,
        **fields: Any,
    ) -> None:
        """What went wrong inside the service; `cause` adds its type, message and traceback."""
        if cause is not None:
            fields = {**fields, **_described(cause)}
        self._event("ERROR", action, result, community, user, fields)

    def system(
        self,
        action: str,
        result: str = "SUCCESS",
        *,
        community: int | None = None,
        user: int | None = None,
        **fields: Any,
    ) -> None:
        """What the service itself does: starting, draining, taking over."""
        self._event("SYSTEM", action, result, community, user, fields)

    def trouble(self, action: str, *, cause: BaseException | None = None, **fields: Any) -> None:
        """What a loop cannot do at present and goes on trying: a line when that begins, and one a
        minute while it lasts. `cause` adds its type and message, and is no bug: no traceback."""
        trouble = self._outages.setdefault(action, Outage()).failed(self._monotonic())
        if trouble is None:
            return
        if cause is not None:
            fields = {"error_type": type(cause).__name__, "error": str(cause), **fields}
        if trouble.tries > 1:
            fields |= {"seconds": round(trouble.seconds, 1), "tries": trouble.tries}
        self.error(action, **fields)

    def over(self, action: str) -> None:
        """The loop can again: a line, if there was trouble, with how long it lasted."""
        outage = self._outages.get(action)
        trouble = None if outage is None else outage.worked(self._monotonic())
        if trouble is not None:
            seconds = round(trouble.seconds, 1)
            self.system(action, "SUCCESS", over_after_seconds=seconds, failed_tries=trouble.tries)

    def write(
        self,
        level: int,
        category: Category,
        action: str,
        result: str,
        *,
        community: int | None = None,
        user: int | None = None,
        fields: Mapping[str, Any],
    ) -> None:
        """Writes one event of any level (a number of `logging`), unless it is filtered."""
        if level < self.level:
            return
        head: dict[str, Any] = {"community": community, "user": user}
        head["action"] = _masked(action)
        head["result"] = result
        head.update(_body(fields))
        moment = self._now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        name = logging.getLevelName(level)
        if self._format == "json":
            start = {"time": moment, "level": name, "module": self._module, "category": category}
            self._put(json.dumps(start | head, ensure_ascii=True, default=str))
            return
        pairs = " ".join(f"{key}={_shown(value)}" for key, value in head.items())
        self._put(f"[{moment}] {name} {self._module} {category} {pairs}")

    def _event(
        self,
        category: Category,
        action: str,
        result: str,
        community: int | None,
        user: int | None,
        fields: Mapping[str, Any],
    ) -> None:
        level = _level(category, result)
        if level >= self.level:
            self.write(
                level, category, action, result, community=community, user=user, fields=fields
            )

    def _put(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except UnicodeEncodeError:
            self._put(line.encode("ascii", "backslashreplace").decode())
        except (OSError, ValueError):
            self.lost += 1


class LibraryHandler(logging.Handler):
    """Writes records of Python's `logging` as AAA events: `ERROR` from that level on, else
    `SYSTEM`; the action is the logger's name."""

    def __init__(self, log: AaaLog) -> None:
        super().__init__(log.level)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        try:
            fields: dict[str, Any] = {"message": record.getMessage()}
        except (TypeError, ValueError, KeyError):
            fields = {"message": str(record.msg)}
        if record.exc_info and record.exc_info[1] is not None:
            fields.update(_described(record.exc_info[1]))
        category: Category = "ERROR" if record.levelno >= logging.ERROR else "SYSTEM"
        result: Result = "FAILURE" if record.levelno >= logging.WARNING else "SUCCESS"
        self._log.write(record.levelno, category, record.name, result, fields=fields)


_OWN_HANDLERS = ("hypercorn.error", "hypercorn.access", "quart.app", "quart.serving", "asyncio")
"""Loggers known to bring handlers of their own, which would write in another form."""


def route_library_logs(log: AaaLog) -> Callable[[], None]:
    """Sends everything the libraries log, and Python's warnings, through the AAA log. Returns
    what undoes it."""
    root = logging.getLogger()
    loggers = [root, *(logging.getLogger(name) for name in _OWN_HANDLERS)]
    before = [(one, one.handlers[:], one.level, one.propagate) for one in loggers]
    for one in loggers:
        one.handlers = []
        one.propagate = True
    root.handlers = [LibraryHandler(log)]
    root.setLevel(log.level)
    logging.captureWarnings(True)

    def undo() -> None:
        for one, handlers, level, propagate in before:
            one.handlers = handlers
            one.setLevel(level)
            one.propagate = propagate
        logging.captureWarnings(False)

    return undo


def _level(category: Category, result: str) -> int:
    """How loud an event is. A denial or a caller's mistake is not an error of the service."""
    if category == "ERROR":
        return logging.ERROR
    return logging.INFO if result == "SUCCESS" else logging.WARNING


def _described(cause: BaseException) -> dict[str, Any]:
    lines = traceback.format_exception(type(cause), cause, cause.__traceback__)
    text = "".join(lines).strip()
    return {
        "error_type": type(cause).__name__,
        "error": str(cause),
        "traceback": text[-MAX_VALUE:],
    }


def _body(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The event's own fields: keys made safe, secrets masked."""
    body: dict[str, Any] = {}
    for key, value in fields.items():
        name = _NOT_IN_KEYS.sub("_", key)[:64] or "_"
        body[f"field_{name}" if name in _FIXED_KEYS else name] = _concealed(key, value)
    return body


def _concealed(key: str, value: Any) -> Any:
    """The value as JSON, with secrets masked at any depth."""
    if value is not None and key.lower().endswith(_SECRET_ENDINGS) and _SECRET_KEY.search(key):
        return MASK
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {_masked(str(name)): _concealed(str(name), item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_concealed("", item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return _masked(str(value))


def _masked(text: str) -> str:
    """The text without secrets, and not too long. Masked first: a cut could hide a secret's
    form and keep half of it."""
    text = text[: 4 * MAX_VALUE]
    lowered = text.lower()
    if "wa-" in lowered:
        text = _KEY.sub("wa-" + MASK, text)
    if "whsec_" in lowered:
        text = _WEBHOOK_SECRET.sub("whsec_" + MASK, text)
    if "eyj" in lowered:
        text = _JWT.sub(MASK, text)
    if " " in text or ":" in text or "=" in text:
        for pattern, instead in _PHRASES:
            text = pattern.sub(instead, text)
    return text if len(text) <= MAX_VALUE else text[:MAX_VALUE] + "…"


def _shown(value: Any) -> str:
    """One value of a text line."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return value if _BARE.match(value) else _quoted(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    return _quoted(json.dumps(value, ensure_ascii=False, default=str)[:MAX_VALUE])


def _quoted(text: str) -> str:
    """A JSON string of printable characters only: no line break of any alphabet, no control,
    no direction mark."""
    quoted = json.dumps(text, ensure_ascii=False)
    if quoted.isprintable():
        return quoted
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in quoted)
