"""The letters of one execution: signals from outside and the ends of its children.

Its one rule: a letter is used up by the record of the step that took it, never before. So a crash
between arrival and record loses nothing, and a replay finds the same letters still to be taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from engine.context import Json
from engine.records import Letter


class Mailbox:
    """Keeps letters in the order in which they came. `taken` are the ids that records name."""

    def __init__(self, letters: Iterable[Letter] = (), taken: Iterable[str] = ()) -> None:
        self._known: set[str] = set()
        self._unread: dict[str, Letter] = {}
        self._taken = set(taken)
        self.add(letters)

    @property
    def received(self) -> int:
        """How many letters have come in all."""
        return len(self._known)

    @property
    def letter_ids(self) -> set[str]:
        """The ids of the letters that have come."""
        return self._known

    def add(self, letters: Iterable[Letter]) -> None:
        """Puts in what has come; what is known already changes nothing."""
        for letter in letters:
            if letter.letter_id not in self._known:
                self._known.add(letter.letter_id)
                if letter.letter_id not in self._taken:
                    self._unread[letter.letter_id] = letter

    def take_signal(self, name: str, fits: Callable[[Json], bool]) -> Letter | None:
        """The oldest signal of this name whose payload fits, if there is one."""
        for letter in self._unread.values():
            if letter.kind == "signal" and letter.name == name and fits(letter.payload):
                return self._unread.pop(letter.letter_id)
        return None

    def take_child(self, execution_id: str) -> Letter | None:
        """The letter about this child's end, if it has come."""
        letter = self._unread.get(execution_id)
        if letter is None or letter.kind != "child":
            return None
        return self._unread.pop(execution_id)
