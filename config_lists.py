"""Options that are comma lists: hosts, networks, origins, keys.

Its one rule: an entry that is none is refused with an example of one that is.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

_KEY_BYTES = 32
_STANDARD = str.maketrans("-_", "+/")
_HOST = re.compile(r"(\*?\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9])?")


def destinations(text: str) -> tuple[str, ...]:
    """A comma list of host names (`*.` in front takes in what is below) and networks."""
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    for part in found:
        if not _HOST.fullmatch(part) and not _is_network(part):
            raise ValueError("a comma list of hosts and networks, such as example.org,10.0.0.0/8")
    return found


def origins(text: str) -> tuple[str, ...]:
    """A comma list of web origins (RFC 6454), or `*`."""
    found = tuple(part.strip().rstrip("/") for part in text.split(",") if part.strip())
    for part in found:
        url = urlsplit(part)
        if part != "*" and (url.scheme not in ("http", "https") or part != _origin(url)):
            raise ValueError("a comma list of origins, such as https://app.example.org, or *")
    return found


def _origin(url: SplitResult) -> str:
    return f"{url.scheme}://{url.netloc}" if url.hostname and "@" not in url.netloc else ""


def networks(text: str) -> tuple[str, ...]:
    """A comma list of addresses and networks."""
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    if not all(_is_network(part) for part in found):
        raise ValueError("a comma list of addresses and networks, such as 10.0.0.0/8,192.0.2.7")
    return found


def secret_keys(text: str) -> tuple[bytes, ...]:
    """A comma list of keys of 32 bytes, each in hex or base64. What is wrong is not shown."""
    return tuple(_key(part.strip()) for part in text.split(","))


def _key(text: str) -> bytes:
    try:
        if len(text) == 2 * _KEY_BYTES:
            key = bytes.fromhex(text)
        else:
            key = base64.b64decode(text.translate(_STANDARD), validate=True)
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        raise ValueError(
            "a comma list of keys of 32 bytes in hex or base64, as of: openssl rand -hex 32"
        )
    return key


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True
