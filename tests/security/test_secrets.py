"""Somebody tries to read a secret, or to have it sent where it may not go.

Named after what is tried. At the end of each the whole service is searched for the secret: every
column of every table, and the log.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from aiohttp import web

from models.dal import AsyncDAL
from tests.controllers.conftest import COMMUNITY, OWNER, Api, greeting
from tests.security.secret_world import NAME, SECRET, SecretWorld, forms, listening
from tests.waiting import until

BEARER = {"headers": {"Authorization": "Bearer {{ secrets.token }}"}}
PLAIN = "tok-4c1f0a9b7d2e"


@pytest.fixture
async def world(api: Api, dal: AsyncDAL) -> AsyncIterator[SecretWorld]:
    async with listening() as peer:
        admin = await api.new_key(OWNER, COMMUNITY, scopes=["admin"])
        yield SecretWorld(api, dal, peer, admin)


# It arrives


async def test_a_secret_arrives_in_headers_query_and_body(world: SecretWorld) -> None:
    await world.keep()
    state = await world.send(
        {
            "headers": {"X-Token": "Token {{ secrets.token }}!"},
            "params": {"key": "{{ secrets.token }}", "many": ["a", "{{ secrets.token }}"]},
            "body": {"deep": [{"token": "<{{ secrets.token }}>"}], "name": "{{ name }}"},
        },
        name="ada",
    )

    assert state["status"] == "completed"
    (seen,) = world.peer.seen
    assert seen.headers["x-token"] == f"Token {SECRET}!"
    assert seen.query["key"] == SECRET
    assert json.loads(seen.body) == {"deep": [{"token": f"<{SECRET}>"}], "name": "ada"}
    sent = state["node_states"]["send"]["input_data"]
    assert sent["headers"]["X-Token"] == "Token {{secrets.token}}!"
    assert sent["body"]["deep"] == [{"token": "<{{secrets.token}}>"}]
    assert await world.leaks() == []


async def test_a_secret_is_encoded_in_a_form(world: SecretWorld) -> None:
    await world.keep()
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    state = await world.send({"headers": form, "body": {"a": "{{ secrets.token }}", "b": "x y"}})

    assert state["status"] == "completed"
    assert world.peer.seen[0].body.decode() == f"a={quote_plus(SECRET)}&b=x+y"
    assert await world.leaks() == []


async def test_the_search_for_leaks_finds_one(world: SecretWorld) -> None:
    await world.send({"body": "{{ name }}"}, name=SECRET)

    assert [each for each in await world.leaks() if each.startswith("workflow_executions.input")]


# Read by an echo


ECHOES: dict[str, Any] = {
    "as it is": lambda s: s,
    "within words": lambda s: f"your token '{s}' is not valid",
    "URL-encoded": lambda s: quote(s, safe=""),
    "as a path": lambda s: quote(s),
    "as a form": quote_plus,
    "in small letters": lambda s: quote(s, safe="").lower() if s.islower() else quote(s),
    "JSON in a text": lambda s: json.dumps({"token": s}),
    "JSON of JSON": lambda s: json.dumps(json.dumps({"token": s})),
    "JSON with letters": lambda s: json.dumps({"token": s}, ensure_ascii=False),
    "JSON of PHP": lambda s: json.dumps({"token": s}).replace("/", "\\/"),
    "HTML": html.escape,
    "base64": lambda s: base64.b64encode(s.encode()).decode(),
    "base64 of user and password": lambda s: base64.b64encode(f"ada:{s}".encode()).decode(),
    "base64 within more": lambda s: base64.b64encode(f"xy{s} and more".encode()).decode(),
    "base64 for URLs": lambda s: base64.urlsafe_b64encode(f"x{s}".encode()).decode(),
    "hex": lambda s: s.encode().hex(),
    "HEX": lambda s: s.encode().hex().upper(),
}


@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES)
@pytest.mark.parametrize("secret", [SECRET, PLAIN, "12345678901234567"])
async def test_read_by_an_echo_in_the_body(world: SecretWorld, echo: Any, secret: str) -> None:
    await world.keep(secret)
    said = echo(secret)
    world.peer.say = lambda request, body: web.json_response(
        {"nested": [{"said": said}], said: True, "fine": 7}
    )
    state = await world.send(BEARER)

    assert state["status"] == "completed"
    told = json.dumps(state, ensure_ascii=False)
    assert "***" in told
    assert said not in told
    assert state["final_variables"]["answer"]["body"]["fine"] == 7
    assert await world.leaks(secret) == []


async def test_read_by_an_echo_of_a_number(world: SecretWorld) -> None:
    await world.keep("1234567890")
    world.peer.say = lambda request, body: web.json_response({"token": 1234567890})
    state = await world.send(BEARER)

    assert state["final_variables"]["answer"]["body"] == {"token": "***"}


async def test_read_by_an_echo_of_headers_and_a_redirect(world: SecretWorld) -> None:
    await world.keep()
    world.peer.say = lambda request, body: web.Response(
        status=302,
        headers={
            "X-Was": request.headers["X-Token"],
            "Location": f"https://elsewhere.example/?t={quote(SECRET)}",
        },
        text=SECRET,
    )
    state = await world.send(
        {"headers": {"X-Token": "{{ secrets.token }}"}, "expected_status": "3xx"}
    )

    answer = state["final_variables"]["answer"]
    assert answer["headers"]["x-was"] == "***"
    assert answer["headers"]["location"] == "https://elsewhere.example/?t=***"
    assert answer["body"] == "***"
    assert await world.leaks() == []


async def test_read_from_the_error_of_a_refused_request(world: SecretWorld) -> None:
    await world.keep()
    world.peer.say = lambda request, body: web.Response(status=401, text=f"bad token {SECRET}")
    state = await world.send(BEARER)

    assert (state["status"], state["error_code"]) == ("failed", "HTTP_STATUS")
    recorded = await world.dal.fetchval("SELECT error FROM workflow_steps WHERE node_id = 'send'")
    assert recorded["details"] == {"status": 401, "body": "bad token ***"}
    assert await world.leaks() == []


async def test_read_from_the_error_of_a_header_that_cannot_be_sent(world: SecretWorld) -> None:
    secret = "first line\nsecond line"
    await world.keep(secret)
    state = await world.send(BEARER)

    assert state["error_code"] == "BAD_CONFIG"
    assert "line break" in state["error_message"]
    assert world.peer.seen == []
    assert await world.leaks("first line", "second line") == []


# Read from what is kept


async def test_read_from_steps_events_lists_and_the_audit_log(world: SecretWorld) -> None:
    await world.keep()
    world.peer.say = lambda request, body: web.json_response({"echo": SECRET})
    execution_id = (await world.send(BEARER))["execution_id"]

    management = f"/workflow-management/executions/{execution_id}"
    told = []
    for path in (
        f"/workflows/executions/{execution_id}?include_metrics=true",
        f"/workflows/executions/{execution_id}/steps",
        f"/workflows/executions/{execution_id}/steps/send",
        f"/workflows/executions/{execution_id}/events",
        management,
        f"{management}/steps",
        "/workflow-management/executions",
        "/audit",
        f"/communities/{COMMUNITY}/secrets",
        f"/communities/{COMMUNITY}/secrets/{NAME}",
    ):
        answer = await world.api.call("GET", path, key=world.admin)
        assert answer.status == 200, path
        told.append(json.dumps(answer.body, ensure_ascii=False))
    text = "\n".join(told)
    assert NAME in text
    assert json.dumps(SECRET, ensure_ascii=False)[1:-1] not in text
    assert await world.leaks() == []


async def test_read_from_a_webhook_out(world: SecretWorld) -> None:
    await world.keep()
    world.peer.say = lambda request, body: web.json_response(
        {"echo": SECRET} if request.path == "/" else "heard"
    )
    hook = {
        "url": world.peer.url + "/hook",
        "events": ["execution.completed"],
        "community_id": COMMUNITY,
    }
    made = await world.api.call("POST", "/workflow-management/webhooks", hook, key=world.admin)
    assert made.status == 201, made.body
    await world.send(BEARER)

    told = "SELECT count(*) = 1 FROM webhook_deliveries WHERE status = 'delivered'"
    await until(lambda: world.dal.fetchval(told))
    assert world.peer.seen[-1].path == "/hook"
    assert forms(SECRET)[1].encode() not in world.peer.seen[-1].body
    assert await world.leaks() == []


async def test_read_by_another_node_from_the_answer(world: SecretWorld) -> None:
    await world.keep()
    world.peer.say = lambda request, body: web.json_response({"echo": SECRET})
    nodes = {
        "start": {"node_type": "trigger_command", "config": {"command": "!go"}},
        "send": {
            "node_type": "action_webhook",
            "config": {"url": world.peer.url, **BEARER, "output_variable": "answer"},
        },
        "tell": {
            "node_type": "action_chat_message",
            "config": {"message": "it is {{ answer.body.echo }}"},
        },
    }
    connections = [
        {"from_node_id": "start", "to_node_id": "send"},
        {"from_node_id": "send", "to_node_id": "tell"},
    ]
    state = await world.run(await world.api.stored(nodes=nodes, connections=connections))

    assert state["node_states"]["tell"]["input_data"]["message"] == "it is ***"
    assert await world.leaks() == []


async def test_read_by_a_dry_run(world: SecretWorld) -> None:
    await world.keep()
    workflow_id = await world.publish(BEARER)
    answer = await world.api.call(
        "POST", f"/workflows/{workflow_id}/test", {"community_id": COMMUNITY}
    )

    (_, send) = answer.data["trace"]
    assert send["would_send"]["headers"]["Authorization"] == "Bearer {{secrets.token}}"
    assert [line["level"] for line in send["logs"]] == ["info"]
    assert world.peer.seen == []
    assert await world.leaks() == []


async def test_a_dry_run_warns_of_a_secret_that_is_missing_or_may_not_go(
    world: SecretWorld,
) -> None:
    await world.keep(name="bound", hosts=("api.example.com",))
    config = {"headers": {"A": "{{ secrets.bound }}", "B": "{{ secrets.absent }}"}}
    workflow_id = await world.publish(config)
    answer = await world.api.call(
        "POST", f"/workflows/{workflow_id}/test", {"community_id": COMMUNITY}
    )

    warnings = [
        line["message"] for line in answer.data["trace"][1]["logs"] if line["level"] == "warning"
    ]
    assert "the community has no secret 'absent'" in warnings[0]
    assert "the secret 'bound' may not be sent to '127.0.0.1'" in warnings[1]
    assert answer.data["status"] == "completed"


@pytest.mark.parametrize("given", [{"secrets": "x"}, {"secrets": [{"name": "token"}]}])
async def test_a_dry_run_is_not_misled_by_an_input_of_that_name(
    world: SecretWorld, given: Any
) -> None:
    workflow_id = await world.publish({"headers": {"A": "{{ secrets.token }}", "B": "{{ nope }}"}})
    body = {"community_id": COMMUNITY, "metadata": {"payload": given}}
    answer = await world.api.call("POST", f"/workflows/{workflow_id}/test", body)

    assert answer.status == 200, answer.body
    assert answer.data["trace"][1]["error_type"] == "EXPRESSION_ERROR"


# Had by forging


@pytest.mark.parametrize(
    "text",
    [
        "{{secrets.token}}",
        "{{ secrets.token }}",
        "secret-0123456789abcdef0123456789abcdef-0-",
        '{"name": "token", "path": ["headers", "X-Text"], "offset": 0, "form": false}',
    ],
)
async def test_had_by_forging_a_place_in_the_callers_variables(
    world: SecretWorld, text: str
) -> None:
    await world.keep()
    config = {
        "headers": {"X-Text": "{{ text }}", "X-Token": "{{ text }}{{ secrets.token }}"},
        "body": {"text": "{{ text }}", "secrets": "{{ text }}"},
    }
    state = await world.send(config, text=text)

    assert state["status"] == "completed"
    (seen,) = world.peer.seen
    assert seen.headers["x-text"] == text
    assert seen.headers["x-token"] == text + SECRET
    assert json.loads(seen.body) == {"text": text, "secrets": text}
    assert await world.leaks() == []


async def test_had_by_setting_the_name(world: SecretWorld) -> None:
    await world.keep()
    workflow_id = await world.publish(BEARER)
    body = {"community_id": COMMUNITY, "variables": {"secrets": {"token": "mine"}}}
    answer = await world.api.call("POST", f"/workflows/{workflow_id}/execute", body)

    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    assert "'secrets' is reserved" in answer.body["message"]


@pytest.mark.parametrize(
    "expression",
    [
        "secrets",
        "secrets.token[0]",
        "secrets.token.upper()",
        "secrets.token == 'a'",
        "'a' if secrets.token else 'b'",
        "len(secrets.token)",
        "hash_sha256(secrets.token)",
        "default(secrets.token, '')",
        "has(secrets.token)",
        "[c for c in secrets.token]",
        "keys(secrets)",
        "secrets[name]",
        "{'a': secrets.token}",
        "json(secrets)",
        "secrets.token + ''",
    ],
)
async def test_read_by_an_expression_that_looks_into_it(
    world: SecretWorld, expression: str
) -> None:
    document = greeting()
    document["nodes"]["greet"] = {
        "node_type": "action_webhook",
        "config": {"url": world.peer.url, "headers": {"X": "{{ " + expression + " }}"}},
    }
    answer = await world.api.call("POST", "/workflows/validate", document)

    assert [each["code"] for each in answer.data["errors"]] == ["EXPRESSION_SYNTAX"]
    assert "a secret stands alone" in answer.data["errors"][0]["message"].lower()


MISPLACED: dict[str, dict[str, Any]] = {
    "the path of a URL": {
        "node_type": "action_webhook",
        "config": {"url": "https://example.com/{{ secrets.token }}"},
    },
    "the host of a URL": {
        "node_type": "action_webhook",
        "config": {"url": "https://{{ secrets.token }}.example.com/"},
    },
    "a message": {
        "node_type": "action_chat_message",
        "config": {"message": "{{ secrets.token }}"},
    },
    "a module": {
        "node_type": "action_module",
        "config": {"module_name": "m", "input": {"token": "{{ secrets.token }}"}},
    },
    "an overlay": {
        "node_type": "action_browser_source",
        "config": {"content": "{{ secrets.token }}"},
    },
    "a variable": {
        "node_type": "data_variable_set",
        "config": {"variables": {"mine": "{{ secrets.token }}"}},
    },
    "a transformation": {
        "node_type": "data_transform",
        "config": {"transformations": {"mine": "secrets.token"}},
    },
    "a condition": {"node_type": "condition_if", "config": {"condition": "secrets.token"}},
    "a rule": {
        "node_type": "condition_if",
        "config": {
            "condition": {"variable": "secrets.token", "operator": "starts_with", "value": "a"}
        },
    },
    "a template in a rule": {
        "node_type": "condition_if",
        "config": {
            "condition": {"left": "{{ secrets.token }}", "operator": "equals", "right": "a"}
        },
    },
    "a switch": {
        "node_type": "condition_switch",
        "config": {"value": "{{ secrets.token }}", "cases": {"a": "output"}},
    },
    "a loop": {"node_type": "loop_foreach", "config": {"items": "secrets.token"}},
    "an end": {"node_type": "flow_end", "config": {"output": "{{ secrets.token }}"}},
    "a child": {
        "node_type": "flow_subworkflow",
        "config": {"workflow_id": "{{ child }}", "variables": {"mine": "{{ secrets.token }}"}},
    },
}


@pytest.mark.parametrize("node", MISPLACED.values(), ids=MISPLACED)
async def test_read_by_a_node_that_passes_it_on(world: SecretWorld, node: dict[str, Any]) -> None:
    document = greeting()
    document["nodes"]["greet"] = node
    answer = await world.api.call("POST", "/workflows/validate", document)

    codes = [each["code"] for each in answer.data["errors"]]
    assert codes == ["SECRET_MISPLACED"], answer.data["errors"]
    refused = await world.api.call("POST", "/workflows?publish=true", document)
    assert (refused.status, refused.code) == (422, "INVALID_DEFINITION")


# Had where it may not go


async def test_had_by_another_communitys_secret_of_the_same_name(world: SecretWorld) -> None:
    await world.keep("the secret of another community", community=COMMUNITY + 1)
    state = await world.send(BEARER)

    assert (state["status"], state["error_code"]) == ("failed", "SECRET_NOT_FOUND")
    assert world.peer.seen == []


async def test_had_by_a_host_that_is_not_allowed(world: SecretWorld) -> None:
    await world.keep(hosts=("api.example.com", "127.0.0.2"))
    for url in (
        world.peer.url,
        world.peer.url.replace("http://", "http://api.example.com@"),
        world.peer.url + "/api.example.com",
        world.peer.url + "#api.example.com",
        world.peer.url.replace("127.0.0.1", "localhost"),
        "https://api.example.com.evil.example/",
        "http://api.example.com/",
    ):
        state = await world.send({"url": url, **BEARER})
        assert (state["status"], state["error_code"]) == ("failed", "SECRET_NOT_ALLOWED"), url
    assert world.peer.seen == []


async def test_had_by_a_url_that_the_caller_gives(world: SecretWorld) -> None:
    await world.keep(hosts=("api.example.com",))
    state = await world.send({"url": "{{ url }}", **BEARER}, url=world.peer.url)

    assert state["error_code"] == "SECRET_NOT_ALLOWED"
    assert world.peer.seen == []


async def test_had_by_the_host_that_a_redirect_leads_to(world: SecretWorld) -> None:
    await world.keep()
    async with listening("127.0.0.2") as thief:
        world.peer.say = lambda request, body: web.Response(
            status=307, headers={"Location": thief.url}
        )
        state = await world.send(BEARER)

        assert (state["status"], state["error_code"]) == ("failed", "HTTP_STATUS")
        assert (len(world.peer.seen), thief.seen) == (1, [])


async def test_had_by_the_host_that_a_header_names(world: SecretWorld) -> None:
    await world.keep()
    state = await world.send({"headers": {**BEARER["headers"], "host": "evil.example"}})

    assert state["error_code"] == "BAD_CONFIG"
    assert world.peer.seen == []


async def test_had_after_it_was_removed_or_changed(world: SecretWorld) -> None:
    await world.keep()
    workflow_id = await world.publish(BEARER)
    assert (await world.run(workflow_id))["status"] == "completed"

    await world.keep("the second value")
    assert (await world.run(workflow_id))["status"] == "completed"
    assert world.peer.seen[1].headers["authorization"] == "Bearer the second value"

    path = f"/communities/{COMMUNITY}/secrets/{NAME}"
    assert (await world.api.call("DELETE", path, key=world.admin)).status == 200
    assert (await world.run(workflow_id))["error_code"] == "SECRET_NOT_FOUND"
    assert len(world.peer.seen) == 2


# Had by writing to the database


@pytest.mark.parametrize(
    "change",
    [
        f"UPDATE community_secrets SET community_id = {COMMUNITY} "
        f"WHERE community_id <> {COMMUNITY}",
        "UPDATE community_secrets SET name = 'token', community_id = community_id "
        "WHERE name = 'other'",
        "UPDATE community_secrets SET allowed_hosts = '{127.0.0.1}'",
    ],
    ids=["moved to another community", "renamed", "let go to more hosts"],
)
async def test_had_by_a_row_that_was_changed(world: SecretWorld, change: str) -> None:
    hosts = ("api.example.com",) if "allowed_hosts" in change else ("127.0.0.1",)
    name = "other" if "name = 'other'" in change else NAME
    community = COMMUNITY + 1 if "<>" in change else COMMUNITY
    await world.keep(name=name, community=community, hosts=hosts)
    assert await world.dal.execute(change) == 1
    state = await world.send(BEARER)

    assert (state["status"], state["error_code"]) == ("failed", "SECRET_UNREADABLE")
    assert world.peer.seen == []


# Tried again


async def test_a_request_that_is_tried_again_carries_the_secret_again(world: SecretWorld) -> None:
    await world.keep()
    answers = [web.Response(status=503), web.json_response({"ok": True})]
    world.peer.say = lambda request, body: answers.pop(0)
    retry = {"max_attempts": 2, "initial_seconds": 0, "jitter": False}
    state = await world.run(await world.publish({**BEARER, "body": {"n": 1}}, retry=retry))

    assert state["status"] == "completed"
    assert [seen.headers["authorization"] for seen in world.peer.seen] == [f"Bearer {SECRET}"] * 2
    assert len({seen.headers["idempotency-key"] for seen in world.peer.seen}) == 1
    assert await world.leaks() == []


async def test_an_execution_that_is_run_again_carries_the_secret_again(world: SecretWorld) -> None:
    await world.keep()
    world.peer.say = lambda request, body: web.Response(status=400)
    failed = await world.send(BEARER)
    world.peer.say = lambda request, body: web.json_response({"ok": True})
    again = await world.api.call(
        "POST", f"/workflows/executions/{failed['execution_id']}/retry", {"from": "failed"}
    )
    await until(lambda: world.ended(again.data["execution_id"]))

    assert world.peer.seen[-1].headers["authorization"] == f"Bearer {SECRET}"
    assert await world.leaks() == []
