"""Reading what the documentation shows, and comparing it with what the service did.

The one rule: what is shown must be what happens. Only what differs from run to run is compared by
its form: ids, instants, durations, keys, cursors. `"…": "…"` in a shown object stands for fields
that are left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"

_FENCE = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_STATUS = re.compile(r"^`([1-5]\d\d)`", re.MULTILINE)
_ROW = re.compile(r"^\|(.*)\|$", re.MULTILINE)
_CELL = re.compile(r"(?<!\\)\|")

MORE = "…"
NONE = "-"
"""A table's cell for nothing."""
_FORMS = tuple(
    re.compile(form)
    for form in (
        r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z",
        r"wa-[0-9a-f]{8,64}",
        r"whsec_[A-Za-z0-9+/=]+",
        r"\b[0-9a-f]{64}\b",
    )
)
_MEASURED = re.compile(
    r"(^|_)(seconds|duration|duration_ms|audit_id|slowest_node_id|next_cursor|throughput_per_minute)$"
)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, what it holds, the heading above it, and the text between
    the block before (or that heading) and itself."""

    language: str
    text: str
    heading: str
    before: str
    line: int

    @property
    def status(self) -> int | None:
        """The HTTP status that the text before it names."""
        found = _STATUS.findall(self.before)
        return int(found[-1]) if found else None

    def json(self) -> Any:
        """The block as JSON."""
        return json.loads(self.text)


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found: list[Block] = []
    end = 0
    for match in _FENCE.finditer(text):
        between = text[end : match.start()]
        headings = _HEADING.findall(between)
        heading = headings[-1] if headings else (found[-1].heading if found else "")
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(match[1], match[3], heading, between, line))
        end = match.end()
    return found


def sent_events(text: str) -> list[Any]:
    """A stream of server-sent events: each one's fields, `data` read as JSON."""
    found: list[Any] = []
    for event in text.split("\n\n"):
        lines = [line.partition(": ") for line in event.splitlines() if line]
        fields = {name: value for name, _, value in lines}
        if fields:
            read = {"data": json.loads(fields["data"])} if "data" in fields else {}
            found.append({**fields, **read})
    return found


def rows(text: str) -> Iterator[list[str]]:
    """The cells of every table row of a page, headings and rules too."""
    for row in _ROW.findall(text):
        yield [cell.strip().replace("\\|", "|") for cell in _CELL.split(row)]


def section(text: str, heading: str) -> str:
    """The text below a heading, up to the next one of its level or above."""
    start = re.search(rf"^(#+) {re.escape(heading)}$", text, re.MULTILINE)
    if start is None:
        raise LookupError(f"there is no heading {heading!r}")
    end = re.compile(rf"^#{{1,{len(start[1])}}} ", re.MULTILINE).search(text, start.end())
    return text[start.end() : end.start() if end else None]


def differences(shown: Any, real: Any, path: str = "") -> Iterator[str]:
    """Where what happened is not what is shown, as JSON pointers with both values."""
    if isinstance(shown, dict) and isinstance(real, dict):
        yield from _in_object(shown, real, path)
    elif isinstance(shown, list) and isinstance(real, list):
        if len(shown) != len(real):
            yield f"{path}: shows {len(shown)} items, got {len(real)}"
        for position, (one, other) in enumerate(zip(shown, real, strict=False)):
            yield from differences(one, other, f"{path}/{position}")
    elif not _same(shown, real, path.rpartition("/")[2]):
        yield f"{path}: shows {shown!r}, got {real!r}"


def _in_object(shown: dict[str, Any], real: dict[str, Any], path: str) -> Iterator[str]:
    for name in shown.keys() - real.keys() - {MORE}:
        yield f"{path}/{name}: is shown, but is not there"
    for name in real.keys() - shown.keys() if MORE not in shown else ():
        yield f"{path}/{name}: is there, but is not shown"
    for name in shown.keys() & real.keys():
        yield from differences(shown[name], real[name], f"{path}/{name}")


def _same(shown: Any, real: Any, name: str) -> bool:
    if type(shown) in (int, float) and type(real) in (int, float):
        return shown == real or _MEASURED.search(name) is not None
    if _MEASURED.search(name) and type(shown) is type(real):
        return True
    if isinstance(shown, str) and isinstance(real, str):
        return shown == real or _formless(shown) == _formless(real)
    return type(shown) is type(real) and shown == real


def _formless(text: str) -> str:
    for number, form in enumerate(_FORMS):
        text = form.sub(f"<{number}>", text)
    return text
