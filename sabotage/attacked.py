"""Sabotages of what keeps attackers out: each takes one guard away, and a test of
`tests/security/` must notice.

Its one rule: as in `catalogue.py`.
"""

from __future__ import annotations

from sabotage.change import Sabotage

CONNECTIONS = "tests/security/test_connection_attacks.py"
REQUESTS = "tests/security/test_request_attacks.py"

ATTACKED = (
    Sabotage(
        "cursors-of-lists-for-anybody",
        "a cursor is good for the caller who got it",
        "G14",
        "services/cursors.py",
        "    return [name, caller.user_id, caller.community_id, *filters]\n",
        "    return [name, *filters]\n",
        ("tests/security/test_cursor_attacks.py", "-k", "somebody_else"),
    ),
    Sabotage(
        "bodies-of-two-lengths",
        "a body whose length is in doubt is refused",
        "G11",
        "controllers/http1.py",
        "        if _length_is_in_doubt(event):\n",
        "        if event is None:\n",
        (CONNECTIONS, "-k", "smuggled"),
    ),
    Sabotage(
        "compressed-messages",
        "WebSocket messages come as they are, not as a bomb",
        "G11",
        "controllers/http1.py",
        " if name != _EXTENSIONS],\n",
        " if name],\n",
        (CONNECTIONS, "-k", "bomb"),
    ),
    Sabotage(
        "hints-without-end",
        "a body full of unknown fields costs no more than it tells",
        "G11",
        "controllers/requests.py",
        "            hinted = len(found) < MOST_HINTS\n",
        "            hinted = True\n",
        (REQUESTS, "-k", "unknown_fields"),
    ),
    Sabotage(
        "expressions-without-end",
        "a document has so many expressions and no more",
        "G11",
        "engine/validation.py",
        "        if count > most:\n",
        "        if count > most * 1_000:\n",
        (REQUESTS, "-k", "full_of_expressions"),
    ),
    Sabotage(
        "documents-for-every-stranger",
        "the OpenAPI document is made once",
        "G11",
        "controllers/openapi.py",
        "        if self._written is None:\n",
        "        if self is not None:\n",
        (REQUESTS, "-k", "strangers"),
    ),
    Sabotage(
        "an-egress-guard-without-6to4",
        "an IPv6 address that leads to a private one is not connected to",
        "G14",
        "services/egress.py",
        '        "2002::/16",  # 6to4\n',
        "",
        ("tests/security/test_url_guard_attacks.py",),
    ),
)
"""What `make sabotage` does to the guards."""
