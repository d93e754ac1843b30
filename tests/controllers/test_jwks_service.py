"""A service whose tokens are signed by somebody else: `JWKS_URL` from the configuration to 200."""

from __future__ import annotations

import io
import json
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from app import create_app
from composition import running
from config import Config
from models.api_keys import ApiKeys
from models.dal import AsyncDAL
from services.api_keys import ApiKeyService
from services.clock import SystemClock, new_id
from tests.controllers.conftest import SECRET_KEY, Api
from tests.services.jwks_endpoint import endpoint

CLAIMS = {"sub": "7", "exp": 4_102_444_800}


async def test_a_service_with_a_jwks_takes_its_tokens_and_no_others(
    database_url: str, tmp_path: Path, dal: AsyncDAL
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    document = {"keys": [{**json.loads(ECAlgorithm.to_jwk(key.public_key())), "kid": "one"}]}
    good = jwt.encode(CLAIMS, key, algorithm="ES256", headers={"kid": "one"})
    old = jwt.encode(CLAIMS, SECRET_KEY, algorithm="HS256")
    log = io.StringIO()
    async with endpoint(document) as served:
        config = Config(
            database_url=database_url,
            data_dir=tmp_path,
            secret_key=SECRET_KEY,
            jwks_url=served.url,
            shutdown_grace_seconds=1,
        )
        async with running(config, log) as service:
            keys = ApiKeyService(ApiKeys(dal), now=SystemClock().now, new_id=new_id)
            api = Api(create_app(config, service=service), keys, log)
            for token, status in ((good, 200), (old, 401)):
                answer = await api.call(
                    "GET", "/status", headers={"Authorization": f"Bearer {token}"}
                )
                assert answer.status == status
    assert good not in log.getvalue()
    assert old not in log.getvalue()


async def test_without_the_keys_tokens_are_503_and_api_keys_work(
    database_url: str, tmp_path: Path, dal: AsyncDAL
) -> None:
    config = Config(
        database_url=database_url,
        data_dir=tmp_path,
        jwks_url="http://127.0.0.1:1/jwks.json",
        shutdown_grace_seconds=1,
    )
    key = ec.generate_private_key(ec.SECP256R1())
    token = jwt.encode(CLAIMS, key, algorithm="ES256", headers={"kid": "one"})
    log = io.StringIO()
    async with running(config, log) as service:
        keys = ApiKeyService(ApiKeys(dal), now=SystemClock().now, new_id=new_id)
        api = Api(create_app(config, service=service), keys, log)
        answer = await api.call("GET", "/status", headers={"Authorization": f"Bearer {token}"})
        assert (answer.status, answer.code) == (503, "OVERLOADED")
        assert answer.headers["retry-after"] == "1"
        assert (await api.call("GET", "/status", key=await api.new_key())).status == 200
