"""Which executions a live stream shows: the filters of the lists, as far as they make sense live.

Its one rule: a filter narrows what the caller may see and never widens it.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.telling import Subject

Key = tuple[str, object]
"""A field of an execution and its value: what streams are found by."""

EVERYTHING: Key = ("", "")

_INDEXED = ("execution_id", "session_id", "workflow_id", "user_id", "community_id")
"""The fields that streams are found by, the one that fits fewest executions first."""


@dataclass(frozen=True, slots=True)
class LiveFilter:
    """What a stream is narrowed to; None and no statuses mean all."""

    statuses: tuple[str, ...] = ()
    workflow_id: str | None = None
    community_id: int | None = None
    trigger_source: str | None = None
    user_id: int | None = None
    session_id: str | None = None
    execution_id: str | None = None

    def key(self) -> Key:
        """The one field that a stream with this filter is found by."""
        for name in _INDEXED:
            value = getattr(self, name)
            if value is not None:
                return name, value
        return EVERYTHING

    def fits(self, subject: Subject) -> bool:
        """Whether it shows anything of this execution."""
        return (
            (self.execution_id is None or self.execution_id == subject.execution_id)
            and (self.session_id is None or self.session_id == subject.session_id)
            and (self.workflow_id is None or self.workflow_id == subject.workflow_id)
            and (self.user_id is None or self.user_id == subject.user_id)
            and (self.community_id is None or self.community_id == subject.community_id)
            and (self.trigger_source is None or self.trigger_source == subject.trigger_source)
        )


def value_in(subject: Subject, name: str) -> object:
    """The value under which a stream that shows this execution is found, of those that are found
    by this field (`LiveFilter.key`)."""
    return getattr(subject, name) if name else ""
