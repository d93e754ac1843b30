"""An author's URL tries to reach the operator's own machines (server-side request forgery).

The sink listens on every address of this machine and counts connections: an attack fails if the
client refuses and the sink stays untouched, whatever the client says about it.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from engine.errors import StepFailure
from engine.ports import HttpResponse
from services.egress import Egress
from services.http_client import AiohttpClient

PUBLIC = "93.184.216.34"

DISGUISES = """
127.0.0.1 127.1 127.0.1 127.00.00.01 127.000.000.001 0127.0.0.1 0177.0.0.1 0177.0.0.01 0177.1
0x7f.0.0.1 0x7f.1 0x7f.0x0.0x0.0x1 0x7f000001 0X7F000001 017700000001 2130706433 02130706433
127.0.0.1. 127.0.0.2 127.255.255.254 0.0.0.0 0 0x0 00 0.0 0000.0000 127.0x1 127.0.0x0.1
localhost LOCALHOST localhost. localhost.localdomain LocalHost.
[::1] [0:0:0:0:0:0:0:1] [0000:0000:0000:0000:0000:0000:0000:0001] [::] [0::0]
[::ffff:127.0.0.1] [::ffff:7f00:1] [::FFFF:127.0.0.1] [0:0:0:0:0:ffff:7f00:0001] [::127.0.0.1]
[::7f00:1] [::ffff:0:127.0.0.1] [64:ff9b::127.0.0.1] [64:ff9b::7f00:1] [64:ff9b:1::7f00:1]
[2002:7f00:1::] [2002:7f00:0001::1] [2001:0:0:0:0:0:80ff:fffe] [fe80::1] [fe80::1%25lo] [::1%25lo]
\u2460\u2461\u2466.\u24ea.\u24ea.\u2460 \uff11\uff12\uff17.\uff10.\uff10.\uff11
127\u30020\u30020\u30021 127\uff0e0\uff0e0\uff0e1 127\uff610\uff610\uff611
\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3
%31%32%37.0.0.1 127.0.0.%31 loc%61lhost [::1%00] 127.0.0.1%00.example.com
example.com@127.0.0.1 example.com%2f@127.0.0.1 example.com:80@127.0.0.1 user:word@localhost
10.0.0.1 172.16.0.1 192.168.0.1 169.254.169.254 0xa9fea9fe 2852039166 0251.0376.0251.0376
[fd00:ec2::254] [::ffff:169.254.169.254] 100.100.100.200
"""


@dataclass
class Sink:
    """Who listens, and how often somebody came."""

    port: int
    touched: int = 0


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    found = Sink(0)

    def came(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.touched += 1
        writer.close()

    listening = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    found.port = listening.getsockname()[1]
    async with await asyncio.start_server(came, sock=listening):
        yield found


async def attack(url: str, egress: Egress | None = None) -> HttpResponse | str:
    """The answer, or the code of the failure."""
    async with AiohttpClient(egress or Egress()) as client:
        try:
            return await client.request(
                "GET", url, headers={}, params=None, body=None, timeout_seconds=2
            )
        except StepFailure as failure:
            _tells_nothing(failure, url)
            return failure.error_type


def _tells_nothing(failure: StepFailure, url: str) -> None:
    """Whoever knew a name only must not learn what it leads to."""
    if "rebind.example" in url:
        assert not re.search(r"127\.|::|0\.0\.0\.0|240\.", str(failure))


def test_there_are_enough_of_them() -> None:
    assert len(set(DISGUISES.split())) >= 60


@pytest.mark.parametrize("host", DISGUISES.split())
async def test_no_disguise_of_a_private_address_is_reached(sink: Sink, host: str) -> None:
    assert await attack(f"http://{host}:{sink.port}/") in {
        "EGRESS_BLOCKED",
        "BAD_URL",
        "NETWORK_ERROR",
    }
    assert sink.touched == 0


async def test_the_sink_would_have_noticed(sink: Sink) -> None:
    await attack(f"http://127.0.0.1:{sink.port}/", Egress(allow=("127.0.0.1",)))
    assert sink.touched >= 1


class Resolver:
    """Names as an attacker's server gives them: the next answer each time it is asked."""

    def __init__(self, answers: Iterator[str]) -> None:
        self.answers = answers
        self.asked = 0

    async def __call__(self, host: str, port: int, **_: Any) -> list[Any]:
        self.asked += 1
        address = next(self.answers)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        where = (address, port, 0, 0) if ":" in address else (address, port)
        return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", where)]


@pytest.mark.parametrize("answers", [["127.0.0.1"], ["::1"], ["::ffff:127.0.0.1"], ["0.0.0.0"]])
async def test_a_name_that_resolves_to_a_private_address_is_not_followed(
    sink: Sink, answers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolver = Resolver(iter(answers))
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolver)
    assert await attack(f"http://rebind.example:{sink.port}/") == "EGRESS_BLOCKED"
    assert (resolver.asked, sink.touched) == (1, 0)


async def test_a_name_that_changes_its_mind_between_two_looks_is_not_followed(
    sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever looked the name up first and connected by name afterwards would be caught here."""
    resolver = Resolver(iter([PUBLIC, "127.0.0.1", "127.0.0.1"]))
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "getaddrinfo", resolver)
    await loop.getaddrinfo("rebind.example", sink.port)
    assert await attack(f"http://rebind.example:{sink.port}/") == "EGRESS_BLOCKED"
    assert sink.touched == 0


async def test_an_address_behind_a_public_one_in_the_same_answer_is_not_tried(
    sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def both(host: str, port: int, **_: Any) -> list[Any]:
        kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        return [(*kind, ("240.0.0.1", port)), (*kind, ("127.0.0.1", port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", both)
    assert await attack(f"http://rebind.example:{sink.port}/") == "EGRESS_BLOCKED"
    assert sink.touched == 0


async def test_a_redirect_into_the_operators_network_is_not_followed(sink: Sink) -> None:
    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        to = f"http://[::1]:{sink.port}/latest/meta-data/"
        writer.write(f"HTTP/1.1 307 Moved\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode())
        writer.close()

    async with await asyncio.start_server(redirect, "127.0.0.1", 0) as allowed:
        port = allowed.sockets[0].getsockname()[1]
        answer = await attack(f"http://127.0.0.1:{port}/", Egress(allow=("127.0.0.1",)))
    assert isinstance(answer, HttpResponse)
    assert answer.status == 307
    assert sink.touched == 0


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "gopher://127.0.0.1:6379/_INFO",
        "dict://127.0.0.1:11211/stats",
        "unix:///var/run/postgresql/.s.PGSQL.5432",
        "http+unix://%2Fvar%2Frun%2Fdocker.sock/info",
        "ws://127.0.0.1/",
        "//127.0.0.1/",
        "http:127.0.0.1",
        "http:///etc/passwd",
        "http://",
        "javascript:alert(1)",
    ],
)
async def test_other_schemes_lead_nowhere(sink: Sink, url: str) -> None:
    assert await attack(url.replace("127.0.0.1/", f"127.0.0.1:{sink.port}/")) == "BAD_URL"
    assert sink.touched == 0
