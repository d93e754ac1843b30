"""The first start: one key, the examples, and a text whose lines work."""

from __future__ import annotations

import shlex
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner

from app import create_app
from config import Config
from engine.context import Limits
from models.api_keys import ApiKeys
from models.dal import AsyncDAL
from models.permissions import Permissions
from models.secrets import Secrets
from models.workflows import Workflows
from services.api_keys import ApiKeyService
from services.bootstrap import OPERATOR, Example, load_examples, make_first_key
from services.clock import SystemClock, new_id
from services.cursors import Cursors
from services.permission_service import PermissionService
from services.welcome import welcome
from services.workflow_service import WorkflowService

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def _joined(text: str) -> list[str]:
    """The lines as a shell reads them."""
    return text.replace("\\\n", "").strip().splitlines()


@pytest.fixture
def keys(dal: AsyncDAL) -> ApiKeyService:
    return ApiKeyService(ApiKeys(dal), now=SystemClock().now, new_id=new_id)


@pytest.fixture
def workflows(dal: AsyncDAL) -> WorkflowService:
    stored = Workflows(dal)
    permissions = PermissionService(Permissions(dal), stored)
    cursors = Cursors(Secrets(dal), None)
    return WorkflowService(stored, permissions, cursors, Limits(), new_id=new_id)


async def test_the_first_key_is_an_admins_in_a_private_file(
    keys: ApiKeyService, tmp_path: Path
) -> None:
    (tmp_path / "api-key").write_text("from a database that is gone")
    secret = await make_first_key(keys, tmp_path)
    assert secret is not None
    file = tmp_path / "api-key"
    assert file.read_text() == secret + "\n"
    assert file.stat().st_mode & 0o777 == 0o600
    key = await keys.resolve(secret)
    assert key is not None
    assert (key.scopes, key.community_id) == (("admin",), None)


async def test_there_is_one_first_key_only(keys: ApiKeyService, tmp_path: Path) -> None:
    await make_first_key(keys, tmp_path)
    (tmp_path / "api-key").unlink()
    assert await make_first_key(keys, tmp_path) is None
    assert not (tmp_path / "api-key").exists()


async def test_every_example_is_published_once(workflows: WorkflowService) -> None:
    loaded = await load_examples(workflows, EXAMPLES)
    assert len(loaded) == len(list(EXAMPLES.glob("*.json"))) >= 8
    again = await load_examples(workflows, EXAMPLES)
    assert [one.workflow_id for one in again] == [one.workflow_id for one in loaded]


async def test_an_example_that_was_archived_does_not_come_back(workflows: WorkflowService) -> None:
    loaded = await load_examples(workflows, EXAMPLES)
    await workflows.archive(OPERATOR, loaded[0].workflow_id)
    again = await load_examples(workflows, EXAMPLES)
    assert loaded[0].name not in [one.name for one in again]


def test_the_welcome_names_no_key_file_that_is_gone(tmp_path: Path) -> None:
    text = welcome("127.0.0.1", 8070, tmp_path / "api-key", [Example("0198", "Greet", 1, {})], None)
    assert "Your admin API key is in" not in text
    assert "cat " not in text
    [line] = [line for line in text.splitlines() if line.startswith("  ")]
    made = CliRunner().invoke(create_app(Config()).cli, [*shlex.split(line)[3:], "--help"])
    assert made.exit_code == 0


def test_the_welcome_can_be_pasted_into_a_shell(tmp_path: Path) -> None:
    request = {"community_id": 1, "variables": {"name": "O'Neill $HOME `x`"}}
    example = Example("0198", "Greet", 1, request)
    key_file = tmp_path / "a b" / "api-key"
    key_file.parent.mkdir()
    key_file.touch()
    text = welcome("0.0.0.0", 8070, key_file, [example], "wa-1")
    lines = [line.strip() for line in _joined(text.split("Try:")[1])]
    words = [shlex.split(line) for line in lines]
    assert words[0] == ["KEY=$(cat", f"{key_file})"]
    body = words[2][words[2].index("-d") + 1]
    assert orjson.loads(body) == request
    assert "http://127.0.0.1:8070/api/v1/workflows/0198/execute?wait=10" in text
    assert "wa-1" in text
