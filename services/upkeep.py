"""What works beside the requests: writing the audit log, and dropping history.

Its one rule: what is asked to be noted before the service ends is written before the database is
closed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime

from models.audit import AuditLog
from models.dal import AsyncDAL
from models.retention import History
from services.aaa_log import AaaLog
from services.audit import AuditTrail
from services.retention import Retention


@asynccontextmanager
async def upkeep(
    dal: AsyncDAL,
    lines: AaaLog,
    now: Callable[[], datetime],
    *,
    days: int | None,
    webhook_days: int,
) -> AsyncIterator[AuditTrail]:
    """The audit trail, being written while the block runs; history older than `days`, and
    deliveries older than `webhook_days`, are dropped meanwhile."""
    async with AsyncExitStack() as stack:
        audit = AuditTrail(lines, AuditLog(dal), now=now)
        await audit.start()
        stack.push_async_callback(audit.stop)
        retention = Retention(lines, History(dal), days=days, webhook_days=webhook_days)
        retention.start()
        stack.push_async_callback(retention.stop)
        yield audit
