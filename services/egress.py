"""Where workflows may connect to: the guard between authors' URLs and the operator's network.

The rule it keeps: the address that counts is the one being connected to, not the one that a name
resolved to a moment ago. So `socket_factory` judges every connect, and a name that changes its
mind, a literal in octal or an IPv4 address dressed as IPv6 gains nothing. The list of networks is
our own (after the IANA special-purpose registries, RFC 6890): `ipaddress.is_global` accepts NAT64
and 6to4 addresses, which lead to private ones.
"""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
AddressInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, Any]

SPECIAL_NETWORKS: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local, the cloud's metadata services
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
        # IPv6: only 2000::/3 is global unicast, so everything beside it is special: unspecified,
        # loopback, IPv4-mapped and -compatible, NAT64 (64:ff9b::/96), discard (100::/64),
        # unique local, link-local, site-local, multicast.
        "::/3",
        "4000::/2",
        "8000::/1",
        "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
)

_NAT64 = (ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"))
_HOST = re.compile(r"(?:\*?\.)?[a-z0-9_](?:[a-z0-9_-]|\.(?=[a-z0-9_]))*\Z")


class EgressBlocked(OSError):
    """Connections to this address are not allowed."""

    def __init__(self) -> None:
        super().__init__((self.__doc__ or "").strip())


class Egress:
    """What may be connected to, read once from the operator's two lists.

    Entries are addresses, networks in CIDR form, or host names (`*.example.com` for every name
    below it). By default all public addresses are allowed and all special ones are not. An entry
    in `allow` admits a special address or a name whatever it resolves to; an entry in `deny`
    refuses, and wins. Raises `ValueError` for an entry that is neither.
    """

    def __init__(self, allow: tuple[str, ...] = (), deny: tuple[str, ...] = ()) -> None:
        self._allowed_hosts, self._allowed_networks = _read(allow)
        self._denied_hosts, self._denied_networks = _read(deny)

    def names_denied(self, host: str) -> bool:
        """Whether the name itself is refused."""
        return _matches(_plain(host), self._denied_hosts)

    def names_allowed(self, host: str) -> bool:
        """Whether the name itself is admitted, so that special addresses may answer for it."""
        return _matches(_plain(host), self._allowed_hosts)

    def admits(self, address: str, *, trusted: bool = False) -> bool:
        """Whether a connection to this address is allowed; `trusted` if its name is."""
        try:
            parsed = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if any(_contains(self._denied_networks, face) for face in _faces(parsed)):
            return False
        if trusted or _contains(self._allowed_networks, parsed):
            return True
        return not _contains(SPECIAL_NETWORKS, parsed)

    def socket_factory(self, info: AddressInfo, *, trusted: bool = False) -> socket.socket:
        """The socket for one connect. Raises `EgressBlocked`."""
        family, kind, protocol, _, address = info
        if not self.admits(str(address[0]), trusted=trusted):
            raise EgressBlocked
        return socket.socket(family, kind, protocol)


def _read(entries: tuple[str, ...]) -> tuple[frozenset[str], tuple[Network, ...]]:
    hosts: set[str] = set()
    networks: list[Network] = []
    for entry in entries:
        name = _plain(entry.strip())
        network = _network(name)
        if network is not None:
            networks.append(network)
        elif _HOST.match(name) and not name.rpartition(".")[2].isdecimal():
            hosts.add(name.removeprefix("*"))
        else:
            raise ValueError(f"{entry!r} is not a host name, an address or a network")
    return frozenset(hosts), tuple(networks)


def _network(text: str) -> Network | None:
    try:
        return ip_network(text.strip("[]"), strict=False)
    except ValueError:
        return None


def _plain(host: str) -> str:
    return host.lower().rstrip(".")


def _matches(host: str, patterns: frozenset[str]) -> bool:
    """Whether the host is named, or lies below a pattern that begins with a dot."""
    if host in patterns:
        return True
    labels = host.split(".")
    return any("." + ".".join(labels[i:]) in patterns for i in range(1, len(labels)))


def _contains(networks: tuple[Network, ...], address: Address) -> bool:
    return any(address in network for network in networks)


def _faces(address: Address) -> list[Address]:
    """The address and every IPv4 address it leads to, for denials."""
    if isinstance(address, IPv4Address):
        return [address]
    faces: list[Address] = [address]
    if address.ipv4_mapped is not None:
        faces.append(address.ipv4_mapped)
    if address.sixtofour is not None:
        faces.append(address.sixtofour)
    if address.teredo is not None:
        faces.extend(address.teredo)
    if int(address) < 2**32 or _contains(_NAT64, address):
        faces.append(IPv4Address(int(address) & 0xFFFF_FFFF))
    return faces
