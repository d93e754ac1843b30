"""Small judgements several node families share. They bear any JSON; only what is said to raise
does, for a running step."""

from __future__ import annotations

import keyword
from collections.abc import Iterable
from urllib.parse import urlsplit

from engine.context import RESERVED_NAMES, Json, JsonObject
from engine.errors import StepFailure
from engine.issues import pointer
from engine.nodes.base import Finding


def check_written(names: Iterable[tuple[str, Json]]) -> list[Finding]:
    """Judges names a node writes, given as (pointer, name): reserved ones are refused, names no
    expression could read are warned about."""
    found: list[Finding] = []
    for path, name in names:
        if not isinstance(name, str):
            continue
        if name in RESERVED_NAMES:
            found.append(
                Finding(
                    "VALIDATION",
                    f"{name!r} is reserved and cannot be set",
                    path,
                    f"Choose another name, for example {name}_value",
                )
            )
        elif not name.isidentifier() or keyword.iskeyword(name):
            found.append(
                Finding(
                    "VALIDATION",
                    f"{name!r} is not a name that an expression can read",
                    path,
                    "Use letters, digits and underscores, beginning with a letter",
                    warning=True,
                )
            )
    return found


def refuse_reserved(made: JsonObject) -> None:
    """Judges names that templates gave. Raises `StepFailure` for a reserved one."""
    reserved = sorted(RESERVED_NAMES & made.keys())
    if reserved:
        raise StepFailure("BAD_CONFIG", f"{reserved[0]!r} is reserved and cannot be set")


def written(config: JsonObject, *keys: str) -> tuple[str, ...]:
    """The variables named by `keys` of `config`."""
    return tuple(config[key] for key in keys if isinstance(config.get(key), str) and config[key])


def entries_of(config: JsonObject, key: str) -> list[tuple[str, Json]]:
    """The names of the object under `key` as `check_written` takes them."""
    return [(pointer(f"/{key}", name), name) for name in keys_of(config.get(key))]


def keys_of(value: Json) -> tuple[str, ...]:
    """The keys of an object; nothing for any other value."""
    return tuple(value) if isinstance(value, dict) else ()


def url_problem(url: str) -> str | None:
    """Why `url` cannot be requested, None if it can: it must be http or https and name a host."""
    try:
        parts = urlsplit(url)
        # Reading the port is what validates it.
        host, _port = parts.hostname, parts.port
    except ValueError as error:
        return str(error)
    if parts.scheme not in {"http", "https"}:
        return "it does not begin with http:// or https://"
    if not host:
        return "it names no host"
    if any(character.isspace() or ord(character) < 32 for character in url):
        return "it contains white space"
    return None
