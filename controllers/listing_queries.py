"""What the lists of the second interface may be asked: their query strings, and what they mean.

Its one rule: every problem names the parameter, what is wrong with it, and what would be right.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, ClassVar, Literal

from pydantic import Field, WithJsonSchema, field_validator

from controllers.schemas import (
    DEFAULT_SIZE,
    MAX_TEXT,
    PAGE_BY_NUMBER,
    AnyPage,
    Cursor,
    Id,
    Request,
    Size,
    Statuses,
    Uuid,
    known_statuses,
    same,
    split,
)
from services.errors import NotValid, Problem
from services.execution_lists import Narrow, Order, PageRequest, Sort
from services.execution_service import LONGEST_SOUGHT

_SORTS: dict[str, Sort] = {
    "created": "created",
    "started_at": "started_at",
    "start_time": "started_at",
    "completed_at": "completed_at",
    "end_time": "completed_at",
    "total_duration": "total_duration",
    "duration": "total_duration",
}
"""What may be sorted by, under every name that an item has it by."""

_ORDERS = ("asc", "desc")
_WRITTEN = re.compile(
    "[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[Tt ]([0-9]{2}(?::?[0-9]{2}){0,2})(?:[.,]([0-9]+))?(?:[Z+-].*)?)?"
)
_PRECISIONS = {
    0: timedelta(days=1),
    2: timedelta(hours=1),
    4: timedelta(minutes=1),
    6: timedelta(seconds=1),
}
"""How long that is which is written with so many digits of a time of day."""
_FINEST = 6
"""Digits of a fraction of a second that count."""
_FIRST, _LAST = (each.replace(tzinfo=UTC) for each in (datetime.min, datetime.max))
_EATEN_PLUS = re.compile(r" (?=\d\d:?\d\d$)")
_INSTANT = "must be a date (2026-01-31) or an instant (2026-01-31T12:00:00Z)"
_SORT_BY = (
    f"must be one of {', '.join(_SORTS)}, or one of them with its direction, such as created:desc"
)


Word = Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]
Sought = Annotated[str, Field(min_length=1, max_length=LONGEST_SOUGHT)]
Moment = Annotated[
    str,
    WithJsonSchema(
        {"anyOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}]}
    ),
]
"""A day or an instant, read by `moment`."""
_SORT_PATTERN = f"^({'|'.join(_SORTS)})(:({'|'.join(_ORDERS)}))?$"
Seconds = Annotated[float, Field(ge=0)]


class ManagedQuery(Request):
    """Which executions of all that you may see, in which order, which page."""

    repeatable: ClassVar[frozenset[str]] = frozenset({"status"})

    status: Statuses | None = Field(
        default=None, description="One or several, with commas or given several times."
    )
    workflow_id: Uuid | None = None
    workflow_template_id: Uuid | None = Field(default=None, description="The same as workflow_id.")
    community_id: Id | None = None
    user_id: Id | None = Field(default=None, description="Who started them; another's: admins.")
    start_date: Moment | None = Field(
        default=None, description="Created at or after this date or instant."
    )
    end_date: Moment | None = Field(
        default=None, description="Created on or before this date, at or before this instant."
    )
    trigger_source: Sought | None = None
    session_id: Sought | None = None
    execution_name: Word | None = None
    error_code: Word | None = None
    min_duration: Seconds | None = Field(default=None, description="Seconds.")
    max_duration: Seconds | None = Field(default=None, description="Seconds.")
    q: Word | None = Field(
        default=None, description="Text in the names of execution and workflow, and in the error."
    )
    sort_by: str = Field(
        default="created", description=_SORT_BY, json_schema_extra={"pattern": _SORT_PATTERN}
    )
    order: Literal["asc", "desc"] | None = Field(default=None, description="desc if not given.")
    page: AnyPage | None = Field(default=None, description=PAGE_BY_NUMBER)
    page_size: Size | None = Field(default=None, description=f"{DEFAULT_SIZE} if not given.")
    cursor: Cursor | None = Field(default=None, description="`next_cursor` of the page before.")
    limit: Size | None = Field(default=None, description="The same as page_size.")

    @field_validator("status")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        return known_statuses(value)

    @field_validator("sort_by")
    @classmethod
    def _sortable(cls, value: str) -> str:
        name, colon, way = value.partition(":")
        if name not in _SORTS or (colon and way not in _ORDERS):
            raise ValueError(_SORT_BY)
        return value

    def narrow(self) -> Narrow:
        """The filters. Raises `NotValid` for those that contradict each other."""
        since = moment("start_date", self.start_date)
        until = moment("end_date", self.end_date, last=True)
        if since is not None and until is not None and since >= until:
            raise _wrong("start_date", "must not be after end_date")
        shortest, longest = self.min_duration, self.max_duration
        if shortest is not None and longest is not None and shortest > longest:
            raise _wrong("min_duration", "must not be more than max_duration")
        workflow_id = same(
            "workflow_id", self.workflow_id, "workflow_template_id", self.workflow_template_id
        )
        return Narrow(
            workflow_id=workflow_id,
            community_id=self.community_id,
            user_id=self.user_id,
            statuses=tuple(dict.fromkeys(split(self.status))),
            since=since,
            until=until,
            trigger_source=self.trigger_source,
            session_id=self.session_id,
            execution_name=self.execution_name,
            error_code=self.error_code,
            min_duration=shortest,
            max_duration=longest,
            text=self.q,
        )

    def sorting(self) -> Order:
        """The order. Raises `NotValid` for two directions."""
        name, _, way = self.sort_by.partition(":")
        if way and self.order not in (None, way):
            raise _wrong("order", f"contradicts sort_by={self.sort_by}")
        return Order(_SORTS[name], (way or self.order or "desc") == "desc")

    def request(self) -> PageRequest:
        """The page. Raises `NotValid` for two pages at once."""
        if self.cursor is not None and self.page is not None:
            raise _wrong("page", "use either cursor or page")
        size = same("page_size", self.page_size, "limit", self.limit)
        return PageRequest(size or DEFAULT_SIZE, self.page, self.cursor)


class ManagedStepsQuery(Request):
    """How many of an execution's steps to show."""

    limit: Annotated[int, Field(ge=1, le=1000)] = 100


def moment(name: str, text: str | None, *, last: bool = False) -> datetime | None:
    """An instant from a query. With `last`, the first moment that is not meant any more: what is
    written is meant whole, a day as well as a second or a millisecond. For times are shown to the
    millisecond and kept finer: an end that is copied from an answer has to reach what it shows."""
    if text is None:
        return None
    # In a query string a plus that is not escaped is a space.
    text = _EATEN_PLUS.sub("+", text)
    written = _WRITTEN.fullmatch(text)
    if written is None:
        raise _wrong(name, _INSTANT)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise _wrong(name, _INSTANT) from None
    try:
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        return found + _precision(*written.groups(default="")) if last else found
    except OverflowError:
        return _LAST if found.year > _FIRST.year else _FIRST


def _precision(time_of_day: str, fraction: str) -> timedelta:
    if fraction:
        return timedelta(microseconds=10 ** (_FINEST - min(len(fraction), _FINEST)))
    return _PRECISIONS[len(time_of_day.replace(":", ""))]


def _wrong(name: str, message: str) -> NotValid:
    return NotValid([Problem(path=f"/{name}", message=message)])
