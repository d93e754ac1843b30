"""The embedded server survives its users, is shared by them, and stops with the last."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import psutil
import pytest

from models.embedded import EmbeddedPostgres, NotStarted, start_embedded
from models.migrate import DatabaseRefused, migrate

START_AND_DIE = """
import os, signal, sys
from pathlib import Path
from models.embedded import start_embedded
server = start_embedded(Path(sys.argv[1]))
print(server.server.get_pid(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""

START_AND_LEAVE = START_AND_DIE.replace("os.kill(os.getpid(), signal.SIGKILL)", "server.stop()")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with an initialised, stopped server."""
    path = tmp_path_factory.mktemp("embedded")
    start_embedded(path).stop()
    return path


@pytest.fixture
def server(home: Path) -> Iterator[EmbeddedPostgres]:
    """A server of this module's own, running."""
    server = start_embedded(home)
    yield server
    server.stop()


def run_user(script: str, home: Path) -> int:
    """Runs another process that uses the server; returns the server's process id."""
    command = [sys.executable, "-c", script, str(home)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return int(done.stdout)


def is_running(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "Z (zombie)" not in status.read_text()


def users(home: Path) -> list[int]:
    found: list[int] = json.loads((home / "postgres" / ".handle_pids.json").read_text())
    return found


async def test_what_is_stored_survives_a_restart(home: Path) -> None:
    first = start_embedded(home)
    connection = await asyncpg.connect(first.dsn)
    await connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    await connection.close()
    first.stop()
    second = start_embedded(home)
    connection = await asyncpg.connect(second.dsn)
    assert await connection.fetchval("SELECT answer FROM kept") == 42
    await connection.execute("DROP TABLE kept")
    await connection.close()
    second.stop()


def test_the_server_outlives_a_user_who_leaves_while_another_stays(
    server: EmbeddedPostgres, home: Path
) -> None:
    pid = run_user(START_AND_LEAVE, home)
    assert pid == server.server.get_pid()
    assert is_running(pid)


def test_the_last_user_to_leave_stops_the_server(home: Path) -> None:
    assert not is_running(run_user(START_AND_LEAVE, home))


def test_the_server_of_a_killed_service_is_used_again_and_stops(home: Path) -> None:
    pid = run_user(START_AND_DIE, home)
    assert is_running(pid)
    server = start_embedded(home)
    assert server.server.get_pid() == pid
    assert users(home) == [os.getpid()]
    server.stop()
    assert not is_running(pid)


@pytest.mark.parametrize(
    "left_behind", ["{other}\n", "{other}\n/elsewhere\n1\n5432\n/tmp\n\n1 1\nready\n"]
)
async def test_a_pid_file_of_another_process_does_not_keep_it_from_starting(
    home: Path, left_behind: str
) -> None:
    (home / "postgres" / "postmaster.pid").write_text(left_behind.format(other=os.getpid()))
    server = start_embedded(home)
    connection = await asyncpg.connect(server.dsn)
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()
    server.stop()


def test_a_server_that_is_still_starting_is_waited_for(server: EmbeddedPostgres) -> None:
    pid_file = server.server.pgdata / "postmaster.pid"
    ready = pid_file.read_text()
    pid_file.write_text(ready.replace("ready   ", "starting"))
    late = threading.Timer(0.5, pid_file.write_text, [ready])
    late.start()
    server.server._postmaster_info = None

    joined = start_embedded(pid_file.parent.parent)

    late.join()
    assert joined.dsn == server.dsn
    assert os.getpid() in users(pid_file.parent.parent)


def test_stopping_twice_is_harmless(home: Path) -> None:
    server = start_embedded(home)
    server.stop()
    server.stop()


async def test_a_path_too_long_for_a_socket_works(tmp_path: Path) -> None:
    server = start_embedded(tmp_path / ("long" * 30))
    connection = await asyncpg.connect(server.dsn)
    assert await connection.fetchval("SHOW server_version_num") >= "180000"
    await connection.close()
    server.stop()


async def test_a_server_without_fsync_is_refused(server: EmbeddedPostgres) -> None:
    connection = await asyncpg.connect(server.dsn)
    try:
        await connection.execute("ALTER SYSTEM SET fsync = off")
        await connection.execute("SELECT pg_reload_conf()")
        with pytest.raises(DatabaseRefused, match="fsync = off"):
            await migrate(server.dsn)
    finally:
        await connection.execute("ALTER SYSTEM RESET fsync")
        await connection.execute("SELECT pg_reload_conf()")
        await connection.close()


def postmaster(home: Path) -> int:
    return int((home / "postgres" / "postmaster.pid").read_text().split()[0])


@pytest.mark.parametrize("ending", [signal.SIGQUIT, signal.SIGKILL])
async def test_a_server_that_died_is_revived_and_stopped_by_whoever_leaves_last(
    ending: signal.Signals, home: Path
) -> None:
    server = start_embedded(home)
    first = postmaster(home)
    connection = await asyncpg.connect(server.dsn)
    os.kill(first, ending)
    async with asyncio.timeout(60):
        while is_running(first):  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.02)

    revivals = 0
    while not revivals:
        with suppress(NotStarted):  # while the processes of the former one notice that it is gone
            revivals += server.revive()

    again = await asyncpg.connect(server.dsn)
    assert await again.fetchval("SELECT 1") == 1
    second = postmaster(home)
    assert second != first
    assert server.revive() is False
    connection.terminate()
    again.terminate()
    server.stop()
    assert not is_running(second)


async def test_a_server_that_another_process_revived_is_stopped_by_the_last_to_leave(
    home: Path,
) -> None:
    server = start_embedded(home)
    os.kill(postmaster(home), signal.SIGKILL)
    second = run_user(START_AND_LEAVE, home)
    assert is_running(second)
    server.stop()
    assert not is_running(second)


def test_a_user_that_has_left_revives_nothing(home: Path) -> None:
    server = start_embedded(home)
    server.stop()
    assert server.revive() is False
    assert not (home / "postgres" / "postmaster.pid").exists()


def test_a_directory_that_was_taken_away_is_not_made_anew_and_empty(home: Path) -> None:
    server, away = start_embedded(home), home / "away"
    pid = postmaster(home)
    (home / "postgres").rename(away)
    with pytest.raises(NotStarted, match="is gone"):
        server.revive()
    assert not (home / "postgres").exists()
    away.rename(home / "postgres")
    server.stop()
    assert not is_running(pid)


def test_a_killed_user_does_not_keep_the_last_from_stopping_the_server(home: Path) -> None:
    server = start_embedded(home)
    pid = run_user(START_AND_DIE, home)
    assert is_running(pid)
    server.stop()
    assert not is_running(pid)


def test_a_user_that_nobody_buries_does_not_keep_the_last_from_stopping_it(home: Path) -> None:
    """A killed process whose parent does not ask for its end still has its number."""
    server = start_embedded(home)
    listed = home / "postgres" / ".handle_pids.json"
    user = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        listed.write_text(json.dumps([*users(home), user.pid]))
        user.kill()
        while psutil.Process(user.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        pid = server.server.get_pid()
        server.stop()
        assert not is_running(pid)
    finally:
        user.communicate()


def test_a_server_that_cannot_start_is_told_with_the_reason_from_its_log(home: Path) -> None:
    settings = home / "postgres" / "postgresql.auto.conf"
    before = settings.read_text()
    settings.write_text("shared_buffers = 'lots'\n")
    try:
        with pytest.raises(NotStarted, match=r"FATAL.*postgresql\.auto\.conf") as refused:
            start_embedded(home)
        assert not refused.value.passes
    finally:
        settings.write_text(before)


@pytest.mark.parametrize("below", ["", "/deeper"])
def test_a_data_dir_that_is_none_is_named_with_what_it_must_be(below: str, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("by a file")
    wrong = f"{tmp_path}/taken{below}"
    with pytest.raises(OSError, match=f"DATA_DIR is '{wrong}'; it must be a directory that"):
        start_embedded(Path(wrong))


def test_a_data_dir_that_cannot_be_made_is_named() -> None:
    with pytest.raises(OSError, match="DATA_DIR is '/proc/x'; it must be a directory that"):
        start_embedded(Path("/proc/x"))
