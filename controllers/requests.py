"""Reading a request: its body through the JSON door and a model, its query, its ids.

Its one rule: what is not known is refused by name, with the nearest known name beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from itertools import islice
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from quart import request
from werkzeug.exceptions import UnsupportedMediaType

from controllers.operation import note
from controllers.schemas import MAX_ID, MAX_TEXT, canonical_uuid
from engine.context import Json, JsonObject
from engine.json_door import parse_json
from services.errors import ExecutionUnknown, KeyUnknown, NotValid, Problem, WorkflowNotFound

M = TypeVar("M", bound=BaseModel)

_LONGEST_ID = 20
_CHARSET = "utf-8"
_SHOWN = 40
MOST_PROBLEMS = 100
"""How many problems of one body, or item of a batch, are told: it has room for a million."""
MOST_HINTS = 10
"""For how many of them the nearest known name is looked for, which takes a moment each."""

_MESSAGES = {
    "missing": "is required",
    "dict_type": "must be an object",
    "list_type": "must be an array",
    "string_type": "must be a string",
    "int_type": "must be an integer",
    "int_parsing": "must be an integer",
    "float_parsing": "must be a number",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "model_type": "must be an object",
}
"""Pydantic's findings in the words of JSON."""
_COUNTED = re.compile(r"^List should have at (.+) after validation, not (\d+)$")

JSON_WANTED = "Send the body as application/json."


async def read_json() -> Json:
    """The body as JSON, which is sent in UTF-8 and not compressed. Raises `UnsupportedMediaType`,
    `JsonError`."""
    media_type = request.mimetype
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise UnsupportedMediaType(JSON_WANTED)
    charset = request.mimetype_params.get("charset", _CHARSET)
    if charset.lower() not in (_CHARSET, "utf8"):
        message = f"Content-Type has the charset {charset[:_SHOWN]!r}; send the body in UTF-8."
        raise UnsupportedMediaType(message)
    encoding = request.headers.get("Content-Encoding", "").strip()
    if encoding.lower() not in ("", "identity"):
        message = (
            f"Content-Encoding is {encoding[:_SHOWN]!r}; send the body as it is, uncompressed."
        )
        raise UnsupportedMediaType(message)
    return parse_json(await request.get_data(cache=False, as_text=False, parse_form_data=False))


async def read_json_or_nothing() -> Json:
    """The body as JSON; None for an empty one, whatever it says it is. Raises as `read_json`."""
    if not await request.get_data(cache=True, as_text=False, parse_form_data=False):
        return None
    return await read_json()


def payload_of(body: Json) -> Json:
    """A payload that is sent bare, or as the one field `payload` of an object."""
    if isinstance(body, dict) and body.keys() == {"payload"}:
        return body["payload"]
    return body


async def read_object() -> JsonObject:
    """The body as a JSON object. Raises `NotValid` too."""
    body = await read_json()
    if not isinstance(body, dict):
        raise NotValid([Problem(path="", message="the body must be a JSON object")])
    return body


async def read_object_or_nothing() -> JsonObject | None:
    """As `read_object`; None for an empty body."""
    if not await request.get_data(cache=True, as_text=False, parse_form_data=False):
        return None
    return await read_object()


async def read_body(model: type[M]) -> M:
    """The body as a model. Raises `NotValid` with everything that is wrong."""
    return shape(model, await read_object())


async def read_optional(model: type[M]) -> M:
    """As `read_body`; nothing at all, which `null` is not, is an object without fields."""
    if not await request.get_data(cache=True, as_text=False, parse_form_data=False):
        return shape(model, {})
    return await read_body(model)


def shape(model: type[M], value: Json) -> M:
    """A JSON value as a model. Raises `NotValid`."""
    try:
        return model.model_validate(_clipped(value, model), strict=True)
    except ValidationError as error:
        raise NotValid(problems_of(error, model)) from None


def _clipped(value: Json, model: type[BaseModel]) -> Json:
    """The value, without most of its unknown fields if it has more than anybody is told of."""
    if not isinstance(value, dict) or len(value) <= MOST_PROBLEMS:
        return value
    known = set(_names(model))
    unknown = islice((name for name in value if name not in known), MOST_PROBLEMS)
    return {name: value[name] for name in (*known.intersection(value), *unknown)}


def read_query(model: type[M]) -> M:
    """The query string as a model. Raises `NotValid` for an unknown or repeated parameter; those
    that the model names in `repeatable` may be repeated, which is the same as a comma list."""
    known = _names(model)
    repeatable: frozenset[str] = getattr(model, "repeatable", frozenset())
    given: dict[str, str] = {}
    problems: list[Problem] = []
    for name, values in request.args.lists():
        if name not in known:
            problems.append(_unknown(name, known, "query parameter"))
        elif len(values) > 1 and name not in repeatable:
            problems.append(Problem(path=f"/{name}", message="is given more than once"))
        given[name] = ",".join(values)
    if problems:
        raise NotValid(problems)
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise NotValid(problems_of(error, model)) from None


def idempotency_key() -> str | None:
    """The `Idempotency-Key` of the request; None without one. Raises `NotValid`."""
    given = request.headers.getlist("Idempotency-Key")
    if not given:
        return None
    key = given[0]
    if len(given) > 1 or not 0 < len(key) <= MAX_TEXT or not key.isprintable():
        message = f"must be given once, 1 to {MAX_TEXT} printable characters"
        raise NotValid([Problem(path="/headers/Idempotency-Key", message=message)])
    return key


def workflow_id_of(text: str) -> str:
    """A workflow's id from the path, canonical. What is no UUID is no workflow."""
    found = canonical_uuid(text)
    if found is None:
        raise WorkflowNotFound
    note(workflow_id=found)
    return found


def execution_id_of(text: str) -> str:
    """An execution's id from the path, canonical. What is no UUID is no execution."""
    found = canonical_uuid(text)
    if found is None:
        raise ExecutionUnknown
    note(execution_id=found)
    return found


def community_id_of(text: str) -> int | None:
    """A community's id from the path; None for what is no id, and so no community."""
    found = number_of(text)
    note(community_id=found)
    return found


def id_of(text: str) -> str | None:
    """Any other id from the path, canonical; None for what is no UUID."""
    return canonical_uuid(text)


def number_of(text: str) -> int | None:
    """A user's or a community's id from the path; None for what is none."""
    if not (text.isascii() and text.isdigit() and len(text) < _LONGEST_ID):
        return None
    found = int(text)
    return found if found <= MAX_ID else None


def key_id_of(text: str) -> str:
    """An API key's id from the path, canonical. What is no UUID is no key."""
    found = canonical_uuid(text)
    if found is None:
        raise KeyUnknown
    note(target=found)
    return found


def problems_of(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """Pydantic's findings as problems with JSON pointers, as many as anybody reads."""
    found: list[Problem] = []
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    for item in errors[:MOST_PROBLEMS]:
        where = item["loc"]
        if item["type"] == "extra_forbidden":
            hinted = len(found) < MOST_HINTS
            known = _names(_part(model, where[:-1]))
            found.append(_unknown(str(where[-1]), known, "field", within=where[:-1], hinted=hinted))
        else:
            message = _MESSAGES.get(item["type"]) or _lower(item["msg"])
            found.append(Problem(path=pointer(where), message=message))
    return found


def pointer(where: tuple[Any, ...]) -> str:
    """The JSON pointer (RFC 6901) of a place."""
    steps = (str(step).replace("~", "~0").replace("/", "~1") for step in where)
    return "".join(f"/{step}" for step in steps)


def _names(model: type[BaseModel]) -> list[str]:
    """What the fields of a model are called by those who send them."""
    return [field.alias or name for name, field in model.model_fields.items()]


def _part(model: type[BaseModel], where: tuple[Any, ...]) -> type[BaseModel]:
    """The model that a place in a model's value has."""
    for step in where:
        fields = {field.alias or name: field for name, field in model.model_fields.items()}
        if step in fields:  # else it is a place in an array
            model = next(_models(fields[step].annotation), model)
    return model


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models in a field's type: its own, or that of its items."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _unknown(
    name: str,
    known: list[str],
    what: str,
    *,
    within: tuple[Any, ...] = (),
    hinted: bool = True,
) -> Problem:
    shown = name[:64]
    problem = Problem(
        path=pointer((*within, shown)),
        message=f"unknown {what}; known: {', '.join(known) or 'none'}",
    )
    nearest = get_close_matches(shown, known, n=1) if hinted else []
    if nearest:
        problem["hint"] = f"Did you mean '{nearest[0]}'?"
    return problem


def _lower(message: str) -> str:
    message = _COUNTED.sub(r"must have at \1, not \2", message.removeprefix("Value error, "))
    return message[:1].lower() + message[1:]
