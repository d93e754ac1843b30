"""Secrets of webhooks, and the signatures made with them, by the Standard Webhooks specification.

Its one rule: a secret is checked before it is taken, so that signing cannot fail afterwards.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Sequence
from datetime import datetime

from standardwebhooks import Webhook

PREFIX = "whsec_"
SHORTEST, LONGEST = 24, 64
"""Bytes of a secret, as the specification has it."""
_BYTES = 32


def new_secret() -> str:
    """A fresh secret: `whsec_` and 32 random bytes in base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(_BYTES)).decode()


def secret_problem(secret: str) -> str | None:
    """Why this cannot be a webhook's secret; None if it can."""
    wanted = f"must be {PREFIX!r} and {SHORTEST} to {LONGEST} bytes in base64"
    if not secret.startswith(PREFIX):
        return wanted
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX).encode("ascii"), validate=True)
    except (binascii.Error, ValueError):
        return wanted
    return None if SHORTEST <= len(key) <= LONGEST else wanted


def signed_headers(
    secrets: Sequence[str], delivery_id: str, moment: datetime, payload: str
) -> dict[str, str]:
    """The headers that a receiver verifies; one signature for each secret that is valid now."""
    signatures = [Webhook(each).sign(delivery_id, moment, payload) for each in secrets]
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
