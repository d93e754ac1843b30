"""The delay: an action that only lets time pass.

Its one rule: the delay is a number of seconds before anything waits, whatever unit the author
wrote. `delay_seconds` and `delay_ms` say their unit. `delay_variable` names a value that replaces
the written one and keeps its unit: milliseconds beside `delay_ms`, otherwise seconds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from engine.context import Json, JsonObject
from engine.errors import StepFailure
from engine.expressions import Budget, Env, Template, compile_reference, compile_template
from engine.nodes.base import Field, Finding, NodeSpec, Park, Result

_WHOLE = re.compile(r"\s*-?[0-9]{1,18}\s*")

LONGEST_SECONDS = 30 * 24 * 3600
"""The longest an execution may take; waiting longer could never end well."""


def seconds_of(value: Json, name: str, unit: float = 1.0) -> float:
    """`value`, a number or numeric string of `unit` seconds each, in seconds.

    Raises `StepFailure` naming the configuration key when it is no such number, negative, or
    more than 30 days.
    """
    number = numeric(value)
    if number is None:
        raise StepFailure("BAD_CONFIG", f"`{name}` must be a number, not {value!r:.80}")
    seconds = float(number) * unit
    if seconds < 0:
        raise StepFailure("BAD_CONFIG", f"`{name}` must not be negative, but is {number:g}")
    if seconds > LONGEST_SECONDS:
        raise StepFailure("BAD_CONFIG", f"`{name}` is longer than 30 days: {seconds:g} s")
    return seconds


def numeric(value: Json) -> int | float | None:
    """`value` as a finite number, if it is one or the text of one; else None."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str):
        try:
            value = int(value) if _WHOLE.fullmatch(value) else float(value)
        except ValueError:
            return None
    return value if math.isfinite(value) else None


@dataclass(frozen=True, slots=True)
class Delay:
    """Lets `amount` times `unit` seconds pass."""

    amount: Template
    name: str
    unit: float

    def park(self, env: Env, budget: Budget) -> Park:
        return Park(seconds=seconds_of(self.amount.render(env, budget), self.name, self.unit))

    def woken(self, waited: Park, payload: Json, *, timed_out: bool) -> Result:
        return Result(output={"delayed_seconds": waited.seconds})


def _compile_delay(config: JsonObject) -> Delay:
    in_milliseconds = config.get("delay_seconds") is None and config.get("delay_ms") is not None
    unit = 0.001 if in_milliseconds else 1.0
    variable = config.get("delay_variable")
    if variable is not None:
        return Delay(compile_reference(variable), "delay_variable", unit)
    name = "delay_ms" if in_milliseconds else "delay_seconds"
    return Delay(compile_template(config[name]), name, unit)


def _check_delay(config: JsonObject) -> Sequence[Finding]:
    fixed = [name for name in ("delay_seconds", "delay_ms") if config.get(name) is not None]
    if not fixed and config.get("delay_variable") is None:
        message = "How long? None of `delay_seconds`, `delay_ms` and `delay_variable` is given"
        return [Finding("MISSING_CONFIG", message, "", 'For example {"delay_seconds": 5}')]
    if len(fixed) == 2:
        message = "`delay_seconds` and `delay_ms` are both given"
        return [Finding("VALIDATION", message, "/delay_ms", "Leave one of them out")]
    return ()


DELAY = NodeSpec(
    type="action_delay",
    family="park",
    summary="Waits for a time; survives a restart.",
    fields=(
        Field("delay_seconds", ("number",), "template", minimum=0, maximum=LONGEST_SECONDS),
        Field("delay_ms", ("number",), "template", minimum=0, maximum=LONGEST_SECONDS * 1000),
        Field("delay_variable", ("number",), "reference"),
    ),
    compile=_compile_delay,
    check=_check_delay,
)
