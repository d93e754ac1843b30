"""A request that carries secrets, before they are in it: sealed.

A sealed request is what is recorded, shown, retried and resumed. Its texts say `{{secrets.name}}`
where a secret belongs, and its key `secrets` lists those places: `{name, path, offset, form}`. The
one rule: only a place on that list is ever filled. A text that merely looks like one, from a
caller's variables or from a peer, stays the text it is, for no text is searched for names.

While a request is rendered the places are not known yet, since what the author wrote is still
joined, encoded and judged. So each secret is then represented by a stand-in that nobody can have
written before: it is made of an id that was drawn for this one rendering.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote_plus

from engine.context import Json, JsonObject
from engine.errors import StepFailure

PARTS = ("headers", "params", "body")
"""What of a request may carry secrets."""

MOST_PLACES = 100
"""How many secrets one request may carry: each may be some kilobytes long."""

Path = tuple[str | int, ...]

_STAND_IN = re.compile(r"secret-([0-9a-f]{32})-([0-9]+)-")
"""Two never overlap, whoever wrote them: in what follows its first word there is no `s`."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a secret belongs: the path of a text in the request and the offset in it. In a `form`
    the text is URL-encoded already, and so must the secret be."""

    name: str
    path: Path
    offset: int
    form: bool = False

    def as_json(self) -> JsonObject:
        """The place as it is recorded."""
        return {
            "name": self.name,
            "path": list(self.path),
            "offset": self.offset,
            "form": self.form,
        }


def shown(name: str) -> str:
    """What stands in a sealed request for a secret."""
    return "{{secrets." + name + "}}"


class StandIns:
    """The stand-ins of one rendering. `unique` is an id that was drawn for it."""

    def __init__(self, names: Sequence[str], unique: str) -> None:
        self._names = names
        # The mark is none of the ids that expressions can draw, and nothing encodes it.
        self._mark = hashlib.sha256(unique.encode()).hexdigest()[:32]
        self.values: dict[str, str] = {
            name: f"secret-{self._mark}-{i}-" for i, name in enumerate(names)
        }
        """What each secret is while the request is rendered."""

    def seal(self, rendered: JsonObject, *, form: bool) -> JsonObject:
        """The sealed request; `form` says that its body has been URL-encoded. Raises
        `StepFailure`."""
        places: list[Place] = []
        parts = {
            part: self._sealed(rendered[part], (part,), places, form and part == "body")
            for part in PARTS
        }
        if len(places) > MOST_PLACES:
            message = f"the request holds {len(places)} secrets; {MOST_PLACES} are allowed"
            raise StepFailure("BAD_CONFIG", message)
        return {**rendered, **parts, "secrets": [place.as_json() for place in places]}

    def _sealed(self, value: Json, path: Path, places: list[Place], form: bool) -> Json:
        if isinstance(value, dict):
            items = value.items()
            return {key: self._sealed(each, (*path, key), places, form) for key, each in items}
        if isinstance(value, list):
            each_at = enumerate(value)
            return [self._sealed(each, (*path, i), places, form) for i, each in each_at]
        return self._text(value, path, places, form) if isinstance(value, str) else value

    def _text(self, text: str, path: Path, places: list[Place], form: bool) -> str:
        pieces: list[str] = []
        end = length = 0
        for found in _STAND_IN.finditer(text) if self._mark in text else ():
            if found[1] != self._mark:
                continue  # somebody wrote something like it
            name = self._names[int(found[2])]
            pieces += (text[end : found.start()], shown(name))
            length += found.start() - end
            places.append(Place(name, path, length, form))
            length += len(shown(name))
            end = found.end()
        return "".join((*pieces, text[end:])) if pieces else text


def places_of(rendered: JsonObject) -> tuple[Place, ...]:
    """The places of a sealed request, also of one that was recorded; none of any other."""
    return tuple(
        Place(each["name"], tuple(each["path"]), each["offset"], each["form"])
        for each in rendered.get("secrets", ())
    )


def unsealed(parts: JsonObject, places: Sequence[Place], values: Mapping[str, str]) -> JsonObject:
    """The parts of a request with the secrets in their places. Raises `StepFailure` when a header
    cannot hold a secret, or when the places are not those of this request."""
    by_path: dict[Path, list[Place]] = {}
    for place in places:
        by_path.setdefault(place.path, []).append(place)
    filled = {part: _filled(value, (part,), by_path, values) for part, value in parts.items()}
    if by_path:
        raise StepFailure("BAD_CONFIG", "the request's secrets do not belong to it")
    return filled


def _filled(
    value: Json, path: Path, by_path: dict[Path, list[Place]], values: Mapping[str, str]
) -> Json:
    if isinstance(value, dict):
        return {k: _filled(each, (*path, k), by_path, values) for k, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, (*path, i), by_path, values) for i, each in enumerate(value)]
    if isinstance(value, str):
        for place in reversed(by_path.pop(path, [])):
            value = _with_secret(value, place, values[place.name])
    return value


def _with_secret(text: str, place: Place, secret: str) -> str:
    end = place.offset + len(shown(place.name))
    if text[place.offset : end] != shown(place.name):
        raise StepFailure("BAD_CONFIG", "the request's secrets do not belong to it")
    if place.path[0] == "headers" and not secret.isprintable():
        message = (
            f"the secret {place.name!r} contains a line break or another control character, "
            "which no header can hold"
        )
        raise StepFailure("BAD_CONFIG", message)
    return text[: place.offset] + (quote_plus(secret) if place.form else secret) + text[end:]
