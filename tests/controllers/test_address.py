"""Where a request comes from: headers count as far as trusted proxies wrote them."""

from __future__ import annotations

import pytest

from controllers.address import Addresses

PROXIES = ["10.0.0.0/8", "2001:db8::/32"]


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("198.51.100.1", ["192.0.2.9"], "198.51.100.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.9"], "192.0.2.9"),
        ("10.0.0.1", ["203.0.113.5, 192.0.2.9"], "192.0.2.9"),
        ("10.0.0.1", ["203.0.113.5", "192.0.2.9, 10.1.1.1"], "192.0.2.9"),
        ("10.0.0.1", ["10.3.3.3, 10.2.2.2"], "10.3.3.3"),
        ("10.0.0.1", ["192.0.2.9, unknown"], "10.0.0.1"),
        ("::ffff:10.0.0.1", ["192.0.2.9"], "192.0.2.9"),
        ("2001:db8::1", ["2001:db9::7"], "2001:db9::7"),
        ("-", ["192.0.2.9"], "-"),
    ],
)
def test_the_chain_is_read_from_its_end(peer: str, forwarded: list[str], address: str) -> None:
    assert Addresses(PROXIES).behind(peer, forwarded) == address


def test_without_trusted_proxies_no_header_counts() -> None:
    assert Addresses().behind("10.0.0.1", ["192.0.2.9"]) == "10.0.0.1"
