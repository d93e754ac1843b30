"""The evaluator: fires alerts and lets them recover.

One background loop of every process that runs executions, stopped when told. Its one rule: what it
decides, it decides in one transaction with the alert locked; processes share the alerts and never
the same one at a time.
"""

from __future__ import annotations

from datetime import datetime

import orjson

from engine.moments import rfc3339
from models.alert_watch import AlertWatch, Evaluation
from models.alerts import Alert
from services.aaa_log import AaaLog
from services.alert_condition import DURATION_P95, holds, seconds_between, value_of
from services.rounds import Rounds

ACTION = "evaluate_alerts"
_SOONEST_SECONDS = 0.2
_POSTPONED_SECONDS = 60.0
_TRIM_ROWS, _TRIM_BATCHES = 10_000, 50


class AlertEvaluator:
    """The loop. `poll_seconds` is how long a new alert may wait for its first look."""

    def __init__(
        self,
        lines: AaaLog,
        watch: AlertWatch,
        *,
        poll_seconds: float = 5.0,
        retry_seconds: float = 5.0,
    ) -> None:
        self._lines = lines
        self._watch = watch
        self._poll_seconds = poll_seconds
        self._rounds = Rounds(lines, ACTION, self._round, retry_seconds=retry_seconds)

    def start(self) -> None:
        """Starts the loop."""
        self._rounds.start()

    async def stop(self, timeout_seconds: float = 2.0) -> None:
        """Ends after the evaluation under way, waiting at most `timeout_seconds` for it."""
        await self._rounds.stop(timeout_seconds)

    async def _round(self) -> float:
        """Evaluates what is due; how long to wait before the next round."""
        due = await self._watch.next_due()
        if due is not None and due <= 0:
            while not self._rounds.stopping and await self.evaluate_one():
                pass
            due = await self._watch.next_due()
        if due is None:
            return self._poll_seconds
        return min(max(due, _SOONEST_SECONDS), self._poll_seconds)

    async def evaluate_one(self) -> bool:
        """Evaluates one alert that is due; False if there is none. Raises `StoreUnavailable`,
        `OutcomeUnknown`."""
        evaluation: Evaluation | None = None
        try:
            async with self._watch.due() as evaluation:
                if evaluation is None:
                    return False
                event = await _evaluate(evaluation)
        except Exception:
            if evaluation is not None:  # it must not be the first in the queue for ever
                await self._watch.postpone(evaluation.alert, _POSTPONED_SECONDS)
            raise
        alert = evaluation.alert
        if event is not None:
            self._lines.system(
                f"alert_{event}",
                community=alert.community_id,
                alert_id=alert.alert_id,
                workflow_id=alert.workflow_id,
                metric=alert.condition.metric,
            )
        for _ in range(_TRIM_BATCHES):
            if await self._watch.trim(alert, evaluation.now, _TRIM_ROWS) < _TRIM_ROWS:
                break
        return True


async def _evaluate(evaluation: Evaluation) -> str | None:
    """Measures, records and, on a change, tells; the event, if there was one."""
    alert = evaluation.alert
    condition = alert.condition
    measured = await evaluation.measure(with_p95=condition.metric == DURATION_P95)
    value = value_of(alert, measured, evaluation.now)
    await evaluation.record(measured, value, seconds_between(condition))
    firing = holds(condition, measured, value)
    if firing == (alert.state == "firing"):
        return None
    state, event = ("firing", "fired") if firing else ("ok", "recovered")
    payload = _payload(alert, evaluation.now, event, state, value, measured.executions)
    await evaluation.change(state, event, payload)
    return event


def _payload(
    alert: Alert, now: datetime, event: str, state: str, value: float | None, executions: int
) -> str:
    condition = alert.condition
    told = {
        "type": f"alert.{event}",
        "timestamp": rfc3339(now),
        "data": {
            "id": alert.alert_id,
            "alert_id": alert.alert_id,
            "community_id": alert.community_id,
            "workflow_id": alert.workflow_id,
            "state": state,
            "condition": {
                "metric": condition.metric,
                "threshold": condition.threshold,
                "window_seconds": condition.window_seconds,
                "min_count": condition.min_count,
            },
            "value": value,
            "executions": executions,
        },
    }
    return orjson.dumps(told).decode()
