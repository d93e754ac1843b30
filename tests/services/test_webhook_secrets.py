"""Secrets, and signatures that the specification's own library verifies."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from services.webhook_secrets import new_secret, secret_problem, signed_headers

PAYLOAD = '{"type":"execution.completed","data":{"name":"Grüße ☃"}}'


def test_a_fresh_secret_is_a_valid_one_and_never_the_same() -> None:
    made = {new_secret() for _ in range(100)}

    assert len(made) == 100
    assert {secret_problem(secret) for secret in made} == {None}


@pytest.mark.parametrize("length", [24, 32, 64])
def test_a_secret_of_the_specifications_lengths_is_taken(length: int) -> None:
    assert secret_problem("whsec_" + base64.b64encode(b"k" * length).decode()) is None


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "hunter2",
        "whsec_not base64!",
        "whsec_é",
        base64.b64encode(b"k" * 32).decode(),
        "whsec_" + base64.b64encode(b"k" * 23).decode(),
        "whsec_" + base64.b64encode(b"k" * 65).decode(),
    ],
)
def test_another_secret_is_refused_with_what_would_be_right(secret: str) -> None:
    assert "24 to 64 bytes in base64" in (secret_problem(secret) or "")


def test_g10_every_secret_that_is_valid_verifies_and_no_other() -> None:
    new, old, foreign = new_secret(), new_secret(), new_secret()
    headers = signed_headers([new, old], "a-delivery", datetime.now(UTC), PAYLOAD)

    assert len(headers["webhook-signature"].split(" ")) == 2
    for secret in (new, old):
        assert Webhook(secret).verify(PAYLOAD, headers)["type"] == "execution.completed"
    with pytest.raises(WebhookVerificationError):
        Webhook(foreign).verify(PAYLOAD, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(new).verify(PAYLOAD + " ", headers)
