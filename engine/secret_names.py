"""How a workflow names a secret of its community: `secrets.name`, and nothing else.

Its one rule: a secret stands alone in its braces. An expression that could look into one could
also pass it on, piece by piece, to where it may not go.
"""

from __future__ import annotations

import keyword
import re

SECRETS = "secrets"
"""The reserved name. It exists only while a field that takes secrets is rendered."""

LONGEST_NAME = 64
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")


def is_secret_name(name: str) -> bool:
    """Whether a secret may be called so, and an expression can read it."""
    return (
        len(name) <= LONGEST_NAME and _NAME.match(name) is not None and not keyword.iskeyword(name)
    )


def is_secret(path: tuple[str, ...]) -> bool:
    """Whether a path is that of a secret."""
    return len(path) == 2 and path[0] == SECRETS and is_secret_name(path[1])
