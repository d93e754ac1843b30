"""What a running execution is told, and what it says when it stops."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from engine.effects import Finished
from engine.scopes import Step


class Exit(Enum):
    """Why a runner stopped. `DROPPED`: the process gave the execution up without a word, because
    its lease is lost or it shuts down."""

    ENDED = "ended"
    PARKED = "parked"
    DROPPED = "dropped"


class Request(Enum):
    """What somebody may ask of a running execution."""

    CANCEL = "cancel"
    TIME_OUT = "time_out"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class Wake:
    """A step's wait is over."""

    step: Step


Message = Request | Wake | Finished
