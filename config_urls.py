"""Options that are URLs.

Its one rule: a URL that could not work is refused with an example of one that could. One that may
hold a password is never shown.
"""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

_HIGHEST_PORT = 65_535

_REDIS = "a URL such as redis://user:password@host:6379/0, or rediss:// for TLS"


def database_url(text: str) -> str:
    """The URL of a PostgreSQL."""
    wanted = "a URL such as postgresql://user:password@host:5432/name"
    url = _split(text, wanted)
    if url.scheme not in ("postgres", "postgresql"):
        raise ValueError(wanted)
    for host in url.netloc.rpartition("@")[2].split(","):  # libpq takes several
        port = re.fullmatch(r"(?:\[.*\]|[^:]*)(?::([0-9]*))?", host)
        if port is None or int(port[1] or 5432) not in range(1, _HIGHEST_PORT + 1):
            raise ValueError(f"{wanted}, with a port from 1 to {_HIGHEST_PORT} or none")
    return text


def service_url(text: str) -> str:
    """The URL of a service such as WaddleBot's router, without a slash at its end."""
    return _http(text, "a URL such as https://router.example.org")


def key_set_url(text: str) -> str:
    """The URL of a set of keys (RFC 7517), without a slash at its end."""
    return _http(text, "a URL such as https://login.example.org/.well-known/jwks.json")


def _http(text: str, wanted: str) -> str:
    url = _split(text, wanted)
    if url.scheme not in ("http", "https") or not leads_somewhere(text, url):
        raise ValueError(wanted)
    return text.rstrip("/")


def leads_somewhere(text: str, url: SplitResult) -> bool:
    """Whether a text, split into `url`, has a host, a port that there can be, and nothing that no
    URL has: `urlsplit` passes over some of that."""
    try:
        there = bool(url.hostname) and url.port != 0
    except ValueError:  # of a port that is none
        return False
    return there and re.search(r"[\s\x00-\x1f]", text) is None


def redis_url(text: str) -> str:
    """The URL of a Redis or Valkey server: a host and, if not 0, the number of a database."""
    url = _split(text, _REDIS)
    right = url.scheme in ("redis", "rediss") and leads_somewhere(text, url)
    if not right or not re.fullmatch(r"/?|/[0-9]{1,5}", url.path):
        raise ValueError(_REDIS)
    if url.query or url.fragment:
        raise ValueError(f"{_REDIS}, with nothing behind the number of the database")
    return text


def _split(text: str, wanted: str) -> SplitResult:
    try:
        return urlsplit(text)
    except ValueError:  # of brackets
        raise ValueError(wanted) from None
