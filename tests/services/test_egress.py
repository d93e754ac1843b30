"""The egress guard: every disguise of a private address, and the operator's two lists."""

from __future__ import annotations

import socket

import pytest

from services.egress import Egress, EgressBlocked

SPECIAL = """
0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.127.255.255 127.0.0.1 127.255.255.255 169.254.169.254
172.16.0.1 172.31.255.255 192.0.0.8 192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 198.19.255.255
198.51.100.7 203.0.113.9 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
:: ::1 ::127.0.0.1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::ffff:0:127.0.0.1
64:ff9b::7f00:1 64:ff9b::808:808 64:ff9b:1::1 100::1 2001::1 2001:0:4136:e378::1 2001:2::1
2001:10::1 2001:20::1 2001:db8::1 2002:7f00:1::1 2002:808:808::1 3fff::1 4000::1 5f00::1
fc00::1 fd12:3456::1 fe80::1 fe80::1%eth0 fec0::1 ff02::1 ffff::1
"""

PUBLIC = """
1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1
172.15.255.255 172.32.0.0 192.0.1.1 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0
223.255.255.255 2001:4860:4860::8888 2606:4700::1111 2a00:1450::1 3ffe::1
"""


@pytest.mark.parametrize("address", SPECIAL.split())
def test_special_addresses_are_blocked(address: str) -> None:
    assert not Egress().admits(address)


@pytest.mark.parametrize("address", PUBLIC.split())
def test_public_addresses_are_admitted(address: str) -> None:
    assert Egress().admits(address)


@pytest.mark.parametrize("address", ["", "localhost", "256.1.1.1", "0x7f.1", "/tmp/socket"])
def test_what_is_no_address_is_blocked(address: str) -> None:
    assert not Egress().admits(address)


def test_an_allowed_network_admits_its_addresses_and_no_disguise_of_them() -> None:
    egress = Egress(allow=("10.1.2.3/16", "[::1]", "127.0.0.1"))

    assert egress.admits("10.1.2.3")
    assert egress.admits("::1")
    assert egress.admits("127.0.0.1")
    assert not egress.admits("10.2.0.1")
    assert not egress.admits("127.0.0.2")
    assert not egress.admits("::ffff:10.1.2.3")


def test_an_allowed_name_admits_whatever_it_resolves_to() -> None:
    egress = Egress(allow=("API.internal.", "*.lan"))

    assert egress.names_allowed("api.internal")
    assert egress.names_allowed("api.internal.")
    assert egress.names_allowed("printer.office.LAN")
    assert not egress.names_allowed("lan")
    assert not egress.names_allowed("evil-lan")
    assert not egress.names_allowed("api.internal.evil.example")
    assert egress.admits("10.0.0.1", trusted=True)


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1", "::8.8.8.8"],
)
def test_a_denied_network_wins_in_every_disguise(address: str) -> None:
    egress = Egress(allow=("0.0.0.0/0", "::/0"), deny=("8.8.8.0/24",))

    assert egress.admits("9.9.9.9")
    assert not egress.admits(address)
    assert not egress.admits(address, trusted=True)


def test_a_denied_name_is_denied_below_it_only_when_asked() -> None:
    egress = Egress(deny=("evil.example", "*.bad.example"))

    assert egress.names_denied("evil.example")
    assert not egress.names_denied("www.evil.example")
    assert egress.names_denied("a.b.bad.example")


@pytest.mark.parametrize(
    "entry",
    ["", "10.0.0.0/33", "256.0.0.1", "http://x", "host:80", "a b", "*", "2130706433", "a..b"],
)
def test_an_entry_that_is_neither_name_nor_network_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="not a host name, an address or a network"):
        Egress(allow=(entry,))


def test_the_socket_factory_judges_the_address_of_the_connect() -> None:
    stream = socket.SOCK_STREAM

    with pytest.raises(EgressBlocked):
        Egress().socket_factory((socket.AF_INET, stream, 6, "", ("10.0.0.1", 80)))
    with pytest.raises(EgressBlocked):
        Egress().socket_factory((socket.AF_INET6, stream, 6, "", ("fe80::1%1", 80, 0, 1)))
    with Egress().socket_factory((socket.AF_INET, stream, 6, "", ("1.1.1.1", 80))) as made:
        assert made.family is socket.AF_INET
