"""What schemathesis loads: a check that knows what no schema can say, ids of what there is, and a
tally of the calls.

Its one rule: a refusal of what the schema allows is only right if it stands in `UNSAYABLE`, with
the reason why the schema cannot say it.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import schemathesis
from schemathesis import Case, CheckContext, HookContext, Response
from schemathesis.openapi.checks import RejectedPositiveData

from controllers.schemas import MAX_ID, MAX_WAIT_SECONDS
from fuzz.furnished import Known

TALLY = "FUZZ_TALLY"
"""The variable that names the file for the tally."""
KNOWN = "FUZZ_KNOWN"
"""The variable that names the file with what there is: `furnished.Known`."""

_EXPECTED = {401, 403, 404, 409, 429}
"""Refusals of well-formed requests: of who asks, or of what there is."""


@dataclass(frozen=True, slots=True)
class Unsayable:
    """A kind of refusal, and why no schema foretells it. `message` is part of the answer's."""

    code: str
    why: str
    message: str = ""


UNSAYABLE = (
    Unsayable("INVALID_CURSOR", "a cursor is signed"),
    Unsayable("INVALID_DEFINITION", "a graph is judged as a whole"),
    Unsayable("EXECUTION_TIMEOUT", "how long a rehearsal takes depends on the workflow"),
    Unsayable("IDEMPOTENCY_KEY_REUSED", "it depends on what was sent before"),
    Unsayable("INVALID_JSON", "integers have 64 bits, inside of free JSON too", "64 bits"),
    Unsayable("BAD_REQUEST", "it names a node of the workflow", "^(from|trigger_node_id): "),
    Unsayable("VALIDATION_ERROR", "nodes are read in two dialects", "^/(nodes|connections)"),
    Unsayable("VALIDATION_ERROR", "a definition to be tried is judged as a whole", "^/definition/"),
    Unsayable("VALIDATION_ERROR", "definitions tell 3.0 from 3", r"must be an integer.*\.0"),
    Unsayable("VALIDATION_ERROR", "it is held against the workflow", "^/(mocks|signals|assert)"),
    Unsayable("VALIDATION_ERROR", "webhooks of the alert's own community", "^/notify/"),
    Unsayable("VALIDATION_ERROR", "the community of what is changed", "_id: must be the"),
    Unsayable("VALIDATION_ERROR", "it depends on the metric", "^/condition/threshold"),
    Unsayable("VALIDATION_ERROR", "the host must be one to connect to", "^/url: "),
    Unsayable("VALIDATION_ERROR", "names, patterns and addresses of hosts", "^/allowed_hosts/"),
    Unsayable("VALIDATION_ERROR", "bytes, and white space as Unicode has it", "^/value: must"),
    Unsayable("VALIDATION_ERROR", "a definition in a rehearsal", "A workflow has no field"),
    Unsayable("VALIDATION_ERROR", "two parameters together", "^target_id must be the id"),
    Unsayable("VALIDATION_ERROR", "printable, as Unicode has it", "role's name"),
    Unsayable("VALIDATION_ERROR", "one of several flags", "gives nothing"),
    Unsayable("VALIDATION_ERROR", "two parameters together", "either cursor or page|pages go as"),
    Unsayable(
        "VALIDATION_ERROR",
        "two parameters together",
        "earlier|too (early|long)|later|after end",
    ),
    Unsayable("VALIDATION_ERROR", "two parameters together", "contradicts|the same as|more than"),
)

_KINDS = (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), re.compile(r"[A-Za-z]\w{0,63}"))
"""What the values in a path look like: ids, and names of secrets, steps and signals."""

_calls: Counter[tuple[str, int]] = Counter()
_known: Known = json.loads(Path(os.environ[KNOWN]).read_text()) if KNOWN in os.environ else {}


@schemathesis.hook
def map_path_parameters(
    context: HookContext, parameters: dict[str, Any] | None
) -> dict[str, Any] | None:
    """In three of four paths, names what there is; not where it would be deleted, or there would
    soon be nothing left. What was made up decides which, so that a seed makes the same again."""
    dice, operation = _dice(parameters), context.operation
    if not parameters or dice % 4 == 0 or operation is None or operation.method.upper() == "DELETE":
        return parameters
    return {name: _named(name, value, dice >> 2) for name, value in parameters.items()}


@schemathesis.hook
def map_body(context: HookContext, body: Any) -> Any:
    """In three of four bodies, names the community that there is."""
    dice = _dice(body)
    return body if dice % 4 == 0 else _at_home(body)


def _at_home(body: Any) -> Any:
    if isinstance(body, list):
        return [_at_home(each) for each in body]
    if not isinstance(body, dict):
        return body
    kept = {**body}
    if "community_id" in kept:
        kept["community_id"] = _named("community_id", kept["community_id"], 0)
    if "items" in kept:
        kept["items"] = _at_home(kept["items"])
    return kept


def _dice(made_up: Any) -> int:
    return zlib.crc32(repr(made_up).encode())


def _named(name: str, value: Any, dice: int) -> Any:
    """What there is, in place of a value that could be it: what is wrong stays wrong."""
    there = _known.get(name)
    if not there or not _could_be(value, there[0]):
        return value
    chosen = there[dice % len(there)]
    return int(chosen) if isinstance(value, int) else chosen


def _could_be(value: Any, there: str) -> bool:
    if type(value) is int:
        return there.isdigit() and 0 <= value <= MAX_ID
    return isinstance(value, str) and any(
        kind.fullmatch(there) and kind.fullmatch(value) for kind in _KINDS
    )


@schemathesis.hook
def map_query(context: HookContext, query: dict[str, Any] | None) -> dict[str, Any] | None:
    """Waits no longer than a second for an end that does not come."""
    if query and type(query.get("wait")) is int and 1 < query["wait"] <= MAX_WAIT_SECONDS:
        return {**query, "wait": 1}
    return query


@schemathesis.hook
def after_call(context: HookContext, case: Case[Any], response: Response) -> None:
    """Counts the call."""
    _calls[case.operation.label, response.status_code] += 1


@schemathesis.check
def valid_data_is_accepted(context: CheckContext, response: Response, case: Case[Any]) -> None:
    """What the schema allows is taken, or refused for a reason that it cannot say."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    status = response.status_code
    if status < 400 or status in _EXPECTED or _foreseen(response):
        return
    raise RejectedPositiveData(
        operation=case.operation.label,
        message=f"The schema allows it, and it was refused: {response.text[:300]}",
        status_code=status,
        allowed_statuses=["2xx", *map(str, sorted(_EXPECTED))],
    )


def _foreseen(response: Response) -> bool:
    said: dict[str, Any] = json.loads(response.text or "{}")
    message = str(said.get("message", said.get("detail", "")))  # in the envelope, or as a problem
    return any(
        said.get("error_code") == each.code and re.search(each.message, message)
        for each in UNSAYABLE
    )


@atexit.register
def _write_tally() -> None:
    if TALLY in os.environ:
        counts: dict[str, dict[str, int]] = {}
        for (operation, status), count in sorted(_calls.items()):
            counts.setdefault(operation, {})[str(status)] = count
        Path(os.environ[TALLY]).write_text(json.dumps(counts), encoding="utf-8")
