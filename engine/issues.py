"""Findings about a workflow document: what they look like and how they say what would be right.

Reader and validator report through these values alone. The one rule: a hint costs a bounded
amount of work, however many names there are to compare.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from itertools import islice

from engine.context import JsonObject

SHAPE = "VALIDATION_ERROR"
"""The code of findings about the document's shape: a wrong JSON type, a missing field."""

_WORD = re.compile(r"[a-z]+[ ,]")
_CLOSED = ("}", "]", ".", "?", "!", "…")
_CUTOFF = 0.6
_LISTED = 12


@dataclass(frozen=True, slots=True)
class Issue:
    """One finding. `path` is a JSON pointer into the document as it was sent."""

    code: str
    message: str
    path: str = ""
    node_id: str | None = None
    hint: str | None = None
    warning: bool = False

    def as_json(self) -> JsonObject:
        """The issue as the API shows it."""
        return {
            "code": self.code,
            "message": self.message,
            "path": self.path,
            "node_id": self.node_id,
            "hint": self.hint,
        }


@dataclass(slots=True)
class Nearest:
    """Finds the closest known name, within a budget of comparisons shared by one document."""

    comparisons: int = 50_000

    def to(self, name: str, known: Iterable[str], cutoff: float = _CUTOFF) -> str | None:
        """The name most like `name`; None if none is like it or the budget is spent."""
        best, best_ratio = None, cutoff
        matcher = SequenceMatcher(autojunk=False)
        matcher.set_seq2(name[:80].lower())
        for candidate in known:
            if self.comparisons <= 0:
                break
            self.comparisons -= 1
            matcher.set_seq1(candidate[:80].lower())
            if matcher.real_quick_ratio() < best_ratio or matcher.quick_ratio() < best_ratio:
                continue
            # The full ratio costs far more than the two bounds above.
            self.comparisons -= 20
            ratio = matcher.ratio()
            if ratio > best_ratio or (ratio == best_ratio and best is None):
                best, best_ratio = candidate, ratio
        return best

    def hint(self, name: str, known: Iterable[str]) -> str | None:
        """`Did you mean 'x'?`, if there is something to mean."""
        found = self.to(name, known)
        return None if found is None else f"Did you mean '{found}'?"


@dataclass(slots=True)
class Findings:
    """Collects the issues of one document."""

    issues: list[Issue] = field(default_factory=list)
    nearest: Nearest = field(default_factory=Nearest)
    moved: dict[str, str] = field(default_factory=dict)
    """Where a part of the canonical document lay in the sent one, if a part of its own made it:
    pointer -> pointer."""

    def error(
        self,
        code: str,
        message: str,
        path: str,
        *,
        node: str | None = None,
        hint: str | None = None,
    ) -> None:
        """Reports something that makes the document invalid."""
        self.issues.append(Issue(code, message, self._as_sent(path), node, hint))

    def warn(
        self,
        code: str,
        message: str,
        path: str,
        *,
        node: str | None = None,
        hint: str | None = None,
    ) -> None:
        """Reports something that is probably not meant."""
        self.issues.append(Issue(code, message, self._as_sent(path), node, hint, warning=True))

    def shape(
        self, message: str, path: str, *, node: str | None = None, hint: str | None = None
    ) -> None:
        """Reports a value of the wrong JSON type or a field that is missing."""
        self.error(SHAPE, message, path, node=node, hint=hint)

    def _as_sent(self, path: str) -> str:
        head, rest = path, ""
        while self.moved and head:
            if head in self.moved:
                return self.moved[head] + rest
            head, slash, last = head.rpartition("/")
            rest = slash + last + rest
        return path


def pointer(base: str, *parts: str | int) -> str:
    """The JSON pointer (RFC 6901) of `parts` below `base`."""
    for part in parts:
        text = str(part)
        if "~" in text or "/" in text:
            text = text.replace("~", "~0").replace("/", "~1")
        base = f"{base}/{text}"
    return base


def last_name(path: str) -> str:
    """The last name of a JSON pointer."""
    return path.rpartition("/")[2].replace("~1", "/").replace("~0", "~")


def listed(names: Collection[str]) -> str:
    """`'a', 'b' and 30 more`; `none` for nothing."""
    shown = ", ".join(f"'{name}'" for name in islice(names, _LISTED))
    more = len(names) - _LISTED
    return f"{shown} and {more} more" if more > 0 else shown or "none"


def sentence(text: str) -> str:
    """What a node's or an expression's own check says, as a sentence: with a capital letter,
    unless it begins with a name, and a full stop, unless it ends with an example in JSON."""
    if _WORD.match(text):
        text = text[0].upper() + text[1:]
    return text if text.endswith(_CLOSED) else f"{text}."


def shown(value: object) -> str:
    """A value in a message: its JSON type, and itself where it is short."""
    if isinstance(value, bool):
        return "the boolean true" if value else "the boolean false"
    if value is None:
        return "null"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return f"the string {value[:40]!r}{'…' if len(value) > 40 else ''}"
    return "an array" if isinstance(value, list) else "an object"
