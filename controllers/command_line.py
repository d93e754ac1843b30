"""What all commands of the command line have in common.

Its one rule: what the user can mend is a message, not a traceback.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import click

from controllers.schemas import MAX_ID
from engine.errors import WorkflowEngineException
from services.errors import Refusal
from services.operating import Operating

OpenOperating = Callable[[], AbstractAsyncContextManager[Operating]]


class _Id(click.IntRange):
    name = "whole number"


ID = _Id(0, MAX_ID)
COMMUNITY = click.option("--community", type=ID, required=True)


def run_command(work: Awaitable[None]) -> None:
    """Runs a command to its end."""

    async def main() -> None:
        await work

    try:
        asyncio.run(main())
    except (Refusal, WorkflowEngineException, ValueError, RuntimeError, OSError) as error:
        raise click.ClickException(str(error)) from None
