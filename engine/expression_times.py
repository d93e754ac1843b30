"""Moments as text: `now()` and `date_format()`.

One rule: no locale, no time-zone database, no `strftime`: the names are English, a moment keeps
the offset it came with, and every directive is in the table below.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from engine.context import Json
from engine.expression_values import Budget, ExpressionError, kind, nearest, shortened

_LONGEST_FORMAT = 256
_LONGEST_MOMENT = 64
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_DIRECTIVES: dict[str, Callable[[datetime], str]] = {
    "Y": lambda moment: f"{moment.year:04d}",
    "y": lambda moment: f"{moment.year % 100:02d}",
    "m": lambda moment: f"{moment.month:02d}",
    "B": lambda moment: _MONTHS[moment.month - 1],
    "b": lambda moment: _MONTHS[moment.month - 1][:3],
    "d": lambda moment: f"{moment.day:02d}",
    "e": lambda moment: f"{moment.day:2d}",
    "j": lambda moment: f"{moment.timetuple().tm_yday:03d}",
    "A": lambda moment: _DAYS[moment.weekday()],
    "a": lambda moment: _DAYS[moment.weekday()][:3],
    "u": lambda moment: str(moment.isoweekday()),
    "w": lambda moment: str(moment.isoweekday() % 7),
    "G": lambda moment: f"{moment.isocalendar().year:04d}",
    "V": lambda moment: f"{moment.isocalendar().week:02d}",
    "H": lambda moment: f"{moment.hour:02d}",
    "I": lambda moment: f"{(moment.hour + 11) % 12 + 1:02d}",
    "p": lambda moment: "AM" if moment.hour < 12 else "PM",
    "M": lambda moment: f"{moment.minute:02d}",
    "S": lambda moment: f"{moment.second:02d}",
    "f": lambda moment: f"{moment.microsecond:06d}",
    "s": lambda moment: str(int(moment.timestamp())),
    "z": lambda moment: _offset(moment),
    "Z": lambda moment: "UTC" if not moment.utcoffset() else "UTC" + _offset(moment),
    "F": lambda moment: f"{moment.year:04d}-{moment.month:02d}-{moment.day:02d}",
    "T": lambda moment: f"{moment.hour:02d}:{moment.minute:02d}:{moment.second:02d}",
    "%": lambda moment: "%",
}
_DIRECTIVE = re.compile("%(.?)", re.DOTALL)


def date_format(budget: Budget, value: Json, fmt: Json, /) -> str:
    """A moment (ISO 8601 text, or seconds since 1970) by a format such as `%H:%M`.

    A moment without an offset is taken as UTC; one with an offset keeps it.
    """
    if type(fmt) is not str:
        raise ExpressionError(f"the format is text such as '%Y-%m-%d', not {kind(fmt)}")
    if len(fmt) > _LONGEST_FORMAT:
        raise ExpressionError(f"the format is longer than {_LONGEST_FORMAT} characters")
    budget.spend(8 + len(fmt))
    moment = _moment(value)

    def written(match: re.Match[str]) -> str:
        write = _DIRECTIVES.get(match[1])
        if write is None:
            close = nearest(match[1], _DIRECTIVES)
            hint = f"did you mean %{close}?" if close else f"known: {' '.join(_DIRECTIVES)}"
            raise ExpressionError(f"%{match[1]} is not a part of a date; {hint}")
        return write(moment)

    text = _DIRECTIVE.sub(written, fmt)
    budget.allocate(len(text))
    return text


def _moment(value: Json) -> datetime:
    try:
        moment = _read(value)
    except (ValueError, OverflowError, OSError):
        moment = None
    if moment is not None:
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    what = repr(shortened(value)) if type(value) is str else kind(value)
    raise ExpressionError(
        f"{what} is not a moment; write ISO 8601 ('2026-01-31T20:00:00Z') or seconds since 1970"
    )


def _read(value: Json) -> datetime | None:
    if type(value) is int or type(value) is float:
        return datetime.fromtimestamp(value, UTC)
    if type(value) is str and len(value) <= _LONGEST_MOMENT:
        return datetime.fromisoformat(value.strip())
    return None


def _offset(moment: datetime) -> str:
    offset = moment.utcoffset() or timedelta()
    minutes = int(offset.total_seconds()) // 60
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}{abs(minutes) % 60:02d}"
