"""Who may do what: every route of the service, and what every kind of caller gets from it.

Written by hand, from the contract. A new route needs a row here, or a test fails. The columns are

    owner    created the workflow
    view, edit, exec, del, mng
             was granted this one permission and nothing else
    memb     is of the same community, and was granted nothing
    trig     the same, but has triggered the execution
    othr     is of another community, by a credential that is bound to it
    outs     is of no community, by a credential that is bound to none
    adm      is an admin of the community
    adm2     is an admin of another community
    adm*     is an admin of all of them

and a letter says what they get:

    +   what they ask for: the row's status; of a list, one with the row's thing in it
    o   a list without it
    b   what they ask for, done blindly: the answer has nothing of the definition
    -   403 PERMISSION_DENIED
    x   404, as if there were no such thing
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

COLUMNS = tuple(
    "owner view edit exec del mng memb trig othr outs adm adm2 adm*".split()  # noqa: SIM905 - as below
)

#  owner view edit exec del mng memb trig othr outs adm adm2 adm*: scopes, what is in the list, way
TABLE = """
  201 POST   /workflows
  +    +    +    +    +    +    +    +    -    -    +    -    +  workflows:write
  200 GET    /workflows
  +    +    o    o    o    o    o    o    o    o    +    o    +  workflows:read lists workflow
  200 GET    /workflows/<workflow_id>
  +    +    -    -    -    -    -    -    x    x    +    x    +  workflows:read
  200 PUT    /workflows/<workflow_id>
  +    -    b    -    -    -    -    -    x    x    +    x    +  workflows:write shows definition
  200 DELETE /workflows/<workflow_id>
  +    -    -    -    b    -    -    -    x    x    +    x    +  workflows:write shows definition
  200 POST   /workflows/<workflow_id>/publish
  +    -    b    -    -    -    -    -    x    x    +    x    +  workflows:write shows definition
  200 GET    /workflows/<workflow_id>/versions
  +    +    -    -    -    -    -    -    x    x    +    x    +  workflows:read
  200 GET    /workflows/<workflow_id>/versions/<number>
  +    +    -    -    -    -    -    -    x    x    +    x    +  workflows:read
  200 POST   /workflows/<workflow_id>/validate
  +    +    -    -    -    -    -    -    x    x    +    x    +  workflows:read
  200 POST   /workflows/validate
  +    +    +    +    +    +    +    +    +    +    +    +    +  any
  200 GET    /workflows/<workflow_id>/permissions
  +    -    -    -    -    +    -    -    x    x    +    x    +  workflows:read
  200 PUT    /workflows/<workflow_id>/permissions
  +    -    -    -    -    +    -    -    x    x    +    x    +  workflows:write
  200 DELETE /workflows/<workflow_id>/permissions
  +    -    -    -    -    +    -    -    x    x    +    x    +  workflows:write

  202 POST   /workflows/<workflow_id>/execute
  +    -    -    +    -    -    -    -    x    x    +    x    +  executions:execute
  202 POST   /workflows/<workflow_id>/execute/batch
  +    -    -    +    -    -    -    -    x    x    +    x    +  executions:execute
  200 POST   /workflows/<workflow_id>/test
  +    -    -    +    -    -    -    -    x    x    +    x    +  executions:execute
  200 GET    /workflows/<workflow_id>/executions
  +    +    -    -    -    -    -    -    x    x    +    x    +  executions:read lists execution
  200 GET    /workflows/executions/<execution_id>
  +    +    -    -    -    -    -    +    x    x    +    x    +  executions:read
  200 GET    /workflows/executions/<execution_id>/steps
  +    +    -    -    -    -    -    +    x    x    +    x    +  executions:read
  200 GET    /workflows/executions/<execution_id>/steps/<step:step_key>
  +    +    -    -    -    -    -    +    x    x    +    x    +  executions:read
  200 GET    /workflows/executions/<execution_id>/events
  +    +    -    -    -    -    -    +    x    x    +    x    +  executions:read streams
  200 POST   /workflows/executions/<execution_id>/cancel
  +    -    +    -    -    -    -    +    x    x    +    x    +  executions:cancel
  202 POST   /workflows/executions/<execution_id>/pause
  +    -    +    -    -    -    -    +    x    x    +    x    +  executions:cancel
  202 POST   /workflows/executions/<execution_id>/resume
  +    -    +    -    -    -    -    +    x    x    +    x    +  executions:execute
  202 POST   /workflows/executions/<execution_id>/signals/<name>
  +    -    +    -    -    -    -    +    x    x    +    x    +  executions:execute
  202 POST   /workflows/executions/<execution_id>/retry
  +    -    +    -    -    -    -    -    x    x    +    x    +  executions:execute

  200 GET    /workflow-management/executions
  +    +    o    o    o    o    o    +    o    o    +    o    +  executions:read lists execution
  200 GET    /workflow-management/executions/<execution_id>
  +    +    -    -    -    -    -    +    x    x    +    x    +  executions:read
  200 GET    /workflow-management/executions/<execution_id>/steps
  +    +    -    -    -    -    -    +    x    x    +    x    +  executions:read
  200 GET    /workflow-management/executions/<execution_id>/steps/<step:step_key>
  +    +    -    -    -    -    -    +    x    x    +    x    +  executions:read
  200 GET    /workflow-management/executions/stream
  +    +    +    +    +    +    +    +    +    +    +    +    +  executions:read streams
  101 GET    /workflow-management/executions/ws
  +    +    -    -    -    -    -    -    x    x    +    x    +  executions:read socket
  200 GET    /workflow-management/metrics
  +    +    -    -    -    -    -    -    x    x    +    x    +  executions:read

  201 POST   /workflow-management/webhooks
  +    -    -    -    -    -    -    -    x    x    +    x    +  workflows:write and executions:read
  200 GET    /workflow-management/webhooks
  +    o    o    o    o    o    o    o    o    o    +    o    +  executions:read lists webhook
  200 GET    /workflow-management/webhooks/<webhook_id>
  +    -    -    -    -    -    -    -    x    x    +    x    +  executions:read
  200 PUT    /workflow-management/webhooks/<webhook_id>
  +    -    -    -    -    -    -    -    x    x    +    x    +  workflows:write and executions:read
  200 DELETE /workflow-management/webhooks/<webhook_id>
  +    -    -    -    -    -    -    -    x    x    +    x    +  workflows:write
  200 POST   /workflow-management/webhooks/<webhook_id>/rotate-secret
  +    -    -    -    -    -    -    -    x    x    +    x    +  workflows:write and executions:read
  200 GET    /workflow-management/webhooks/<webhook_id>/deliveries
  +    -    -    -    -    -    -    -    x    x    +    x    +  executions:read
  202 POST   /workflow-management/webhooks/<webhook_id>/deliveries/<delivery_id>/replay
  +    -    -    -    -    -    -    -    x    x    +    x    +  workflows:write
  202 POST   /workflow-management/deliveries/<delivery_id>/replay
  +    -    -    -    -    -    -    -    x    x    +    x    +  workflows:write
  201 POST   /workflow-management/alerts
  +    -    -    -    -    -    -    -    x    x    +    x    +  workflows:write and executions:read
  200 GET    /workflow-management/alerts
  +    o    o    o    o    o    o    o    o    o    +    o    +  executions:read lists alert
  200 GET    /workflow-management/alerts/<alert_id>
  +    -    -    -    -    -    -    -    x    x    +    x    +  executions:read
  200 PUT    /workflow-management/alerts/<alert_id>
  +    -    -    -    -    -    -    -    x    x    +    x    +  workflows:write and executions:read
  200 DELETE /workflow-management/alerts/<alert_id>
  +    -    -    -    -    -    -    -    x    x    +    x    +  workflows:write
  200 GET    /workflow-management/alerts/<alert_id>/history
  +    -    -    -    -    -    -    -    x    x    +    x    +  executions:read

  200 GET    /communities/<community_id>/members
  -    -    -    -    -    -    -    -    -    -    +    x    +  admin lists member
  200 GET    /communities/<community_id>/members/<user_id>
  -    -    -    -    -    -    -    -    -    -    +    x    +  admin
  200 PUT    /communities/<community_id>/members/<user_id>
  -    -    -    -    -    -    -    -    -    -    +    x    +  admin
  200 DELETE /communities/<community_id>/members/<user_id>
  -    -    -    -    -    -    -    -    -    -    +    x    +  admin
  200 GET    /communities/<community_id>/secrets
  -    -    -    -    -    -    -    -    -    -    +    x    +  admin lists secret
  200 GET    /communities/<community_id>/secrets/<secret_name>
  -    -    -    -    -    -    -    -    -    -    +    x    +  admin
  200 PUT    /communities/<community_id>/secrets/<secret_name>
  -    -    -    -    -    -    -    -    -    -    +    x    +  admin
  200 DELETE /communities/<community_id>/secrets/<secret_name>
  -    -    -    -    -    -    -    -    -    -    +    x    +  admin
  201 POST   /api-keys
  -    -    -    -    -    -    -    -    -    -    +    +    +  admin
  200 GET    /api-keys
  -    -    -    -    -    -    -    -    -    -    +    o    +  admin lists key
  200 GET    /api-keys/<key_id>
  -    -    -    -    -    -    -    -    -    -    +    x    +  admin
  200 DELETE /api-keys/<key_id>
  -    -    -    -    -    -    -    -    -    -    +    x    +  admin
  201 POST   /api-keys/<key_id>/rotate
  -    -    -    -    -    -    -    -    -    -    +    x    +  admin
  200 GET    /audit
  -    -    -    -    -    -    -    -    -    -    +    o    +  admin lists event
  200 GET    /status
  +    +    +    +    +    +    +    +    +    +    +    +    +  any
"""

PUBLIC = """
GET /health
GET /healthz
GET /metrics
GET /openapi.json
GET /docs
GET /docs/setup.js
GET /docs/swagger-ui.css
GET /docs/swagger-ui-bundle.js
"""
"""What everybody may ask, without a credential."""

BODIES: dict[str, Any] = {
    "POST /workflows": "a workflow",
    "PUT /workflows/<workflow_id>": {"description": "changed"},
    "POST /workflows/<workflow_id>/validate": {"description": "changed"},
    "POST /workflows/validate": "a workflow",
    "PUT /workflows/<workflow_id>/permissions": {
        "permission_type": "user",
        "target_id": 7,
        "can_view": True,
    },
    "DELETE /workflows/<workflow_id>/permissions": {"permission_type": "user", "target_id": 8},
    "POST /workflows/<workflow_id>/execute": {"community_id": "here"},
    "POST /workflows/<workflow_id>/execute/batch": {"items": [{"community_id": "here"}]},
    "POST /workflows/<workflow_id>/test": {
        "community_id": "here",
        "signals": {"go": None},
    },
    "POST /workflow-management/webhooks": {
        "url": "https://example.org/hook",
        "events": ["execution.failed"],
        "community_id": "here",
        "workflow_id": "<workflow_id>",
    },
    "PUT /workflow-management/webhooks/<webhook_id>": {"enabled": True},
    "POST /workflow-management/webhooks/<webhook_id>/rotate-secret": {},
    "POST /workflow-management/alerts": {
        "community_id": "here",
        "workflow_id": "<workflow_id>",
        "condition": {"metric": "failures", "threshold": 1, "window_seconds": 60},
        "notify": [],
    },
    "PUT /workflow-management/alerts/<alert_id>": {"enabled": True},
    "POST /api-keys": {"name": "made", "scopes": ["workflows:read"]},
    "POST /api-keys/<key_id>/rotate": {"grace_seconds": 0},
    "PUT /communities/<community_id>/members/<user_id>": {"roles": ["mod"]},
    "PUT /communities/<community_id>/secrets/<secret_name>": {
        "value": "what nobody sees",
        "allowed_hosts": ["example.org"],
    },
    "GET /workflow-management/executions/ws": {"workflow_id": "<workflow_id>"},
}
"""What is sent, where something is. `here` is the workflow's community."""

QUERIES = {
    "GET /workflow-management/metrics": "workflow_id=<workflow_id>",
    "GET /audit": "action=marked",
    "GET /api-keys": "user_id=<user_id>",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One route. `scopes` are those it takes; `lists` is the thing that its list has or has not;
    `shows` says that its answer has the workflow's definition for who may read it."""

    status: int
    method: str
    path: str
    scopes: frozenset[str]
    gets: dict[str, str] = field(repr=False)
    way: str = ""
    lists: str = ""
    shows: bool = False

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


def rows() -> list[Row]:
    """The table, read."""
    lines = [line.split() for line in TABLE.splitlines() if line.strip()]
    return [_row(*pair) for pair in zip(lines[::2], lines[1::2], strict=True)]


def public() -> set[str]:
    """The routes that need no credential."""
    return {line for line in PUBLIC.splitlines() if line}


def _row(head: list[str], line: list[str]) -> Row:
    status, method, path = head
    letters, (scope, *more) = line[: len(COLUMNS)], line[len(COLUMNS) :]
    scopes = {scope} - {"any"}
    way = lists = ""
    shows = more == ["shows", "definition"]
    match more:
        case ["and", other]:
            scopes.add(other)
        case ["lists", lists]:
            pass
        case [way]:
            pass
        case [] | ["shows", "definition"]:
            pass
        case _:
            raise ValueError(f"{path}: {more}")
    gets = dict(zip(COLUMNS, letters, strict=True))
    return Row(int(status), method, path, frozenset(scopes), gets, way, lists, shows)
