"""Counts that several processes share: one limit, whoever is asked, whatever the server does."""

from __future__ import annotations

import asyncio
import io
import random
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from redis.asyncio import Redis

from services import shared_counts
from services.aaa_log import AaaLog
from services.allowances import WINDOW_SECONDS, Standing
from services.attempts import FailedAttempts
from services.caller import Caller
from services.errors import TooManyAttempts
from services.rate_limits import Limits, RateLimits
from services.shared_counts import (
    ACTION,
    CALL_SECONDS,
    CALM_SECONDS,
    PREFIX,
    RETRY_SECONDS,
    next_pause,
    open_counts,
)
from tests.processes import HOST, free_port
from tests.valkey import Valkey, valkey
from tests.waiting import PATIENCE_SECONDS, until

FEW: Limits = (3, None, None)
PASSWORD = "correct-horse-battery-staple"


class Log(io.StringIO):
    """What all processes have logged."""

    @property
    def lines(self) -> list[str]:
        return self.getvalue().splitlines()

    @property
    def began(self) -> int:
        return sum(f" ERROR community=- user=- action={ACTION} " in line for line in self.lines)

    @property
    def was_over(self) -> int:
        return sum("over_after_seconds=" in line for line in self.lines)


def caller(key: str | None = "k", user: int = 1, community: int | None = 5) -> Caller:
    return Caller(user_id=user, community_id=community, scopes=frozenset(), key_id=key)


async def standing(rates: RateLimits, who: Caller | None = None) -> Standing:
    found = await rates.take(who or caller())
    assert found is not None
    return found


async def allowed(rates: RateLimits, who: Caller | None = None) -> bool:
    return (await standing(rates, who)).retry_after is None


Open = Callable[..., "asyncio.Future[RateLimits]"]


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server is not given up because the machine stands still for a moment."""
    monkeypatch.setattr(shared_counts, "CALL_SECONDS", PATIENCE_SECONDS)


@pytest.fixture
def hurried(unhurried: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not answer is given up as soon as the service does it."""
    monkeypatch.setattr(shared_counts, "CALL_SECONDS", CALL_SECONDS)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Valkey]:
    """A server that is there."""
    async with valkey(tmp_path) as server:
        yield server


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
async def process(log: Log) -> AsyncIterator[Callable[..., object]]:
    """Opens the limits of one process after the other."""
    async with AsyncExitStack() as stack:

        async def opened(url: str, limits: Limits = FEW) -> RateLimits:
            counts = await stack.enter_async_context(open_counts(url, AaaLog(log)))
            return RateLimits(limits, counts)

        yield opened


async def test_two_processes_have_one_limit(server: Valkey, process: Open) -> None:
    one, other = await process(server.url), await process(server.url)
    told = [await standing(rates) for rates in (one, other, one, other, one)]
    assert [each.remaining for each in told] == [2, 1, 0, 0, 0]
    assert [each.retry_after is None for each in told] == [True, True, True, False, False]
    assert await allowed(other, caller(key="other"))


async def test_a_limit_holds_however_many_ask_at_once(server: Valkey, process: Open) -> None:
    both = [await process(server.url, (40, None, None)) for _ in range(2)]
    found = await asyncio.gather(*(allowed(rates) for _ in range(50) for rates in both))
    assert found.count(True) == 40


async def test_a_refused_request_is_counted_by_none(server: Valkey, process: Open) -> None:
    rates = await process(server.url, (1, 100, 50))
    for _ in range(30):
        await allowed(rates)
    told = await standing(rates, caller(key=None, community=None))
    assert (told.limit, told.remaining) == (100, 98)


async def test_a_standing_means_the_same_wherever_it_is_counted(
    server: Valkey, process: Open
) -> None:
    """No limit here gives anything back within the time that the test takes."""
    limits: Limits = (3, 7, 11)
    shared, own = await process(server.url, limits), RateLimits(limits)
    rng = random.Random(7)
    for _ in range(200):
        who = caller(rng.choice(["a", "b", None]), rng.randrange(3), rng.choice([5, 6, None]))
        there, here = await standing(shared, who), await standing(own, who)
        assert (there.limit, there.remaining) == (here.limit, here.remaining)
        assert (there.retry_after is None) is (here.retry_after is None)
        assert abs(there.reset - here.reset) <= 5


async def test_a_high_limit_loses_nothing_to_rounding(server: Valkey, process: Open) -> None:
    """A use costs less than the microsecond that the server's clock counts in."""
    rates = await process(server.url, (1_000_000_000, None, None))
    told = await asyncio.gather(*(standing(rates) for _ in range(300)))
    assert min(each.remaining for each in told) <= 1_000_000_000 - 299  # of one call


async def test_every_key_ends_by_itself(server: Valkey, process: Open) -> None:
    rates = await process(server.url, (3, 3, 3))
    for _ in range(3):
        await allowed(rates)
    async with Redis.from_url(server.url) as client:
        keys = await client.keys("*")
        left = [await client.pttl(key) for key in keys]
    assert len(keys) == 3
    assert all(0 < each <= WINDOW_SECONDS * 1000 + 1 for each in left)


async def test_what_arrives_during_a_call_goes_into_the_next(server: Valkey, process: Open) -> None:
    rates = await process(server.url, (1000, None, None))
    await asyncio.gather(*(allowed(rates) for _ in range(500)))
    async with Redis.from_url(server.url) as client:
        ran = (await client.info("commandstats"))["cmdstat_evalsha"]["calls"]
    assert ran < 50
    assert 499 <= (await standing(rates)).remaining < 600


async def test_one_who_went_away_hinders_nobody(server: Valkey, process: Open) -> None:
    rates = await process(server.url)
    asking = [asyncio.create_task(allowed(rates)) for _ in range(3)]
    await asyncio.sleep(0)
    asking[1].cancel()
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert [each is True for each in found] == [True, False, True]
    assert not await allowed(rates)


@pytest.mark.usefixtures("hurried")
async def test_a_process_that_was_too_busy_to_look_does_not_blame_the_server(
    server: Valkey, process: Open, log: Log
) -> None:
    one, other = await process(server.url), await process(server.url)
    server.freeze()
    asking = asyncio.create_task(allowed(one))
    for _ in range(8):  # until it is asked, and waits for the answer
        await asyncio.sleep(0)
    server.thaw()
    time.sleep(4 * CALL_SECONDS)  # noqa: ASYNC251  # the whole process is busy, not this task
    assert await asking
    assert (await standing(other)).remaining == 1
    assert log.lines == []


@pytest.mark.usefixtures("hurried")
async def test_a_server_that_freezes_holds_nobody_up(
    server: Valkey, process: Open, log: Log
) -> None:
    rates = await process(server.url)
    assert [await allowed(rates) for _ in range(2)] == [True, True]
    server.freeze()
    async with asyncio.timeout(PATIENCE_SECONDS):
        found = await asyncio.gather(*(allowed(rates) for _ in range(500)))
    assert found.count(True) == 1, "it goes on from what it had let pass"
    [line] = log.lines
    assert f"action={ACTION} " in line
    assert f'error="no answer in time" server={HOST}:{server.port}' in line
    server.thaw()
    await until(lambda: log.was_over == 1)
    assert log.began == 1


async def test_a_server_that_was_killed_is_shared_again_once_it_is_back(
    server: Valkey, process: Open, log: Log
) -> None:
    one, other = await process(server.url), await process(server.url)
    server.kill()
    alone = [await allowed(rates) for rates in (one, other) for _ in range(4)]
    assert alone == [True, True, True, False] * 2, "each by itself"
    assert (log.began, log.was_over) == (2, 0)
    await server.start()
    await until(lambda: log.was_over == 2)
    who = caller(key="fresh")
    assert [await allowed(rates, who) for rates in (one, other) * 2] == [True, True, True, False]


async def test_a_script_that_the_server_has_forgotten_is_given_again(
    server: Valkey, process: Open, log: Log
) -> None:
    rates = await process(server.url)
    async with Redis.from_url(server.url) as client:
        await client.script_flush()
    assert [await allowed(rates) for _ in range(4)] == [True, True, True, False]
    assert log.lines == []


async def test_what_is_kept_under_a_key_by_somebody_else_counts_as_nothing(
    server: Valkey, process: Open
) -> None:
    rates = await process(server.url)
    async with Redis.from_url(server.url) as client:
        await client.set(f"{PREFIX}:key:k", "hello")
    assert await allowed(rates)


async def test_without_a_server_each_process_counts_for_itself(process: Open, log: Log) -> None:
    rates = await process(f"redis://{HOST}:{free_port()}")
    assert [await allowed(rates) for _ in range(4)] == [True, True, True, False]
    assert log.began == 1
    assert "error_type=ConnectionError" in log.lines[0]


def test_a_server_that_fails_again_and_again_is_left_alone_for_longer() -> None:
    pauses = [RETRY_SECONDS]
    for _ in range(8):
        pauses.append(next_pause(pauses[-1], well_for=CALM_SECONDS / 2))
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30, 30]
    assert next_pause(30, well_for=CALM_SECONDS) == RETRY_SECONDS


@asynccontextmanager
async def speaking(words: bytes) -> AsyncIterator[str]:
    """The URL of something that answers all it is told with the same words."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65_536):
            writer.write(words)
        writer.close()

    server = await asyncio.start_server(answer, HOST, 0)
    async with server:
        yield f"redis://{HOST}:{server.sockets[0].getsockname()[1]}"


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize(
    "words",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"+PONG\r\n",
        b"*0\r\n",
        b"*1\r\n:7\r\n",
        b"",
        b"-BUSY it is\r\n",
    ],
)
async def test_whatever_answers_there_no_request_fails(
    process: Open, log: Log, words: bytes
) -> None:
    async with speaking(words) as url:
        rates = await process(url)
        assert [await allowed(rates) for _ in range(4)] == [True, True, True, False]
        assert log.began == 1


async def test_a_password_opens_the_server_and_is_never_told(
    tmp_path: Path, process: Open, log: Log
) -> None:
    async with valkey(tmp_path, "--requirepass", PASSWORD) as server:
        where = f"{HOST}:{server.port}"
        shut = await process(f"redis://:{PASSWORD}-not@{where}/0")
        assert await allowed(shut)
        assert where in log.lines[0]
        assert "Auth" in log.lines[0]
        assert PASSWORD not in "".join(log.lines)
        one = await process(f"redis://:{PASSWORD}@{where}/0")
        other = await process(f"redis://default:{PASSWORD}@{where}/0")
        assert [await allowed(rates) for rates in (one, other) * 2] == [True] * 3 + [False]
        assert (log.began, log.was_over) == (1, 0)


async def test_a_role_needs_no_more_than_the_documents_say(
    server: Valkey, process: Open, log: Log
) -> None:
    allowed_commands = ("evalsha", "script|load", "get", "set", "time", "ping", "select")
    async with Redis.from_url(server.url) as client:
        await client.execute_command(
            "ACL", "SETUSER", "counter", "on", f">{PASSWORD}", f"~{PREFIX}:*",
            *(f"+{name}" for name in allowed_commands),
        )  # fmt: skip
    url = f"redis://counter:{PASSWORD}@{HOST}:{server.port}/1"
    one, other = await process(url), await process(url)
    assert [await allowed(rates) for rates in (one, other) * 2] == [True] * 3 + [False]
    assert log.lines == []


async def test_without_a_url_each_process_counts_for_itself() -> None:
    async with open_counts(None, AaaLog(Log())) as counts:
        assert counts is None


async def test_an_address_that_guesses_at_several_processes_has_no_more_attempts(
    server: Valkey,
) -> None:
    limit, address = 10, "192.0.2.7"
    async with AsyncExitStack() as stack:
        counts = [
            await stack.enter_async_context(open_counts(server.url, AaaLog(Log())))
            for _ in range(3)
        ]
        everywhere = [FailedAttempts(limit, each) for each in counts]
        looked_at = 0
        for attempts in everywhere * limit:
            with suppress(TooManyAttempts):
                attempts.check(address, "guess")
                looked_at += 1
                await attempts.failed(address)
        assert limit <= looked_at < limit + len(everywhere)
        for attempts in everywhere:
            with pytest.raises(TooManyAttempts):
                attempts.check(address, "guess")
            attempts.check("192.0.2.8", "guess")


@asynccontextmanager
async def behind_tls(server: Valkey, home: Path) -> AsyncIterator[tuple[str, Path]]:
    """The URL of something that speaks TLS in front of the server, and whom to trust for it."""
    certificate, key = self_signed(home)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def passed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while words := await reader.read(65_536):
                writer.write(words)
        writer.close()

    async def joined(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, asks = await asyncio.open_connection(HOST, server.port)
        await asyncio.gather(passed(reader, asks), passed(answers, writer))

    front = await asyncio.start_server(joined, HOST, 0, ssl=context)
    async with front:
        yield f"rediss://{HOST}:{front.sockets[0].getsockname()[1]}", certificate


def self_signed(home: Path) -> tuple[Path, Path]:
    """A certificate of the loopback address, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "valkey")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(HOST))]), False)
        .sign(key, hashes.SHA256())
    )
    encoding, nothing = serialization.Encoding.PEM, serialization.NoEncryption()
    (home / "certificate.pem").write_bytes(made.public_bytes(encoding))
    form = serialization.PrivateFormat.PKCS8
    (home / "key.pem").write_bytes(key.private_bytes(encoding, form, nothing))
    return home / "certificate.pem", home / "key.pem"


async def test_over_tls_the_server_must_prove_who_it_is(
    server: Valkey, process: Open, log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with behind_tls(server, tmp_path) as (url, certificate):
        doubted = await process(url)
        assert await allowed(doubted)
        assert "certificate verify failed" in log.lines[0]
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        one, other = await process(url), await process(url)
        assert [await allowed(rates) for rates in (one, other) * 2] == [True] * 3 + [False]
        assert log.began == 1
