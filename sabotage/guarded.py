"""Sabotages of who may come in, and of what stays secret.

Its one rule: as in `catalogue.py`.
"""

from __future__ import annotations

from sabotage.change import Sabotage

SECRETS = "tests/security/test_secrets.py"
CLIENT = "tests/services/test_secret_client.py"
EGRESS = "tests/security/test_egress_attacks.py"
AUTH = "tests/controllers/test_auth.py"

GUARDED = (
    Sabotage(
        "secrets-to-any-host",
        "a secret goes to the hosts it is bound to and to no other",
        "G14",
        "services/vault.py",
        "        if not allowed:\n",
        "        if not url:\n",
        (SECRETS, "-k", "host_that_is_not_allowed"),
    ),
    Sabotage(
        "secrets-of-any-row",
        "a secret's row that is moved, renamed or given more hosts opens no more",
        "G14",
        "services/vault.py",
        '    return ["community_secrets", community_id, name, list(allowed_hosts)]\n',
        '    return ["community_secrets"]\n',
        (SECRETS, "-k", "row_that_was_changed"),
    ),
    Sabotage(
        "secrets-that-come-back",
        "a secret that a peer repeats is recorded nowhere",
        "G14",
        "services/secret_client.py",
        "        return redaction.response(answer)\n",
        "        return answer\n",
        (SECRETS, "-k", "echo"),
    ),
    Sabotage(
        "secrets-in-errors",
        "an error of a request that carried a secret does not tell it",
        "G14",
        "services/secret_client.py",
        "            raise redaction.failure(failure) from None\n",
        "            raise failure from None\n",
        (CLIENT,),
    ),
    Sabotage(
        "secrets-as-they-are-alone",
        "a secret is known again however a peer has encoded it",
        "G14",
        "services/redaction.py",
        "        forms = {form for secret in secrets for form in _forms(secret)}\n",
        "        forms = set(secrets)\n",
        ("tests/services/test_redaction.py",),
    ),
    Sabotage(
        "secrets-of-a-zombie",
        "a worker whose lease ran out while a secret was fetched sends nothing",
        "G5",
        "services/secret_client.py",
        "        if not use.may_act():",
        "        if not use.places:",
        (CLIENT, "-k", "g05"),
    ),
    Sabotage(
        "redirects-followed",
        "a redirect is not followed",
        "G14",
        "services/http_client.py",
        "                data=data,\n                allow_redirects=False,\n",
        "                data=data,\n                allow_redirects=True,\n",
        (EGRESS, "-k", "redirect"),
    ),
    Sabotage(
        "connections-unjudged",
        "the address of every connection is judged, whatever its name resolved to before",
        "G14",
        "services/http_client.py",
        "            socket_factory=guard,\n",
        "            socket_factory=None,\n",
        (EGRESS, "-k", "name_that"),
    ),
    Sabotage(
        "scopes-for-show",
        "an operation takes the scope it names",
        "G14",
        "controllers/auth.py",
        "            if scope != ANY_SCOPE and not caller.may(scope):\n",
        "            if scope != ANY_SCOPE and not caller.scopes:\n",
        ("tests/controllers/test_gate.py", "-k", "opens_for_its_scope"),
    ),
    Sabotage(
        "tokens-for-ever",
        "a token that does not say when it ends is none",
        "G14",
        "services/tokens.py",
        '                "require": ["exp"],\n',
        '                "require": [],\n',
        (AUTH, "-k", "forged"),
    ),
    Sabotage(
        "keys-for-ever",
        "a key that has expired opens nothing",
        "G14",
        "services/api_keys.py",
        "key.expires_at is not None and key.expires_at <= self._now():\n            return None\n",
        "key.expires_at is not None and key.expires_at <= key.created_at:\n"
        "            return None\n",
        ("tests/services/test_api_keys.py",),
    ),
    Sabotage(
        "keys-beyond-their-maker",
        "an admin of one community makes no key of another",
        "G14",
        "services/key_admin.py",
        "        if not _reaches(caller, new.community_id):\n",
        "        if new.name is None:\n",
        ("tests/security/test_credential_attacks.py", "-k", "no_key_makes"),
    ),
    Sabotage(
        "admins-in-a-users-name",
        "a service that acts for a user leaves its own rights behind",
        "G14",
        "controllers/auth.py",
        "    scopes = EVERYDAY_SCOPES if caller.is_admin else caller.scopes\n",
        "    scopes = caller.scopes\n",
        ("tests/controllers/test_api_key_api.py", "-k", "acts_for_a_user"),
    ),
    Sabotage(
        "sockets-from-any-page",
        "a page of another origin opens no WebSocket",
        "G14",
        "controllers/sockets.py",
        '    return host != "" and urlsplit(origin).netloc.lower() == host\n',
        '    return host != "" or urlsplit(origin).netloc.lower() == host\n',
        ("tests/controllers/test_live_streams.py", "-k", "handshake"),
    ),
    Sabotage(
        "guesses-without-end",
        "whoever guesses credentials is soon not heard any more",
        "G11",
        "services/attempts.py",
        "        self._failures.spend(source)\n",
        "        self._failures.owed(source)\n",
        ("tests/controllers/test_failed_attempts.py", "-k", "guessing"),
    ),
    Sabotage(
        "rates-for-show",
        "a request beyond its limit is refused",
        "G11",
        "controllers/gate.py",
        "    if current.standing is not None and current.standing.retry_after is not None:\n",
        "    if current.standing is not None and current.standing.retry_after == 0:\n",
        ("tests/controllers/test_rates.py",),
    ),
    Sabotage(
        "lines-within-lines",
        "no input can forge a line of the log, nor a field",
        "G16",
        "services/aaa_log.py",
        "        return value if _BARE.match(value) else _quoted(value)\n",
        "        return value if value else _quoted(value)\n",
        ("tests/services/test_aaa_log.py",),
    ),
    Sabotage(
        "keys-in-the-log",
        "no key is written into the log, wherever it stands",
        "G16",
        "services/aaa_log.py",
        '        text = _KEY.sub("wa-" + MASK, text)\n',
        "        text = text.strip()\n",
        ("tests/services/test_aaa_log.py",),
    ),
)
"""What `make sabotage` does to credentials, secrets and the ways out."""
