"""Requests with secrets: when they leave, and what is told of those that do not."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from engine.errors import LeaseLost, StepFailure, StoreUnavailable
from engine.ports import HttpResponse, SecretUse
from engine.sealed import Place
from models.community_secrets import CommunitySecrets, SealedSecret
from models.dal import AsyncDAL
from services.key_ring import KEY_BYTES, KeyRing
from services.secret_client import VaultClient
from services.vault import Vault

VALUE = "tok-4c1f0a9b7d2e"
URL = "https://api.example.com/"
PLACE = Place("token", ("headers", "X"), 0)


@dataclass
class Wire:
    """What sends requests: it raises or answers, and remembers."""

    gives: HttpResponse | Exception = field(default_factory=lambda: HttpResponse(200, {}, "ok"))
    sent: list[dict[str, Any]] = field(default_factory=list)

    async def request(self, method: str, url: str, **parts: Any) -> HttpResponse:
        self.sent.append(parts)
        if isinstance(self.gives, Exception):
            raise self.gives
        return self.gives


@pytest.fixture
async def vault(dal: AsyncDAL) -> Vault:
    secrets = CommunitySecrets(dal)
    vault = Vault(secrets, KeyRing([b"k" * KEY_BYTES]))
    await secrets.set(vault.sealed(1, "token", ("api.example.com",), VALUE), 1, most=10)
    return vault


async def send(vault: Vault, wire: Wire, *, may_act: bool = True) -> HttpResponse:
    use = SecretUse(1, (PLACE,), lambda: may_act)
    return await VaultClient(wire, vault, use).request(
        "POST",
        URL,
        headers={"X": "{{secrets.token}}"},
        params=None,
        body={"n": 1},
        timeout_seconds=5,
    )


async def test_the_secret_is_in_what_leaves_and_not_in_what_comes_back(vault: Vault) -> None:
    wire = Wire(HttpResponse(200, {"x": VALUE}, [VALUE]))

    assert await send(vault, wire) == HttpResponse(200, {"x": "***"}, ["***"])
    assert wire.sent == [
        {"headers": {"X": VALUE}, "params": None, "body": {"n": 1}, "timeout_seconds": 5}
    ]


async def test_g05_a_worker_whose_lease_ran_out_meanwhile_sends_nothing(vault: Vault) -> None:
    wire = Wire()

    with pytest.raises(LeaseLost):
        await send(vault, wire, may_act=False)
    assert wire.sent == []


async def test_a_failure_is_told_without_the_secret(vault: Vault) -> None:
    wire = Wire(StepFailure("BAD_REQUEST", f"cannot send {VALUE}", retryable=True))

    with pytest.raises(StepFailure) as failed:
        await send(vault, wire)
    assert (failed.value.message, failed.value.retryable) == ("cannot send ***", True)
    assert VALUE not in repr(failed.value.__cause__)


async def test_of_a_bug_only_its_kind_is_told(vault: Vault) -> None:
    wire = Wire(TypeError(f"headers: {VALUE}"))

    with pytest.raises(StepFailure) as failed:
        await send(vault, wire)
    assert failed.value.error_type == "BAD_REQUEST"
    assert failed.value.message == "the request cannot be sent (TypeError)"
    assert failed.value.__cause__ is None


async def test_a_database_that_does_not_answer_is_asked_again(
    vault: Vault, dal: AsyncDAL, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = CommunitySecrets.fetch
    asked = 0

    async def troubled(self: CommunitySecrets, *args: Any) -> list[SealedSecret]:
        nonlocal asked
        asked += 1
        if asked < 3:
            raise StoreUnavailable
        return await fetch(self, *args)

    monkeypatch.setattr(CommunitySecrets, "fetch", troubled)
    wire = Wire()
    async with asyncio.timeout(20):
        assert (await send(vault, wire)).status == 200
    assert (asked, len(wire.sent)) == (3, 1)
