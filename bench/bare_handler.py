"""The floor of W1's HTTP half: hypercorn, Quart, parse a body, answer the JSON of a 202."""

from __future__ import annotations

import asyncio
import sys

import orjson
from hypercorn.asyncio import serve
from hypercorn.config import Config
from quart import Quart, Response, request

ANSWER = {
    "success": True,
    "message": "Workflow execution started",
    "data": {
        "execution_id": "0190d000-0000-7000-8000-000000000001",
        "workflow_id": "0190a000-0000-7000-8000-000000000001",
        "status": "running",
        "start_time": "2026-01-01T12:00:00.000Z",
        "execution_path": [],
    },
    "meta": {},
}


def create_app() -> Quart:
    app = Quart(__name__)

    @app.post("/execute")
    async def execute() -> Response:
        orjson.loads(await request.get_data())
        return Response(orjson.dumps(ANSWER), status=202, mimetype="application/json")

    return app


if __name__ == "__main__":
    config = Config()
    config.bind = [f"127.0.0.1:{sys.argv[1]}"]
    asyncio.run(serve(create_app(), config))
