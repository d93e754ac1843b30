"""The sabotages: for each, the promise it breaks, the change that breaks it, and the tests that
must notice.

The one rule: a change is text that stands in its file exactly once. So it is tried on the code as
it is, and code that moves on takes its sabotage along or says so.
"""

from __future__ import annotations

from dataclasses import dataclass

SQL = "models/execution_sql.py"
CLAIMS = "models/claim_sql.py"
WORKERS = "models/worker_sql.py"
STORE = "tests/models/test_execution_store.py"
ENGINE = "tests/engine/test_engine.py"


@dataclass(frozen=True, slots=True)
class Sabotage:
    """One change of `file`: `before` becomes `after`. `tests` are pytest's arguments."""

    name: str
    promise: str
    guarantee: str
    file: str
    before: str
    after: str
    tests: tuple[str, ...]


SABOTAGES = (
    Sabotage(
        "answer-before-commit",
        "a 202 is given once the execution is durable",
        "G1",
        "engine/engine.py",
        "await self._durable(session, [context.execution_id for context in contexts])",
        "await asyncio.sleep(0)",
        (ENGINE,),
    ),
    Sabotage(
        "asynchronous-commit",
        "every connection commits synchronously",
        "G1",
        "models/dal.py",
        '"jit": "off",',
        '"jit": "off", "synchronous_commit": "off",',
        ("tests/guarantees/test_g01_durable.py", "-k", "crash"),
    ),
    Sabotage(
        "asynchronous-commit-of-the-lock",
        "every connection commits synchronously, those outside the pool too",
        "G1",
        "models/dal.py",
        'server_settings={"application_name": "workflow_core worker"}',
        'server_settings={"application_name": "workflow_core worker", "synchronous_commit": "off"}',
        ("tests/guarantees/test_g01_durable.py",),
    ),
    Sabotage(
        "careless-server",
        "a server that may lose commits is refused",
        "G1",
        "models/migrate.py",
        "        await check_server(connection)\n",
        "",
        ("tests/models/test_migrate.py",),
    ),
    Sabotage(
        "server-without-fsync",
        "a server without fsync is refused",
        "G1",
        "models/migrate.py",
        '    "fsync": "confirmed data is lost when the machine fails",\n',
        "",
        ("tests/models/test_migrate.py",),
    ),
    Sabotage(
        "key-after-the-start",
        "a key is claimed before anything starts",
        "G2",
        "services/once.py",
        "        await create(known.execution_id)\n",
        "        await create(wanted.execution_id)\n",
        ("tests/controllers/test_idempotency.py",),
    ),
    Sabotage(
        "steps-that-clash",
        "a flush may be written twice",
        "G3",
        SQL,
        "ON CONFLICT (execution_id, seq) DO NOTHING",
        "",
        (STORE,),
    ),
    Sabotage(
        "steps-that-change",
        "a recorded step is never changed",
        "G3",
        SQL,
        "ON CONFLICT (execution_id, seq) DO NOTHING",
        "ON CONFLICT (execution_id, seq) DO UPDATE SET output_data = excluded.output_data",
        (STORE,),
    ),
    Sabotage(
        "ends-that-change",
        "a terminal status never changes, whoever writes",
        "G3",
        "migrations/0001_initial.sql",
        "    BEFORE UPDATE OF status ON workflow_executions FOR EACH ROW",
        "    BEFORE UPDATE OF created ON workflow_executions FOR EACH ROW",
        (STORE,),
    ),
    Sabotage(
        "steps-without-guard",
        "a recorded step is final, whoever writes",
        "G3",
        "migrations/0001_initial.sql",
        "    BEFORE UPDATE ON workflow_steps FOR EACH STATEMENT",
        "    BEFORE TRUNCATE ON workflow_steps FOR EACH STATEMENT",
        ("tests/guarantees/test_g03_final.py",),
    ),
    Sabotage(
        "key-of-the-attempt",
        "an effect has one key on every attempt",
        "G4",
        "engine/effects.py",
        "return f\"{execution['id']}:{step.key}\"",
        "return f\"{execution['id']}:{step.key}:{step.attempt}\"",
        ("tests/engine/test_running.py",),
    ),
    Sabotage(
        "forgotten-intent",
        "an at_most_once effect that was cut off is not repeated",
        "G4",
        "engine/runner.py",
        "            elif step.intended:\n",
        "            elif step.intended and step.attempt < 0:\n",
        (ENGINE,),
    ),
    Sabotage(
        "flush-without-fence",
        "a worker that was declared dead writes nothing",
        "G5",
        SQL,
        "    parts = [FENCE]\n",
        "    parts = [FENCE.replace(\"AND state = 'alive'\", '')]\n",
        (STORE, "-k", "dead_worker_writes_nothing"),
    ),
    Sabotage(
        "death-without-waiting",
        "whoever declares a worker dead waits for its flush, and frees what that moved",
        "G5",
        "models/worker_sql.py",
        " ORDER BY worker_id FOR UPDATE)",
        " ORDER BY worker_id)",
        (STORE, "-k", "ends_a_worker"),
    ),
    Sabotage(
        "claim-without-fence",
        "a worker that was declared dead claims nothing",
        "G5",
        CLAIMS,
        "WITH RECURSIVE {FENCE}, ",
        "WITH RECURSIVE {FENCE.replace('AND state', 'OR state')}, ",
        (STORE,),
    ),
    Sabotage(
        "effects-after-the-deadline",
        "a worker whose lease may have run out starts no effect",
        "G5",
        "engine/session.py",
        "        if not self._worker.may_act():\n            self._lose(LeaseLost())\n",
        "",
        ("tests/test_simulation.py", "-k", "whatever_befalls or deadline"),
    ),
    Sabotage(
        "death-that-is-undone",
        "a worker that was declared dead cannot renew its lease",
        "G5",
        WORKERS,
        " WHERE worker_id = $1 AND state = 'alive'\nRETURNING clock_timestamp()",
        " WHERE worker_id = $1\nRETURNING clock_timestamp()",
        (STORE,),
    ),
    Sabotage(
        "idle-sweeper",
        "what a dead worker held is freed",
        "G6",
        "engine/worker.py",
        "await self._store.reap(self.worker_id, most) if self.company else 0",
        "0",
        (ENGINE,),
    ),
    Sabotage(
        "lock-of-another-server",
        "after a restart of the database no living worker is taken for dead",
        "G6",
        WORKERS,
        "            WHEN locked_at <= pg_postmaster_start_time() THEN false\n",
        "",
        ("tests/guarantees/test_g06_recovery.py",),
    ),
    Sabotage(
        "recovery-by-lease-only",
        "a worker whose process is gone is seen by its lock, not by its lease",
        "G6",
        WORKERS,
        "ELSE pg_try_advisory_xact_lock(lock_key) END",
        "ELSE false END",
        (STORE,),
    ),
    Sabotage(
        "poison-without-limit",
        "an execution that keeps losing its workers fails",
        "G6",
        WORKERS,
        " WHERE worker_id = ANY($1::uuid[]) AND recoveries >= $2 AND",
        " WHERE worker_id = ANY($1::uuid[]) AND recoveries > 1000 + $2 AND",
        (STORE,),
    ),
    Sabotage(
        "counted-release",
        "a release is no recovery",
        "G6",
        WORKERS,
        "SET status = 'pending', worker_id = NULL WHERE worker_id = $1\n",
        "SET status = 'pending', worker_id = NULL, recoveries = recoveries + 1"
        " WHERE worker_id = $1\n",
        (STORE,),
    ),
    Sabotage(
        "effect-before-its-inputs",
        "an effect starts once all it depends on is durable (output commit)",
        "G7",
        "engine/runner.py",
        "await self._tools.journal.committed(depends_on)",
        "await self._tools.journal.committed(0)",
        ("tests/test_simulation.py", "-k", "whatever_befalls"),
    ),
    Sabotage(
        "sequence-of-the-row",
        "whoever ends an execution for its worker numbers the end after its last record",
        "G7",
        SQL,
        "greatest(last_seq, (SELECT max(seq) FROM workflow_steps s"
        " WHERE s.execution_id = e.execution_id))",
        "last_seq",
        ("tests/guarantees/test_g07_gapless.py",),
    ),
    Sabotage(
        "cancel-before-it-is-true",
        "a cancellation is acknowledged once it is true",
        "G8",
        "engine/requests.py",
        "            asked = True\n            if self._clock.monotonic() > deadline",
        "            return self._clock.now()\n            if self._clock.monotonic() > deadline",
        (ENGINE,),
    ),
    Sabotage(
        "early-timers",
        "what waits for a time is not due before it",
        "G9",
        CLAIMS,
        "AND wake_at <= statement_timestamp()",
        "AND wake_at <= statement_timestamp() + interval '2 hours'",
        (STORE,),
    ),
    Sabotage(
        "early-delays",
        "a delay takes as long as it says",
        "G9",
        "engine/waits.py",
        "        left = (step.wake_at - self._tools.clock.now()).total_seconds()\n",
        "        left = (step.wake_at - self._tools.clock.now()).total_seconds() / 2\n",
        ("tests/engine/test_running.py",),
    ),
    Sabotage(
        "deaf-parking",
        "a letter that comes while an execution parks wakes it",
        "G9",
        SQL,
        "AND (e.letters > u.letters_read",
        "AND (e.letters < 0",
        (STORE,),
    ),
    Sabotage(
        "newest-version",
        "an execution runs the version that was live when it was accepted",
        "G15",
        SQL,
        "FROM workflow_versions WHERE workflow_id = $1 AND version = $2",
        "FROM workflow_versions WHERE workflow_id = $1 AND version >= $2 ORDER BY version DESC",
        ("tests/guarantees/test_g15_pinned.py",),
    ),
    Sabotage(
        "batch-of-its-own-ids",
        "the executions of a keyed batch have ids that follow from its key",
        "G2",
        "services/once.py",
        "            answer, start = prepare(known.execution_id)\n",
        "            answer, start = prepare(wanted.execution_id)\n",
        ("tests/controllers/test_batch_idempotency.py",),
    ),
    Sabotage(
        "lost-resume",
        "a resume that comes while an execution pauses is not lost",
        "G1",
        SQL,
        "AND (e.pause_requested_at IS NULL OR e.cancel_requested_at IS NOT NULL)",
        "AND e.cancel_requested_at IS NOT NULL",
        (STORE,),
    ),
    Sabotage(
        "first-come-first-served",
        "a long queue of one community does not delay another",
        "G13",
        CLAIMS,
        "     ORDER BY place, since LIMIT 2",
        "     ORDER BY since LIMIT 2",
        (STORE,),
    ),
    Sabotage(
        "no-place-kept",
        "one community does not take the whole room of a process",
        "G13",
        "engine/settings.py",
        "return most if most < _WORTH_KEEPING else most - max(most // 10, 1)",
        "return most",
        ("tests/engine/test_fairness.py",),
    ),
    Sabotage(
        "wall-clock",
        "time is the database's, whatever the machine's clock does",
        "G9",
        "services/clock.py",
        "        moment = self._moment() if self._heard else self._wall()\n        back",
        "        moment = self._wall()\n        back",
        ("tests/services/test_clock.py",),
    ),
    Sabotage(
        "letting-go-of-any-claim",
        "a late request to let go does not free what was claimed again since",
        "G5",
        SQL,
        " AND e.claims = held.claims\n",
        "\n",
        (STORE,),
    ),
)
