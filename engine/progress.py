"""How far an execution has come, as details, lists and events say it."""

from __future__ import annotations

from engine.context import ExecutionStatus, JsonObject


def how_far(status: str, settled: int, total: int) -> JsonObject:
    """`{current_step, total_steps, percentage}` of an execution of which `settled` of `total`
    nodes have run to their end or been skipped; completed, it has come all the way. The
    percentage is rounded to tenths, halves of one upwards: as PostgreSQL rounds it for webhooks."""
    if status == ExecutionStatus.COMPLETED:
        return {"current_step": total, "total_steps": total, "percentage": 100.0}
    percentage = (2000 * settled + total) // (2 * total) / 10 if total else 0.0
    return {"current_step": settled, "total_steps": total, "percentage": percentage}
