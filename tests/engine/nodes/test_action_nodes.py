"""Modules, chat messages, browser sources: what leaves, and what comes of it."""

from __future__ import annotations

from typing import Any

import pytest

from engine.errors import StepFailure
from engine.nodes import REGISTRY
from engine.nodes.actions import LATEST

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


@pytest.mark.parametrize(("value", "text"), [(42, "42"), (1.5, "1.5"), (True, "True")])
def test_a_number_or_a_truth_is_written_out_as_message(render: Any, value: Any, text: str) -> None:
    assert render(CHAT, {"message": "{{ n }}"}, n=value)["message"] == text


@pytest.mark.parametrize("given", [{}, {"user_id": None}, {"user_id": ""}])
def test_a_message_to_a_user_who_is_not_named_goes_to_who_triggered_the_execution(
    check: Any, render: Any, given: Any
) -> None:
    config = {"message": "psst", "destination": "user_pm", **given}
    request = render(CHAT, config)

    assert check(CHAT, config) == []
    assert (request["user_id"], request["target_user_id"]) == (456, "456")


@pytest.mark.parametrize("given", [{}, {"channel_id": None}, {"channel_id": ""}])
def test_a_specified_channel_that_is_not_specified_is_found(check: Any, given: Any) -> None:
    config = {"message": "hi", "destination": "specified_channel", **given}

    (finding,) = check(CHAT, config)

    assert (finding.code, finding.path) == ("MISSING_CONFIG", "/channel_id")


@pytest.mark.parametrize(
    ("destination", "key"), [("specified_channel", "channel_id"), ("user_pm", "user_id")]
)
def test_an_address_that_turns_out_blank_fails(render: Any, destination: str, key: str) -> None:
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


MODULE = "action_module"
OVERLAY = "action_browser_source"


@pytest.mark.parametrize(
    ("node_type", "config", "key", "value", "sent"),
    [
        (MODULE, {"module_name": "{{ v }}"}, "module_name", 7, "7"),
        (MODULE, {"module_name": "m", "module_version": "{{ v }}"}, "module_version", 2, "2"),
        (MODULE, {"module_name": "m", "module_version": "{{ v }}"}, "module_version", None, LATEST),
        (MODULE, {"module_name": "ai", "action": "{{ v }}"}, "action", "", None),
        (MODULE, {"module_name": "ai"}, "action", "", None),
        (MODULE, {"module_name": "ai", "input": "{{ v }}"}, "input", {"a": [1]}, {"a": [1]}),
        (MODULE, {"module_name": "ai", "input": "{{ v }}"}, "input", None, {}),
        (CHAT, {"message": "m", "platform": "{{ v }}"}, "platform", "discord", "discord"),
        (CHAT, {"message": "m", "platform": "{{ v }}"}, "platform", None, "twitch"),
        (CHAT, {"message": "m", "platform": "{{ v }}"}, "platform", " ", "twitch"),
        (CHAT, {"message": "m", "reply_to_message": "{{ v }}"}, "reply_to_message", True, True),
        (CHAT, {"message": "m", "reply_to_message": "{{ v }}"}, "reply_to_message", "m1", "m1"),
        (CHAT, {"message": "m", "reply_to_message": "{{ v }}"}, "reply_to_message", None, False),
        (OVERLAY, {"source_type": "{{ v }}"}, "source_type", "alerts", "alerts"),
        (OVERLAY, {}, "source_type", None, "general"),
        (OVERLAY, {"duration": "{{ v }}"}, "duration", "2.5", 2.5),
        (OVERLAY, {"duration": "{{ v }}"}, "duration", " 30 ", 30),
        (OVERLAY, {"duration": "12"}, "duration", None, 12),
        (OVERLAY, {"duration": 0}, "duration", None, 0),
        (OVERLAY, {"priority": "{{ v }}"}, "priority", -3, -3),
        (OVERLAY, {"content": "{{ v }}"}, "content", [1], [1]),
        (OVERLAY, {}, "content", None, None),
        (OVERLAY, {"action": "clear"}, "action", None, "clear"),
    ],
)  # fmt: skip
def test_a_setting_arrives_as_what_it_must_be(
    render: Any, node_type: str, config: Any, key: str, value: Any, sent: Any
) -> None:
    arrived = render(node_type, config, v=value)[key]
    assert (arrived, type(arrived)) == (sent, type(sent))


@pytest.mark.parametrize(
    ("node_type", "config", "key", "value"),
    [
        (MODULE, {"module_name": "{{ v }}"}, "module_name", None),
        (MODULE, {"module_name": "ai", "module_version": "{{ v }}"}, "module_version", [1]),
        (MODULE, {"module_name": "ai", "action": "{{ v }}"}, "action", {}),
        (MODULE, {"module_name": "ai", "input": "{{ v }}"}, "input", "text"),
        (MODULE, {"module_name": "ai", "input": "{{ v }}"}, "input", [1]),
        (CHAT, {"message": "m", "platform": "{{ v }}"}, "platform", True),
        (CHAT, {"message": "m", "reply_to_message": "{{ v }}"}, "reply_to_message", 7),
        (OVERLAY, {"source_type": "{{ v }}"}, "source_type", ""),
        (OVERLAY, {"duration": "{{ v }}"}, "duration", -0.5),
        (OVERLAY, {"duration": "{{ v }}"}, "duration", "soon"),
        (OVERLAY, {"duration": "{{ v }}"}, "duration", None),
        (OVERLAY, {"duration": "{{ v }}"}, "duration", True),
        (OVERLAY, {"priority": "{{ v }}"}, "priority", "nan"),
    ],
)
def test_a_rendered_setting_that_cannot_be_used_fails_by_name(
    render: Any, node_type: str, config: Any, key: str, value: Any
) -> None:
    with pytest.raises(StepFailure, match=f"`{key}`") as caught:
        render(node_type, config, v=value)
    assert (caught.value.error_type, caught.value.retryable) == ("BAD_CONFIG", False)


@pytest.mark.parametrize("node_type", [MODULE, CHAT, OVERLAY])
def test_an_action_costs_what_its_answer_or_its_configuration_says(node_type: str) -> None:
    config = {"module_name": "ai", "message": "m", "usage": {"cost": 0.5}}
    handler = REGISTRY[node_type].compile(config)
    assert handler.conclude({}, {"usage": {"tokens": 3}}).usage == {"cost": 0.5, "tokens": 3}
    assert handler.conclude({}, None).usage == {"cost": 0.5}


@pytest.mark.parametrize("node_type", [MODULE, CHAT, OVERLAY])
def test_a_price_that_is_no_number_is_found(check: Any, node_type: str) -> None:
    (finding,) = check(node_type, {"usage": {"cost": "free"}})
    assert finding.path == "/usage/cost"


@pytest.mark.parametrize("node_type", [MODULE, CHAT, OVERLAY])
async def test_a_refusal_of_the_transport_leaves_the_node(
    node_type: str, render: Any, io: Any, outside: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: Any, **__: Any) -> None:
        raise StepFailure("ROUTER_REFUSED", "no")

    for operation in ("execute_module", "send_message", "browser_source"):
        monkeypatch.setattr(outside, operation, refuse)
    config = {"module_name": "ai", "message": "m"}
    with pytest.raises(StepFailure, match="no"):
        await REGISTRY[node_type].compile(config).perform(render(node_type, config), io)
