"""Rates over HTTP: 429 in the envelope, and headers that tell where one stands."""

from __future__ import annotations

import io
from pathlib import Path

from app import create_app
from composition import running
from config import Config
from models.api_keys import ApiKeys
from models.dal import AsyncDAL
from services.api_keys import ApiKeyService
from services.clock import SystemClock, new_id
from tests.controllers.conftest import Api


async def test_a_key_beyond_its_limit_is_429_and_another_is_not(
    database_url: str, tmp_path: Path, dal: AsyncDAL
) -> None:
    config = Config(
        database_url=database_url,
        data_dir=tmp_path,
        shutdown_grace_seconds=1,
        rate_limit_per_key=3,
    )
    log = io.StringIO()
    async with running(config, log) as service:
        keys = ApiKeyService(ApiKeys(dal), now=SystemClock().now, new_id=new_id)
        api = Api(create_app(config, service=service), keys, log)
        api.key, other = await api.new_key(), await api.new_key()
        answers = [await api.call("GET", "/status") for _ in range(4)]
        assert [answer.status for answer in answers] == [200, 200, 200, 429]
        assert [answer.headers["ratelimit-remaining"] for answer in answers] == ["2", "1", "0", "0"]
        assert {answer.headers["ratelimit-limit"] for answer in answers} == {"3"}
        assert answers[-1].code == "RATE_LIMIT_EXCEEDED"
        assert int(answers[-1].headers["retry-after"]) >= 1
        assert (await api.call("GET", "/status", key=other)).status == 200
        assert (await api.call("GET", "//health")).status == 200


async def test_every_answer_to_a_known_caller_tells_where_it_stands(api: Api) -> None:
    for path in ("/status", "/workflows?nonsense=1", "/workflows/x"):
        headers = (await api.call("GET", path)).headers
        assert int(headers["ratelimit-limit"]) > int(headers["ratelimit-remaining"]) >= 0
        assert int(headers["ratelimit-reset"]) >= 0
    assert "ratelimit-limit" not in (await api.call("GET", "//health")).headers


async def test_rates_that_are_off_limit_nobody_and_say_nothing(
    database_url: str, tmp_path: Path, dal: AsyncDAL
) -> None:
    config = Config(
        database_url=database_url,
        data_dir=tmp_path,
        shutdown_grace_seconds=1,
        rate_limit="off",
        rate_limit_per_key=1,
        rate_limit_per_user=1,
        rate_limit_per_community=1,
    )
    log = io.StringIO()
    async with running(config, log) as service:
        keys = ApiKeyService(ApiKeys(dal), now=SystemClock().now, new_id=new_id)
        api = Api(create_app(config, service=service), keys, log)
        api.key = await api.new_key()
        answers = [await api.call("GET", "/status") for _ in range(5)]
    assert [answer.status for answer in answers] == [200] * 5
    assert "ratelimit-limit" not in answers[0].headers
