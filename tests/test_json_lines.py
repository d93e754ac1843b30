"""With LOG_FORMAT=json stdout is lines of JSON, whoever writes them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import aiohttp

from tests.processes import HOST, ROOT, ends, free_port, published, ready

CHAT = {"node_type": "action_chat_message", "config": {"message": "one\ntwo"}}


async def test_every_line_of_stdout_is_an_object_and_the_welcome_is_on_stderr(
    tmp_path: Path,
) -> None:
    url, out, err = f"http://{HOST}:{(port := free_port())}", tmp_path / "out", tmp_path / "err"
    environ = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    environ |= {"DATA_DIR": str(tmp_path / "data"), "PORT": str(port), "LOG_FORMAT": "json"}
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "app"),
            cwd=ROOT,
            env={**environ, "OTEL_TRACES_EXPORTER": "console"},
            stdout=stdout,
            stderr=stderr,
        )
    try:
        async with aiohttp.ClientSession() as http:
            await ready(http, url)
        key = (tmp_path / "data" / "api-key").read_text().strip()
        async with aiohttp.ClientSession(headers={"X-API-Key": key}) as http:
            workflow_id = await published(http, url, CHAT)
            path = f"{url}/api/v1/workflows/{workflow_id}/execute"
            async with http.post(path, json={"community_id": 1}) as answer:
                execution_id = (await answer.json())["data"]["execution_id"]
            assert (await ends(http, url, execution_id))["status"] == "completed"
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert all(isinstance(line, dict) for line in lines)
    printed = [line for line in lines if "console" in line]
    assert [line["console"].partition(": ")[2] for line in printed] == ["one\ntwo"]
    assert printed[0]["idempotency_key"].startswith(execution_id)
    assert any(line.get("action") == "serve" for line in lines)
    assert any("trace_id" in line.get("context", {}) for line in lines)
    assert f"It is shown this once: {key}" in err.read_text()
