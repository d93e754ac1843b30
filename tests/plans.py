"""Plans of statements, as PostgreSQL makes them for some values and for any.

Its one rule: a statement is prepared and explained as it is executed. `EXPLAIN` of a statement that
has its values beside it plans for these values, whatever `plan_cache_mode` says.
"""

from __future__ import annotations

from typing import Any, Literal

from models.dal import AsyncDAL, Session

Mode = Literal["force_custom_plan", "force_generic_plan"]
MODES: tuple[Mode, ...] = ("force_custom_plan", "force_generic_plan")
"""Planned for the values, and for any."""

_TYPES = "SELECT parameter_types::text[] FROM pg_prepared_statements WHERE name = 'explained'"


async def vacuumed(dal: AsyncDAL, *tables: str) -> None:
    """Statistics as they are, and nothing left of the rows of earlier tests: an index leads to
    what was deleted until it is vacuumed, and whoever counts what a plan reads counts that too.
    Every table, unless some are named."""
    await dal.execute(f"VACUUM (ANALYZE) {', '.join(tables)}")


async def explained(
    tx: Session,
    statement: str,
    values: tuple[Any, ...],
    mode: Mode,
    options: str = "",
) -> list[Any]:
    """The rows that `EXPLAIN (options)` gives of a statement with these values. What it does is
    taken back."""
    await tx.execute(f"PREPARE explained AS {statement}")
    await tx.execute("SAVEPOINT explaining")
    try:
        types = await tx.fetchval(_TYPES)
        literals = [
            f"{await tx.fetchval(f'SELECT quote_nullable(($1::{kind})::text)', value)}::{kind}"
            for kind, value in zip(types, values, strict=True)
        ]
        given = f"({', '.join(literals)})" if literals else ""
        asked = f"EXPLAIN ({options})" if options else "EXPLAIN"
        await tx.execute(f"SET LOCAL plan_cache_mode = {mode}")
        rows = await tx.fetch(f"{asked} EXECUTE explained{given}")
    finally:
        await tx.execute("ROLLBACK TO explaining")
        await tx.execute("DEALLOCATE explained")
    return [row[0] for row in rows]
