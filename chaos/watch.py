"""The watch over late writes: what a process tried to write for a worker that was dead by then.

Its one rule: it sees the attempt, not only the damage. A statement trigger fires for a statement
that touches no row as well, so a flush that the fence has refused leaves a line here with `rows`
0; one that got through leaves its number of rows. The watch lives in the database of the chaos
alone, and knows who writes by `chaos.process`, a setting that each process's connections have.
"""

from __future__ import annotations

from dataclasses import dataclass

from chaos.database import Database

SETTING = "chaos.process"
"""What a connection of the service says of itself: the port of its process."""

# A flush names its fence first, and a claim what it has picked. The statements of the triggers
# inside a flush are looked at only as part of it: whose execution they touch is their business.
_INSTALL = r"""
CREATE TABLE chaos_late_writes (
    backend integer, at timestamptz, process text, kind text, wrote bigint,
    PRIMARY KEY (backend, at)
);
CREATE FUNCTION chaos_note_late_write(rows bigint, elsewhere boolean) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    me text := current_setting('chaos.process', true);
    kind text := CASE WHEN current_query() !~ '^\s*WITH\s+fence' THEN NULL
                      WHEN current_query() ~ 'picked AS' THEN 'claim' ELSE 'flush' END;
BEGIN
    IF me IS NULL OR kind IS NULL OR (kind = 'claim' AND rows = 0) THEN
        RETURN;
    END IF;
    IF elsewhere OR NOT EXISTS (SELECT 1 FROM engine_workers
                                 WHERE state = 'alive' AND name LIKE '%:' || me) THEN
        INSERT INTO chaos_late_writes AS l
        VALUES (pg_backend_pid(), statement_timestamp(), me, kind, rows)
        ON CONFLICT (backend, at) DO UPDATE SET wrote = l.wrote + excluded.wrote;
    END IF;
END
$$;
CREATE FUNCTION chaos_executions_written() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF pg_trigger_depth() = 1 THEN
        PERFORM chaos_note_late_write((SELECT count(*) FROM fresh), false);
    END IF;
    RETURN NULL;
END
$$;
CREATE FUNCTION chaos_steps_written() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM chaos_note_late_write(
        (SELECT count(*) FROM fresh),
        EXISTS (SELECT 1 FROM fresh JOIN workflow_executions e USING (execution_id)
                  JOIN engine_workers w USING (worker_id)
                 WHERE w.name NOT LIKE '%:' || current_setting('chaos.process', true)));
    RETURN NULL;
END
$$;
CREATE TRIGGER chaos_created AFTER INSERT ON workflow_executions
    REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION chaos_executions_written();
CREATE TRIGGER chaos_moved AFTER UPDATE ON workflow_executions
    REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION chaos_executions_written();
CREATE TRIGGER chaos_recorded AFTER INSERT ON workflow_steps
    REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION chaos_steps_written();
"""

_COUNT = """
SELECT count(*) AS attempted, count(*) FILTER (WHERE wrote = 0) AS refused FROM chaos_late_writes
"""


@dataclass(frozen=True, slots=True)
class LateWrites:
    """How many flushes and claims came from a process without a living worker, or for an
    execution that another process held; and how many of them wrote nothing."""

    attempted: int
    refused: int


async def install(database: Database) -> None:
    """Begins to watch. The schema must be there."""
    await database.execute(_INSTALL)


async def late_writes(database: Database) -> LateWrites:
    """What was seen so far."""
    (row,) = await database.fetch(_COUNT)
    return LateWrites(row["attempted"], row["refused"])
