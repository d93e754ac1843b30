"""Variables as they were written, read one by one.

Its one rule: a wrong value stops nothing by itself. Its default is taken, and what is wrong with it
and what would be right is gathered, to be told with all the rest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")

LEAST_SECRET_BYTES = 32
"""RFC 7518, 3.2: a key for HS256 is at least as long as its hash."""


class Reader:
    """Reads variables and gathers what is wrong with them. Of several places where they may stand
    the first one that has a variable counts, by whichever of its names."""

    def __init__(self, *places: Mapping[str, str]) -> None:
        self._places = places
        self.problems: list[str] = []

    def value(
        self,
        name: str,
        default: T,
        parse: Callable[[str], T],
        *aliases: str,
        hidden: bool = False,
    ) -> T:
        """The variable or the first alias that is set, parsed; `parse` raises `ValueError` with
        what would be right. A value that may hold a password can be `hidden`."""
        candidate, text = self._found(name, *aliases)
        if not text:
            return default
        try:
            return parse(text)
        except ValueError as error:
            shown = "a value" if hidden or "@" in text else repr(text)  # never print a password
            self.problems.append(f"{candidate} is {shown}; it must be {error}")
            return default

    def _found(self, *names: str) -> tuple[str, str]:
        """The name that is set, and to what; an empty value is none."""
        for place in self._places:
            for name in names:
                if text := place.get(name, "").strip():
                    return name, text
        return names[0], ""

    def integer(self, name: str, default: int, low: int, high: int, *aliases: str) -> int:
        def parse(text: str) -> int:
            wanted = f"a whole number from {low} to {high}, such as {default}"
            if not re.fullmatch(r"[+-]?[0-9]{1,18}", text) or not low <= int(text) <= high:
                raise ValueError(wanted)
            return int(text)

        return self.value(name, default, parse, *aliases)

    def seconds(self, name: str, default: float, low: float, high: float) -> float:
        def parse(text: str) -> float:
            wanted = f"seconds from {low:g} to {high:g}, such as {default:g}"
            if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) or not low <= float(text) <= high:
                raise ValueError(wanted)
            return float(text)

        return self.value(name, default, parse)

    def secret(self, name: str) -> str | None:
        """A secret that signs; what is too short could be guessed. It is never shown."""
        text = self.value(name, None, str)
        if text is None or len(text.encode()) >= LEAST_SECRET_BYTES:
            return text
        self.problems.append(
            f"{name} has {len(text.encode())} bytes; it must have at least {LEAST_SECRET_BYTES}, "
            "such as those of: openssl rand -hex 32"
        )
        return None

    def choice(
        self,
        name: str,
        default: str,
        choices: Iterable[str],
        fold: Callable[[str], str] = str.lower,
    ) -> str:
        def parse(text: str) -> str:
            if fold(text) not in choices:
                raise ValueError(f"one of {', '.join(choices)}")
            return fold(text)

        return self.value(name, default, parse)
