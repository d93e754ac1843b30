"""Plans of statements, as PostgreSQL makes them for some values and for any.

Its one rule: a statement is prepared and explained as it is executed. `EXPLAIN` of a statement that
has its values beside it plans for these values, whatever `plan_cache_mode` says.
"""

from __future__ import annotations

from typing import Any, Literal

import asyncpg

Mode = Literal["force_custom_plan", "force_generic_plan"]
MODES: tuple[Mode, ...] = ("force_custom_plan", "force_generic_plan")
"""Planned for the values, and for any."""

_TYPES = "SELECT parameter_types::text[] FROM pg_prepared_statements WHERE name = 'explained'"


async def explained(
    connection: asyncpg.Connection | Any,
    statement: str,
    values: tuple[Any, ...],
    mode: Mode,
    options: str = "",
) -> list[Any]:
    """The rows that `EXPLAIN (options)` gives of a statement with these values. With `ANALYZE` the
    statement is run: call it in a transaction that is taken back."""
    await connection.execute(f"PREPARE explained AS {statement}")
    types = await connection.fetchval(_TYPES)
    literals = [
        f"{await connection.fetchval(f'SELECT quote_nullable(($1::{kind})::text)', value)}::{kind}"
        for kind, value in zip(types, values, strict=True)
    ]
    given = f"({', '.join(literals)})" if literals else ""
    asked = f"EXPLAIN ({options})" if options else "EXPLAIN"
    await connection.execute(f"SET plan_cache_mode = {mode}")
    try:
        rows = await connection.fetch(f"{asked} EXECUTE explained{given}")
    finally:
        await connection.execute("RESET plan_cache_mode")
        await connection.execute("DEALLOCATE explained")
    return [row[0] for row in rows]
