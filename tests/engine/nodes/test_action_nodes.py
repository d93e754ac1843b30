"""Modules, chat messages, browser sources: what leaves, and what comes of it."""

from __future__ import annotations

from typing import Any

import pytest

from engine.errors import StepFailure
from engine.nodes import REGISTRY

CHAT = "action_chat_message"


def test_a_module_call_carries_who_it_is_for(render: Any) -> None:
    config = {"module_name": "shoutout", "action": "show", "params": {"user": "{{ name }}"}}
    assert render("action_module", config, name="ada") == {
        "module_name": "shoutout",
        "module_version": "latest",
        "action": "show",
        "input": {"user": "ada"},
        "entity_id": 9,
        "user_id": 456,
        "session_id": "s1",
    }


async def test_a_module_is_executed_with_the_steps_key(render: Any, io: Any, outside: Any) -> None:
    outside.answer = {"text": "hello"}
    handler = REGISTRY["action_module"].compile({"module_name": "ai"})
    rendered = render("action_module", {"module_name": "ai"})
    assert await handler.perform(rendered, io) == {"text": "hello"}
    assert outside.calls == [("execute_module", rendered | {"key": "e1:node"})]


def test_a_modules_answer_is_mapped_to_variables_and_usage() -> None:
    mapping = {"text": "reply", "meta.model": "model", "gone.away": "nothing", "a.b": "dotted"}
    handler = REGISTRY["action_module"].compile({"module_name": "ai", "output_mapping": mapping})
    output = {"text": "hi", "meta": {"model": "m"}, "a.b": 1, "usage": {"tokens": 3}}
    result = handler.conclude({}, output)
    assert result.variables == {"reply": "hi", "model": "m", "nothing": None, "dotted": 1}
    assert result.usage == {"tokens": 3}
    assert result.output == output


def test_an_answer_that_is_no_object_maps_to_nulls() -> None:
    handler = REGISTRY["action_module"].compile({"module_name": "ai", "output_mapping": {"a": "b"}})
    assert handler.conclude({}, "text").variables == {"b": None}


def test_a_mapping_may_not_write_a_reserved_name(check: Any) -> None:
    found = check("action_module", {"output_mapping": {"a": "nodes", "b": 7}})
    assert {finding.path for finding in found} == {"/output_mapping/a", "/output_mapping/b"}


@pytest.mark.parametrize("key", ["message", "message_template"])
def test_a_message_goes_to_the_current_channel(render: Any, key: str) -> None:
    config = {key: "Hello, {{ name }}!", "target": "chat"}
    assert render(CHAT, config, name="Ada") == {
        "message": "Hello, Ada!",
        "destination": "current_channel",
        "entity_id": 9,
        "user_id": 456,
        "platform": "twitch",
        "reply_to_message": False,
    }


def test_a_message_may_go_to_a_channel_on_another_platform(render: Any) -> None:
    config = {
        "message": "hi",
        "destination": "specified_channel",
        "channel_id": "{{ channel }}",
        "platform": "discord",
    }
    request = render(CHAT, config, channel=77)
    assert (request["channel_id"], request["platform"]) == ("77", "discord")


def test_a_message_may_go_to_a_user(render: Any) -> None:
    config = {"message": "psst", "destination": "user_pm", "user_id": "{{ who }}"}
    request = render(CHAT, config, who="u7")
    assert (request["user_id"], request["target_user_id"]) == (456, "u7")


@pytest.mark.parametrize("value", ["", "  ", None, [], {"a": 1}])
def test_a_message_must_be_a_text(render: Any, value: Any) -> None:
    with pytest.raises(StepFailure, match="message") as caught:
        render(CHAT, {"message": "{{ text }}"}, text=value)
    assert caught.value.error_type == "BAD_CONFIG"


def test_a_number_is_written_out_as_message(render: Any) -> None:
    assert render(CHAT, {"message": "{{ n }}"}, n=42)["message"] == "42"


@pytest.mark.parametrize(
    ("destination", "key"), [("specified_channel", "channel_id"), ("user_pm", "user_id")]
)
def test_a_destination_without_its_address_is_found_and_fails(
    check: Any, render: Any, destination: str, key: str
) -> None:
    (finding,) = check(CHAT, {"message": "hi", "destination": destination})
    assert (finding.code, finding.path) == ("MISSING_CONFIG", f"/{key}")
    config = {"message": "hi", "destination": destination, key: "{{ nobody }}"}
    with pytest.raises(StepFailure, match=key):
        render(CHAT, config, nobody="")


async def test_a_message_is_sent_and_gives_its_id(render: Any, io: Any, outside: Any) -> None:
    outside.answer = {"message_id": "m1"}
    handler = REGISTRY[CHAT].compile({"message": "hi"})
    rendered = render(CHAT, {"message": "hi"})
    output = await handler.perform(rendered, io)
    assert outside.calls == [("send_message", rendered | {"key": "e1:node"})]
    assert handler.conclude(rendered, output).output == {"message_id": "m1"}


async def test_a_browser_source_shows_any_content(render: Any, io: Any, outside: Any) -> None:
    config = {"content_template": {"title": "{{ t }}"}, "duration": "{{ 2 * 3 }}"}
    rendered = render("action_browser_source", config, t="Hi")
    outside.answer = {"shown": True}
    handler = REGISTRY["action_browser_source"].compile(config)
    assert await handler.perform(rendered, io) == {"shown": True}
    assert outside.calls == [
        (
            "browser_source",
            {
                "source_type": "general",
                "action": "display",
                "content": {"title": "Hi"},
                "duration": 6,
                "priority": 0,
                "entity_id": 9,
                "key": "e1:node",
            },
        )
    ]
