"""Where secrets may go: how hosts are written, and what is judged of a URL."""

from __future__ import annotations

import pytest

from services.secret_hosts import canonical, may_go


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("api.example.com", "api.example.com"),
        ("API.Example.COM.", "api.example.com"),
        ("*.example.com", "*.example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("http://internal", "http://internal"),
        ("http://*.example.com", "http://*.example.com"),
        ("192.0.2.7", "192.0.2.7"),
        ("[2001:DB8::1]", "2001:db8::1"),
        ("localhost", "localhost"),
    ],
)
def test_a_host_is_kept_in_one_form(written: str, kept: str) -> None:
    assert canonical(written) == kept
    assert canonical(kept) == kept


@pytest.mark.parametrize(
    "written",
    [
        "",
        "*",
        "*.com",
        "*.*.com",
        "a.*.com",
        "https://api.example.com",
        "api.example.com/path",
        "api.example.com:443",
        "user@api.example.com",
        "a b",
        "a..b",
        "-a.example",
        "127.1",
        "0x7f000001",
        "2130706433",
        "*.192.0.2.7",
        "a" * 254,
        "a\nb",
    ],
)
def test_what_is_no_host_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="must"):
        canonical(written)


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com/",
        "https://API.example.com:8443/path?query#fragment",
        "https://api.example.com./",
        "https://user:word@api.example.com/",
    ],
)
def test_a_secret_goes_to_its_host(url: str) -> None:
    assert may_go(url, ["other.example", "api.example.com"])


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com/",
        "https://example.com/",
        "https://xapi.example.com/",
        "https://x.api.example.com/",
        "https://api.example.com.evil.example/",
        "https://api.example.com@evil.example/",
        "https://api.example.com%40evil.example/",
        "https://evil.example/api.example.com",
        "https://evil.example?api.example.com",
        "https://evil.example#api.example.com",
        "https://evil.example/https://api.example.com",
    ],
)
def test_a_secret_goes_nowhere_else(url: str) -> None:
    try:
        goes = may_go(url, ["api.example.com"])
    except ValueError:
        goes = False
    assert not goes


def test_a_star_stands_for_every_name_below_and_not_for_the_name_itself() -> None:
    assert may_go("https://a.example.com/", ["*.example.com"])
    assert may_go("https://a.b.example.com/", ["*.example.com"])
    assert not may_go("https://example.com/", ["*.example.com"])
    assert not may_go("https://badexample.com/", ["*.example.com"])


def test_clear_text_is_for_who_allows_it_and_for_this_machine() -> None:
    assert may_go("http://internal/", ["http://internal"])
    assert may_go("https://internal/", ["http://internal"])
    assert not may_go("http://internal/", ["internal"])
    for host, entry in (("127.0.0.1", "127.0.0.1"), ("[::1]", "::1"), ("localhost", "localhost")):
        assert may_go(f"http://{host}:8080/", [entry])
    assert not may_go("http://localhost.evil.example/", ["*.evil.example"])
