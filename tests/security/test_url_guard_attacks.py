"""Addresses that lead into the operator's network, found by machine: for every private address and
every dress that it can wear, the guard says no. The corpus of names, redirects and resolvers that
change their minds, against a sink that must stay untouched, is in `test_egress_attacks.py`."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.egress import Egress, EgressBlocked
from services.webhook_service import url_problem

GUARD = Egress()
PRIVATE = tuple(
    ip_network(each)
    for each in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
        "172.16.0.0/12", "192.168.0.0/16", "224.0.0.0/4", "240.0.0.0/4",
    )
)  # fmt: skip

private_v4 = st.sampled_from(PRIVATE).flatmap(
    lambda network: st.integers(0, network.num_addresses - 1).map(
        lambda n: IPv4Address(int(network.network_address) + n)
    )
)
any_v6 = st.integers(0, 2**128 - 1).map(IPv6Address)


def dresses(address: IPv4Address) -> list[IPv6Address]:
    """The IPv6 addresses that lead to it somewhere."""
    number = int(address)
    return [
        IPv6Address(number),  # compatible
        IPv6Address(0xFFFF << 32 | number),  # mapped
        IPv6Address(0xFFFF << 48 | number),  # translated
        IPv6Address(0x64FF9B << 96 | number),  # NAT64
        IPv6Address(0x64FF9B0001 << 80 | number),  # local NAT64
        IPv6Address(0x2002 << 112 | number << 80),  # 6to4
        IPv6Address(0x20010000 << 96 | (number ^ 0xFFFF_FFFF)),  # Teredo
        IPv6Address(0xFE80 << 112 | 0x5EFE << 32 | number),  # ISATAP, link-local
    ]


@given(private_v4)
def test_no_private_address_is_connected_to_in_any_dress(address: IPv4Address) -> None:
    for dress in (address, *dresses(address)):
        assert not GUARD.admits(str(dress))
        with pytest.raises(EgressBlocked) as refused:
            GUARD.socket_factory((2, 1, 6, "", (str(dress), 80)))
        assert str(address) not in str(refused.value)


@given(private_v4, st.integers(0, 65_535))
def test_a_zone_or_garbage_behind_an_address_changes_nothing(
    address: IPv4Address, zone: int
) -> None:
    for text in (f"fe80::1%{zone}", f"::ffff:{address}%eth0", f"{address}%{zone}", f"{address}/8"):
        assert not GUARD.admits(text)


@given(any_v6)
def test_what_is_no_global_unicast_address_is_never_admitted(address: IPv6Address) -> None:
    if GUARD.admits(str(address)):
        assert address in ip_network("2000::/3")
        assert address not in ip_network("2002::/16")
        assert address.ipv4_mapped is None


@given(private_v4)
def test_no_allowance_is_widened_by_a_dress(address: IPv4Address) -> None:
    """What is allowed is that address alone, not what leads to it by a gateway."""
    guard = Egress(allow=(str(address),))
    assert guard.admits(str(address))
    assert not any(guard.admits(str(dress)) for dress in dresses(address))


@given(private_v4)
def test_a_denied_address_is_denied_in_every_dress_even_by_an_allowed_name(
    address: IPv4Address,
) -> None:
    guard = Egress(allow=("friend.example",), deny=(str(address),))
    worn = [address, *(d for d in dresses(address) if d.ipv4_mapped or d.sixtofour)]
    assert not any(guard.admits(str(each), trusted=True) for each in worn)


@given(private_v4, st.sampled_from(["http", "https"]))
def test_a_webhook_is_not_saved_for_what_is_plainly_private(
    address: IPv4Address, scheme: str
) -> None:
    for host in (str(address), *(f"[{dress}]" for dress in dresses(address))):
        assert url_problem(f"{scheme}://{host}/hook", GUARD) is not None, host


@given(st.text(max_size=60))
def test_no_text_breaks_the_check_of_a_webhooks_address(text: str) -> None:
    for url in (text, f"https://{text}", f"https://example.org/{text}", f"https://[{text}]"):
        if url_problem(url, GUARD) is None:
            assert urlsplit(url).scheme in ("http", "https")
            assert urlsplit(url).hostname
