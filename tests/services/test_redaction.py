"""Secrets in what comes back. What a peer does with them is in `tests/security/test_secrets.py`."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import StepFailure
from engine.ports import HttpResponse
from services.redaction import MASK, Redaction

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=8, max_size=40)


@given(texts, st.text(max_size=20), st.text(max_size=20))
def test_a_text_around_a_secret_stays(secret: str, before: str, after: str) -> None:
    redacted = Redaction([secret]).text(before + secret + after)

    assert secret not in redacted
    assert MASK in redacted


@given(texts, st.binary(max_size=20), st.binary(max_size=20))
def test_no_place_in_base64_hides_a_secret(secret: str, before: bytes, after: bytes) -> None:
    encoded = base64.b64encode(before + secret.encode() + after).decode()
    redacted = Redaction([secret]).text(encoded)

    assert MASK in redacted
    assert len(redacted) < len(encoded)


def test_of_two_secrets_the_longer_is_found_although_the_shorter_begins_it() -> None:
    redaction = Redaction(["abcdefgh", "abcdefgh12345678"])

    assert redaction.text("x abcdefgh12345678 y abcdefgh") == f"x {MASK} y {MASK}"


def test_an_answer_without_a_secret_is_the_same_object() -> None:
    body = {"a": [1, "b", None, True, 2.5]}

    assert Redaction(["a secret text"]).json(body) is body


def test_keys_texts_and_numbers_are_looked_at() -> None:
    body = {"12345678": [12345678, "n 12345678", 1.5, False, None]}

    assert Redaction(["12345678"]).json(body) == {MASK: [MASK, f"n {MASK}", 1.5, False, None]}


def test_headers_are_looked_at() -> None:
    response = Redaction(["a secret text"]).response(
        HttpResponse(200, {"x-echo": "is a%20secret%20text", "x-fine": "7"}, None)
    )

    assert response == HttpResponse(200, {"x-echo": f"is {MASK}", "x-fine": "7"}, None)


@pytest.mark.parametrize("details", [None, {"status": 500, "body": "a secret text"}])
def test_a_failure_keeps_what_it_means(details: dict[str, object] | None) -> None:
    failure = StepFailure(
        "HTTP_STATUS", "no: a secret text", retryable=True, retry_after=3.0, uncertain=True
    )
    failure.details = details
    told = Redaction(["a secret text"]).failure(failure)

    assert (told.error_type, told.message) == ("HTTP_STATUS", f"no: {MASK}")
    assert (told.retryable, told.retry_after, told.uncertain) == (True, 3.0, True)
    assert told.details == (None if details is None else {"status": 500, "body": MASK})


def test_the_beginning_of_an_answer_that_was_cut_is_not_shown() -> None:
    """It may end in the middle of a secret, which nothing finds."""
    mark = {"truncated": True, "bytes": 300_000, "preview": "x" * 1000 + "hunter2"}
    cut = HttpResponse(200, {}, mark, cut=True)

    redacted = Redaction(["hunter22hunter22"]).response(cut)

    assert redacted.body == {"truncated": True, "bytes": 300_000, "preview": MASK}
    assert redacted.cut


@pytest.mark.parametrize(
    "echoed",
    [
        "it&#39;s&lt;a&gt;&#34;b&#34;&amp;c+d",
        "it&#39;s&lt;a&gt;&#34;b&#34;&amp;c&#43;d",
        r"""it's\u003ca\u003e\"b\"\u0026c+d""",
        r"""it's\u003Ca\u003E\"b\"\u0026c+d""",
    ],
    ids=["Jinja", "Go's HTML", "Go's JSON", ".NET's JSON"],
)
def test_what_others_escape_in_their_ways_is_found(echoed: str) -> None:
    assert Redaction(['it\'s<a>"b"&c+d']).text(f"x {echoed} y") == f"x {MASK} y"
