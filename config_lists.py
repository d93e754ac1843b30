"""Options that are comma lists: hosts, networks, origins, keys.

Its one rule: an entry that is none is refused with an example of one that is.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from urllib.parse import urlsplit

from config_urls import leads_somewhere

_KEY_BYTES = 32
_STANDARD = str.maketrans("-_", "+/")
_HOST = re.compile(r"(\*?\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9])?")


def destinations(text: str) -> tuple[str, ...]:
    """A comma list of host names (`*.` in front takes in what is below) and networks."""
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    for part in found:
        if not _is_host(part) and not _is_network(part):
            raise ValueError("a comma list of hosts and networks, such as example.org,10.0.0.0/8")
    return found


def _is_host(text: str) -> bool:
    """Whether it is a name: one that ends in a number is a mistaken address (WHATWG URL)."""
    return _HOST.fullmatch(text) is not None and not text.rpartition(".")[2].isdigit()


def origins(text: str) -> tuple[str, ...]:
    """A comma list of web origins (RFC 6454), or `*`."""
    found = tuple(part.strip().rstrip("/") for part in text.split(",") if part.strip())
    if not all(part == "*" or _is_origin(part) for part in found):
        raise ValueError("a comma list of origins, such as https://app.example.org, or *")
    return found


def _is_origin(text: str) -> bool:
    try:
        url = urlsplit(text)
    except ValueError:  # of brackets
        return False
    bare = text == f"{url.scheme}://{url.netloc}" and "@" not in url.netloc
    return bare and url.scheme in ("http", "https") and leads_somewhere(text, url)


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
