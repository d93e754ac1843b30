"""The command line: keys, migrations and metrics, beside a running service or without one.

Its one rule: a secret is printed once, to stdout and alone on its line, so that a script can take
it; everything else goes to stderr.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

import click

from engine.errors import WorkflowEngineException
from services.api_keys import GRACE_SECONDS, LONGEST_GRACE_SECONDS, ApiKeyService, NewKey
from services.caller import SCOPES
from services.errors import Refusal

T = TypeVar("T")

OpenKeys = Callable[[], AbstractAsyncContextManager[ApiKeyService]]
Migrate = Callable[[], Awaitable[list[str]]]
Rebuild = Callable[[], AsyncIterator[int]]
"""Corrects the metrics of one workflow after the other; gives how many figures were wrong."""


def add_commands(cli: click.Group, open_keys: OpenKeys, migrate: Migrate, rebuild: Rebuild) -> None:
    """Adds the groups `keys`, `db` and `metrics`."""
    cli.add_command(_keys(open_keys))
    cli.add_command(_db(migrate))
    cli.add_command(_metrics(rebuild))


def _keys(open_keys: OpenKeys) -> click.Group:
    group = click.Group("keys", help="API keys: create, list, rotate, revoke.")
    group.add_command(_create(open_keys))
    group.add_command(_list(open_keys))
    group.add_command(_rotate(open_keys))
    group.add_command(_revoke(open_keys))
    return group


def _create(open_keys: OpenKeys) -> click.Command:
    @click.command("create")
    @click.option("--user", type=int, required=True, help="Whose key it is.")
    @click.option("--community", type=int, help="The only community it is good for.")
    @click.option(
        "--scope", "scopes", multiple=True, required=True, type=click.Choice(sorted(SCOPES))
    )
    @click.option("--kind", type=click.Choice(["user", "service"]), default="user")
    @click.option("--name", default="made on the command line", show_default=True)
    @click.option("--expires-days", type=click.IntRange(1, 36_500))
    def create(
        user: int,
        community: int | None,
        scopes: tuple[str, ...],
        kind: str,
        name: str,
        expires_days: int | None,
    ) -> None:
        """Makes a key and prints it, once."""
        new = NewKey(
            user_id=user,
            community_id=community,
            scopes=scopes,
            kind=kind,
            name=name,
            expires_days=expires_days,
        )

        async def run() -> None:
            async with open_keys() as keys:
                made = await keys.create(new)
            click.echo(f"Key {made.key_id}; it is shown this once:", err=True)
            click.echo(made.secret)

        _run(run())

    return create


def _list(open_keys: OpenKeys) -> click.Command:
    @click.command("list")
    def show() -> None:
        """Lists the keys, without their secrets."""

        async def run() -> None:
            async with open_keys() as keys:
                for key in await keys.list():
                    became = keys.state_of(key)
                    state = key.kind if became == "active" else became
                    community = "-" if key.community_id is None else key.community_id
                    used = "never used"
                    if key.last_used_at is not None:
                        used = f"used {key.last_used_at:%Y-%m-%d %H:%M}"
                    click.echo(
                        f"{key.key_id}  {key.prefix}…  {state}  user={key.user_id}  "
                        f"community={community}  {','.join(key.scopes)}  {used}  {key.name}"
                    )

        _run(run())

    return show


def _rotate(open_keys: OpenKeys) -> click.Command:
    @click.command("rotate")
    @click.argument("key_id", type=click.UUID)
    @click.option(
        "--grace-seconds",
        type=click.IntRange(0, LONGEST_GRACE_SECONDS),
        default=GRACE_SECONDS,
        show_default=True,
        help="For how long the old key works beside the new one.",
    )
    def rotate(key_id: object, grace_seconds: int) -> None:
        """Replaces a key by one with the same rights and prints it, once."""

        async def run() -> None:
            async with open_keys() as keys:
                done = await keys.rotate(str(key_id), grace_seconds=grace_seconds)
            ends = f"{done.old.expires_at:%Y-%m-%d %H:%M:%S} UTC"
            click.echo(f"Key {done.old.key_id} ends at {ends}.", err=True)
            click.echo(f"Key {done.made.key_id}; it is shown this once:", err=True)
            click.echo(done.secret)

        _run(run())

    return rotate


def _revoke(open_keys: OpenKeys) -> click.Command:
    @click.command("revoke")
    @click.argument("key_id", type=click.UUID)
    def revoke(key_id: object) -> None:
        """Ends a key's life, within a second in every process."""

        async def run() -> None:
            async with open_keys() as keys:
                await keys.revoke(str(key_id))
            click.echo(f"Key {key_id} is revoked.", err=True)

        _run(run())

    return revoke


def _db(migrate: Migrate) -> click.Group:
    group = click.Group("db", help="The database: migrate.")

    @group.command("migrate")
    def run_migrations() -> None:
        """Brings the database to this code's schema."""

        async def run() -> None:
            applied = await migrate()
            click.echo(f"Applied: {', '.join(applied)}" if applied else "Nothing to do.", err=True)

        _run(run())

    return group


def _metrics(rebuild: Rebuild) -> click.Group:
    group = click.Group("metrics", help="Metrics of what has ended: rebuild.")

    @group.command("rebuild")
    def run_rebuild() -> None:
        """Counts what has ended anew, from the executions that there are, and corrects the
        metrics by it. The service may run meanwhile."""

        async def run() -> None:
            corrections = [corrected async for corrected in rebuild()]
            click.echo(
                f"Workflows: {len(corrections)}. Roll-ups corrected: {sum(corrections)}.", err=True
            )

        _run(run())

    return group


def _run(work: Awaitable[None]) -> None:
    """Runs a command; what the user can mend is a message, not a traceback."""

    async def main() -> None:
        await work

    try:
        asyncio.run(main())
    except (Refusal, WorkflowEngineException, ValueError, RuntimeError) as error:
        raise click.ClickException(str(error)) from None
