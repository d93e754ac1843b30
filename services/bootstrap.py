"""The first start of an embedded database: a key to come in with, and examples to look at.

Its one rule: only where there is nothing yet. Where a key was ever made no other is made, and
examples are loaded into an empty table only, so what was deleted stays deleted.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

import orjson

from engine.context import JsonObject
from models.dal import AsyncDAL
from models.migrate import first_start
from models.workflows import WorkflowFilter
from services.api_keys import ApiKeyService, NewKey, new_secret
from services.caller import ADMIN, Caller
from services.errors import DefinitionsTooLarge, TooManyWorkflows
from services.workflow_service import WorkflowService

FIRST_USER = 1
KEY_FILE = "api-key"
_SHOWN_EXAMPLES = 50

OPERATOR = Caller(user_id=FIRST_USER, community_id=None, scopes=frozenset({ADMIN}))
"""Who owns the examples: whoever runs the embedded database."""


@dataclass(frozen=True, slots=True)
class Example:
    """An example in the database: what to execute it with comes from its file."""

    workflow_id: str
    name: str
    community_id: int
    request: JsonObject


async def make_first_key(keys: ApiKeyService, data_dir: Path) -> str | None:
    """Makes the first admin key and writes it to `data_dir/api-key`, readable by its owner only;
    None if there has been a key before.

    The file comes first: a crash in between leaves no key, and the next start makes another.
    """
    if await keys.any():
        return None
    secret = new_secret()
    _write_private(data_dir / KEY_FILE, secret + "\n")
    await keys.create(
        NewKey(user_id=FIRST_USER, name="first admin key", scopes=[ADMIN]), secret=secret
    )
    return secret


async def load_examples(workflows: WorkflowService, directory: Path) -> list[Example]:
    """Publishes every example, if there are no workflows at all, and returns those that are
    there by name."""
    documents = await asyncio.to_thread(_read, directory)
    everything = WorkflowFilter(status=("draft", "active", "archived"))
    present = await workflows.page(OPERATOR, everything, limit=_SHOWN_EXAMPLES)
    rows = present.rows
    if not rows:
        for example in documents.values():
            try:
                rows.append(await workflows.create(OPERATOR, example["workflow"], publish=True))
            except (TooManyWorkflows, DefinitionsTooLarge):
                break  # the operator's quota has room for no more
    return [
        Example(
            row.workflow_id,
            row.name,
            row.community_id,
            _request(documents[row.name], row.community_id),
        )
        for row in sorted(rows, key=lambda row: row.name)
        if row.name in documents and row.status == "active"
    ]


def _read(directory: Path) -> dict[str, JsonObject]:
    """The example files, by the name of their workflow."""
    found = [orjson.loads(file.read_bytes()) for file in sorted(directory.glob("*.json"))]
    return {example["workflow"]["name"]: example for example in found}


def _request(example: JsonObject, community_id: int) -> JsonObject:
    return {"community_id": community_id, **example.get("request", {})}


def _write_private(path: Path, text: str) -> None:
    """Replaces a file by one that only its owner can read, whatever it was before."""
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
    draft.replace(path)


async def furnish(
    dal: AsyncDAL, keys: ApiKeyService, workflows: WorkflowService, home: Path, examples: Path
) -> tuple[str | None, list[Example]]:
    """What a service on an embedded database begins with: the first key, if it was made just now
    (it is kept in `home`), and the workflows of the directory `examples`."""
    async with first_start(dal):
        return await make_first_key(keys, home), await load_examples(workflows, examples)
