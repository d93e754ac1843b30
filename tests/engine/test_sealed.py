"""Sealed requests: where secrets belong, and that they get nowhere else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.context import JsonObject
from engine.errors import StepFailure
from engine.expressions import Budget, ExpressionError, MapEnv
from engine.nodes import REGISTRY
from engine.sealed import MOST_PLACES, PARTS, places_of, shown, unsealed

VALUES = {"token": "s3cr3t value", "other": "another one"}


def sealed(config: JsonObject, **variables: Any) -> JsonObject:
    """The sealed request of a webhook node, as it comes back from a record."""
    handler = REGISTRY["action_webhook"].compile({"url": "https://api.example.com/", **config})
    env = MapEnv({"execution": {}, **variables}, uuid="an id of this rendering")
    return json.loads(json.dumps(handler.render(env, Budget())))


def opened(request: JsonObject) -> JsonObject:
    return unsealed({part: request[part] for part in PARTS}, places_of(request), VALUES)


def test_a_request_without_secrets_has_no_list_of_them() -> None:
    assert "secrets" not in sealed({"headers": {"X": "{{ a }}"}}, a="{{secrets.token}}")


def test_several_secrets_in_one_text_are_filled_in() -> None:
    request = sealed(
        {"body": "{{ secrets.token }}/{{ a }}/{{ secrets.other }}{{secrets.token}}"}, a=1
    )

    assert request["body"] == "{{secrets.token}}/1/{{secrets.other}}{{secrets.token}}"
    assert opened(request)["body"] == "s3cr3t value/1/another ones3cr3t value"


@given(st.text(max_size=30), st.text(max_size=30))
def test_what_is_around_a_secret_stays_as_it_is(before: str, after: str) -> None:
    body = {"t": "{{ before }}{{ secrets.token }}{{ after }}", "o": "{{ before + after }}"}
    request = sealed({"body": body}, before=before, after=after)

    assert opened(request)["body"] == {
        "t": before + VALUES["token"] + after,
        "o": before + after,
    }


@given(st.sampled_from(["token", "other", "absent"]), st.integers(0, 3))
def test_a_text_that_looks_like_a_secret_is_text(name: str, times: int) -> None:
    text = shown(name) * times
    request = sealed({"headers": {"X": "{{ text }}{{ secrets.token }}{{ text }}"}}, text=text)

    assert opened(request)["headers"]["X"] == text + VALUES["token"] + text


HEX = "0123456789abcdef" * 2


@pytest.mark.parametrize("text", [f"secret-{HEX}-0-", "secret-", f"secret-{HEX}-1", f"{HEX}-0-"])
def test_a_text_that_looks_like_a_stand_in_is_text_and_hides_none(text: str) -> None:
    request = sealed({"body": "{{ t }}{{ secrets.token }}{{ t }}{{ secrets.other }}"}, t=text)

    assert [place.name for place in places_of(request)] == ["token", "other"]
    assert opened(request)["body"] == f"{text}{VALUES['token']}{text}{VALUES['other']}"


def test_a_form_is_filled_with_what_is_encoded() -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    request = sealed({"headers": form, "body": {"a": "{{ secrets.token }}"}})

    assert request["body"] == "a={{secrets.token}}"
    assert opened(request)["body"] == "a=s3cr3t+value"


def test_a_text_that_says_that_it_is_a_form_is_filled_as_it_is() -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    request = sealed({"headers": form, "body": "a={{ secrets.token }}"})

    assert opened(request)["body"] == "a=s3cr3t value"


def test_a_text_that_is_json_is_labelled_so() -> None:
    request = sealed({"body": '{"a": "{{ secrets.token }}"}'})

    assert request["headers"] == {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    "change",
    [
        {"headers": {"X": "other text of the same len"}},
        {"headers": {}},
        {"headers": {"X": None}},
    ],
)
def test_places_of_another_request_are_refused(change: JsonObject) -> None:
    request = sealed({"headers": {"X": "Bearer {{ secrets.token }}"}})

    with pytest.raises(StepFailure, match="do not belong"):
        opened({**request, **change})


def test_a_header_cannot_hold_a_line_break() -> None:
    request = sealed({"headers": {"X": "{{ secrets.token }}"}})

    with pytest.raises(StepFailure, match="line break") as refused:
        unsealed({"headers": request["headers"]}, places_of(request), {"token": "a\r\nEvil: 1"})
    assert "Evil" not in refused.value.message


def test_a_body_can() -> None:
    request = sealed({"body": {"key": "{{ secrets.token }}"}})
    filled = unsealed({"body": request["body"]}, places_of(request), {"token": "a\nb"})

    assert filled == {"body": {"key": "a\nb"}}


def test_a_request_holds_so_many_and_no_more() -> None:
    assert len(places_of(sealed({"body": ["{{ secrets.token }}"] * MOST_PLACES}))) == MOST_PLACES
    with pytest.raises(StepFailure, match="101 secrets; 100 are allowed"):
        sealed({"body": ["{{ secrets.token }}"] * (MOST_PLACES + 1)})


def test_a_request_that_carries_secrets_cannot_name_another_host() -> None:
    config = {"headers": {"hOST": "evil.example", "X": "{{ secrets.token }}"}}

    with pytest.raises(StepFailure, match="`Host`"):
        sealed(config)
    assert sealed({"headers": {"Host": "fine.example"}})["headers"] == {"Host": "fine.example"}


def test_the_name_is_not_there_where_no_secret_may_be() -> None:
    handler = REGISTRY["action_webhook"].compile(
        {"url": "https://a.example/{{ secrets.token }}", "headers": {"X": "{{ secrets.token }}"}}
    )
    with pytest.raises(ExpressionError, match="there is no variable 'secrets'"):
        handler.render(MapEnv({"execution": {}}, uuid="u"), Budget())
