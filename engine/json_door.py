"""The door through which JSON enters: request bodies, answers of HTTP peers, stored documents.

One rule: whatever passes can be stored as JSON, written by orjson and computed with, without
surprises. Containers nest at most 32 deep and have at most 100,000 items each, keys at most 1,024
characters; integers fit signed 64 bits, floats are finite, strings and keys are valid Unicode
without U+0000, and no object names a key twice (RFC 8259 §4 leaves that open, and every parser
picks another winner).

Ordinary bodies pay for orjson and a few looks at bytes, all at the speed of C:

* orjson keeps the last of two equal keys without a word. A document has one colon per member
  plus those inside its strings, and orjson never escapes one; so exactly the documents without
  duplicates have as many colons as the value written again.
* Without 19 digits in a row no number can be out of range unnoticed.
* Reduced to brackets, a document vanishes in as many rounds of removing `[]` as it has levels.
* With few commas no container is too large, and without a long run before a quote and a colon no
  key is too long.

What looks odd is walked through, and what still does is parsed again by the standard library,
slowly, with every fault marked in the tree. It may turn out that nothing is wrong.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any

import orjson

from engine.context import Json

MAX_DEPTH = 32
MAX_ITEMS = 100_000
MAX_KEY_LENGTH = 1_024
MAX_INTEGER = 2**63 - 1
MIN_INTEGER = -(2**63)

_FLOAT_OF_DOUBT = float(2**63)
"""orjson turns longer integers into floats of at least this size; smaller floats are honest."""
_LONGEST_INTEGER = 20
_SHOWN = 64
_LONG_KEY = re.compile(rb'"[^"]{%d,}+"[ \t\r\n]*:' % (MAX_KEY_LENGTH + 1))
_STRUCTURE = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
_BONES = bytes(
    ord("0")
    if byte in b"0123456789"
    else ord("[")
    if byte in b"[{"
    else ord("]")
    if byte in b"]}"
    else byte
    if byte == ord('"')
    else ord(" ")
    for byte in range(256)
)
_LONG_NUMBER = b"0" * 19
_NUL = "U+0000 is not allowed in text"
_SURROGATE = "lone surrogates are not valid Unicode"
_DEPTH = f"nested deeper than {MAX_DEPTH} levels"
_ITEMS = f"an array or an object may have {MAX_ITEMS} items"
_KEY_LENGTH = f"a key may have {MAX_KEY_LENGTH} characters"
_INTEGER = "integer does not fit 64 bits; send it as a string"


class JsonError(ValueError):
    """The JSON is malformed or outside what the service accepts.

    `path` is a JSON pointer to the offending value, empty for the whole document or when it is
    not known; `line` and `column` count from 1 and are set when the text itself is malformed.
    """

    def __init__(
        self, message: str, path: str = "", line: int | None = None, column: int | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.line = line
        self.column = column

    def __str__(self) -> str:
        if self.line is not None:
            return f"{self.message} (line {self.line}, column {self.column})"
        return f"{self.message} (at {self.path})" if self.path else self.message


@dataclass(frozen=True, slots=True)
class _Bad:
    """Stands in the exact parser's tree where a value must not be; `key` is a doubled one."""

    message: str
    key: str | None = None


def parse_json(data: bytes | str) -> Json:
    """The value of a JSON document, given as UTF-8 bytes or as text. Raises `JsonError`."""
    raw = _as_bytes(data)
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise _explained(raw, error) from None
    odd = _has_odd_escapes(raw) or _has_duplicates(raw, value)
    if odd or not (_is_plain(raw) or _is_modest(value, MAX_DEPTH)):
        _require_sound(raw, value)
    return value


def check_json(value: Any) -> Json:
    """The same value, if it is JSON as `parse_json` would have given it. Raises `JsonError`."""
    fault = _fault(value, "", MAX_DEPTH)
    if fault is not None:
        raise fault
    return value


def dumps(value: Any) -> bytes:
    """The value as compact UTF-8 JSON; aware datetimes as RFC 3339 in UTC with `Z`.

    Expects what has passed the door (orjson writes NaN as null); raises `JsonError` for what
    JSON cannot say.
    """
    try:
        return orjson.dumps(value, option=orjson.OPT_UTC_Z)
    except orjson.JSONEncodeError as error:
        raise JsonError(str(error)) from None


def _as_bytes(data: bytes | str) -> bytes:
    if isinstance(data, bytes):
        return data
    try:
        return data.encode()
    except UnicodeEncodeError:
        raise JsonError(_SURROGATE) from None


def _has_odd_escapes(raw: bytes) -> bool:
    """Whether the text may hold U+0000, or a colon that does not look like one."""
    return b"\\u0000" in raw or b"\\u003" in raw


def _has_duplicates(raw: bytes, value: Any) -> bool:
    """Whether orjson has dropped a member; right if no colon is escaped."""
    try:
        return orjson.dumps(value).count(b":") != raw.count(b":")
    except orjson.JSONEncodeError:
        return True


def _is_plain(raw: bytes) -> bool:
    """Whether the source alone shows that nesting, sizes and numbers are within bounds."""
    bones = raw.translate(_BONES)
    if _LONG_NUMBER in bones or b'\\"' in raw:
        return False
    if raw.count(b",") >= MAX_ITEMS or _LONG_KEY.search(raw):
        return False
    if bones.count(b"[") <= MAX_DEPTH:
        return True
    # A string that holds a bracket leaves a quote, which never vanishes.
    shell = bones.translate(None, b"0 ").replace(b'""', b"")
    for _ in range(MAX_DEPTH):
        shell = shell.replace(b"[]", b"")
    return not shell


def _is_modest(value: Json, room: int) -> bool:
    """Whether a value orjson gave is nested at most `room` levels, nothing in it is too large,
    and all its numbers are what the source said."""
    kind = type(value)
    if kind is dict or kind is list:
        children = value.values() if kind is dict else value
        if len(value) > MAX_ITEMS or (kind is dict and any(map(_is_long, value))):
            return False
        return room > 0 and all(_is_modest(child, room - 1) for child in children)
    if kind is int:
        return bool(MIN_INTEGER <= value <= MAX_INTEGER)
    return kind is not float or bool(-_FLOAT_OF_DOUBT < value < _FLOAT_OF_DOUBT)


def _require_sound(raw: bytes, value: Any) -> None:
    """Raises the fault of a document that orjson has read, if it has one."""
    fault = _fault(value, "", MAX_DEPTH)
    if fault is None:
        fault = _fault(_exact(raw.decode()), "", MAX_DEPTH)
    if fault is not None:
        raise fault


def _explained(raw: bytes, refusal: orjson.JSONDecodeError) -> JsonError:
    """Why orjson refused the document, as precisely as can be said."""
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        return JsonError(f"not valid UTF-8 at byte {error.start}")
    if not text.strip(" \t\r\n"):
        return JsonError("the document is empty", line=1, column=1)
    too_deep = _too_deep(raw)
    if too_deep is not None:
        return too_deep
    try:
        tree = _exact(text)
    except json.JSONDecodeError as error:
        return JsonError(error.msg, "", error.lineno, error.colno)
    fault = _fault(tree, "", MAX_DEPTH)
    return fault or JsonError(refusal.msg, "", refusal.lineno, refusal.colno)


def _too_deep(raw: bytes) -> JsonError | None:
    """The fault of nesting too deep, found without recursion."""
    depth = 0
    for token in _STRUCTURE.finditer(raw):
        mark = raw[token.start()]
        if mark in b"[{":
            depth += 1
        elif mark in b"]}":
            depth -= 1
        if depth > MAX_DEPTH:
            before = raw[: token.start()]
            line_start = before.rfind(b"\n") + 1
            column = len(before[line_start:].decode(errors="replace")) + 1
            return JsonError(_DEPTH, "", before.count(b"\n") + 1, column)
    return None


def _exact(text: str) -> Any:
    """The document by the standard library's parser, with a `_Bad` for every fault it can hold.
    The caller has made sure that the nesting is shallow."""
    return json.loads(
        text,
        object_pairs_hook=_object,
        parse_int=_integer,
        parse_float=_float,
        parse_constant=_constant,
    )


def _object(pairs: list[tuple[str, Any]]) -> Any:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            return _Bad(f"key {_shown(key)!r} appears twice in one object", key)
        seen.add(key)
    return members


def _integer(digits: str) -> Any:
    """Converts only what can fit: turning a million digits into a number takes a minute."""
    return int(digits) if len(digits) <= _LONGEST_INTEGER else _Bad(_INTEGER)


def _float(digits: str) -> Any:
    """By orjson, whose cost is linear in the digits."""
    try:
        return orjson.loads(digits)
    except orjson.JSONDecodeError:
        return _Bad("number is too large")


def _constant(name: str) -> Any:
    return _Bad(f"{name} is not a JSON number")


def _fault(value: Any, path: str, room: int) -> JsonError | None:
    """The first thing wrong with a value, None if it is sound."""
    match value:
        case None | bool():
            return None
        case dict() | list() if room == 0:
            return JsonError(_DEPTH, path)
        case dict() | list() if len(value) > MAX_ITEMS:
            return JsonError(_ITEMS, path)
        case dict():
            return _object_fault(value, path, room)
        case list():
            return _first(((str(i), item) for i, item in enumerate(value)), path, room)
        case _Bad():
            below = "" if value.key is None else _pointer(value.key)
            return JsonError(value.message, path + below)
    message = _scalar_fault(value)
    return None if message is None else JsonError(message, path)


def _is_long(key: str) -> bool:
    return len(key) > MAX_KEY_LENGTH


def _object_fault(members: dict[Any, Any], path: str, room: int) -> JsonError | None:
    for key in members:
        if type(key) is not str:
            message: str | None = "keys must be strings"
        else:
            message = _KEY_LENGTH if _is_long(key) else _scalar_fault(key)
        if message is not None:
            return JsonError(message, path + _pointer(str(key)))
    return _first(members.items(), path, room)


def _first(members: Any, path: str, room: int) -> JsonError | None:
    for key, item in members:
        if type(item) is int and MIN_INTEGER <= item <= MAX_INTEGER:
            continue
        fault = _fault(item, path + _pointer(key), room - 1)
        if fault is not None:
            return fault
    return None


def _scalar_fault(value: Any) -> str | None:
    if type(value) is str:
        if "\0" in value:
            return _NUL
        return None if value.isascii() or _encodes(value) else _SURROGATE
    if type(value) is int:
        return None if MIN_INTEGER <= value <= MAX_INTEGER else _INTEGER
    if type(value) is float:
        return None if math.isfinite(value) else "number is not finite"
    return f"{type(value).__name__} is not a JSON value"


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _pointer(key: str) -> str:
    """One step of a JSON pointer (RFC 6901) that is itself safe to send and store."""
    return "/" + _shown(key).replace("~", "~0").replace("/", "~1")


def _shown(key: str) -> str:
    clipped = key if len(key) <= _SHOWN else key[: _SHOWN - 1] + "…"
    return clipped.encode("utf-8", "backslashreplace").decode().replace("\0", "\\u0000")
