"""The process: it starts, says what is wrong when it cannot, and leaves quietly."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator

import pytest

from app import create_app
from composition import running
from config import Config
from models.dal import AsyncDAL
from tests.models.aged import aged, left
from tests.processes import ROOT, free_port
from tests.waiting import PATIENCE_SECONDS, until


def start(**environ: str) -> subprocess.Popen[str]:
    clean = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    return subprocess.Popen(
        [sys.executable, "-m", "app"],
        cwd=ROOT,
        env=clean | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def handshake(port: int) -> str:
    """What a WebSocket handshake is answered."""
    lines = (
        "GET /api/v1/workflows HTTP/1.1",
        "Host: localhost",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as connection:
        connection.sendall("\r\n".join((*lines, "", "")).encode())
        return connection.recv(4096).decode()


@pytest.fixture
def process(worker_database_url: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    port = free_port()
    process = start(DATABASE_URL=worker_database_url, PORT=str(port), SHUTDOWN_GRACE_SECONDS="2")
    # So that a silent service ends the test.
    watchdog = threading.Timer(PATIENCE_SECONDS, process.kill)
    watchdog.start()
    yield process, port
    watchdog.cancel()
    process.kill()
    process.communicate()


def test_it_serves_until_it_is_told_to_stop(
    process: tuple[subprocess.Popen[str], int],
) -> None:
    running, port = process
    assert running.stdout is not None
    assert any("action=serve" in line for line in running.stdout)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz") as answer:
        assert answer.status == 200
        assert "server" not in {name.lower() for name in answer.headers}
    assert handshake(port).startswith("HTTP/1.1 404")
    running.send_signal(signal.SIGTERM)
    output, _ = running.communicate(timeout=PATIENCE_SECONDS)
    assert running.returncode == 0, output
    assert "action=stop result=SUCCESS" in output


async def test_any_asgi_server_may_serve_it(database_url: str) -> None:
    app = create_app(Config(database_url=database_url, shutdown_grace_seconds=1))
    async with app.test_app() as serving:
        answer = await serving.test_client().get("/healthz")
        assert answer.status_code == 200


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"PORT": "seventy"}, "PORT"),
        ({"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}, "did not start"),
        ({"DATA_DIR": "/dev/null"}, "DATA_DIR is '/dev/null'; it must be a directory"),
    ],
)
def test_what_keeps_it_from_starting_is_said_without_a_traceback(
    environ: dict[str, str], said: str
) -> None:
    process = start(**{"PORT": str(free_port()), **environ})
    output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode in (1, 2)
    assert said in output
    assert "Traceback" not in output


def test_a_port_that_is_taken_is_said_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = start(PORT=str(taken.getsockname()[1]), DATA_DIR="/nonexistent/never-made")
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1
    assert "Cannot listen" in output


async def test_a_service_drops_the_history_that_it_was_told_to(
    dal: AsyncDAL, database_url: str
) -> None:
    await aged(dal, ended=25)
    [young] = await aged(dal, ended=23)
    stream = io.StringIO()

    async def gone() -> bool:
        return len(await left(dal)) == 1

    async with running(Config(database_url=database_url, retention_days=1), stream):
        await until(gone)
    assert await left(dal) == {young}
    assert "SYSTEM community=- user=- action=drop_history result=SUCCESS" in stream.getvalue()
