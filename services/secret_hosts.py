"""Where a secret may be sent: host names, `*.example.com` for every name below it, addresses.

Its one rule: what is judged is the host as the HTTP client reads it, in the form in which it is
looked up, so no other spelling of an address passes for an allowed one. A secret travels by https;
`http://host` in the list says that to this host it may also go in clear text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address

from yarl import URL

MOST_HOSTS = 20
LONGEST_HOST = 253
_CLEAR = "http://"
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)\Z")
_WANTED = "must be a host such as api.example.com or *.example.com, without a path or port"


def canonical(entry: str) -> str:
    """An entry of a list of hosts as it is kept. Raises `ValueError`."""
    clear = entry.startswith(_CLEAR)
    host = entry.removeprefix(_CLEAR)
    below = host.startswith("*.")
    name = _plain(host.removeprefix("*."))
    if below and (_is_address(name) or "." not in name):
        raise ValueError("must name at least two labels after *., such as *.example.com")
    return (_CLEAR if clear else "") + ("*." if below else "") + name


def may_go(url: str, allowed: Iterable[str]) -> bool:
    """Whether a secret with these hosts may be sent to `url`. Raises `ValueError` if it is
    none."""
    target = URL(url)
    host = (target.raw_host or "").rstrip(".").lower()
    secure = target.scheme == "https" or _is_loopback(host)
    return any(
        _matches(host, entry.removeprefix(_CLEAR))
        for entry in allowed
        if secure or entry.startswith(_CLEAR)
    )


def host_of(url: str) -> str:
    """The host of a URL, to tell an author."""
    return URL(url).host or ""


def _matches(host: str, entry: str) -> bool:
    if entry.startswith("*."):
        return host.endswith(entry[1:]) and not _is_address(host)
    return host == entry


def _plain(host: str) -> str:
    """A host name in lower case and ASCII, or an address in its short form."""
    if not 0 < len(host) <= LONGEST_HOST:
        raise ValueError(_WANTED)
    try:
        return str(ip_address(host.strip("[]")))
    except ValueError:
        pass
    try:
        name = (URL.build(scheme="https", host=host).raw_host or "").rstrip(".").lower()
    except ValueError:
        raise ValueError(_WANTED) from None
    labels = name.split(".")
    # What ends in a number is an address to whoever looks it up, in a form that is not judged here.
    is_number = labels[-1].isdecimal() or labels[-1].startswith("0x")
    if is_number or not all(_LABEL.match(label) for label in labels):
        raise ValueError(_WANTED)
    return name


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    """Whether what is sent there does not leave the machine."""
    return host == "localhost" or (_is_address(host) and ip_address(host).is_loopback)
