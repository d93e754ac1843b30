"""The command line, beside a running service or without one: all groups, and here those for keys,
migrations and metrics.

Its one rule: a secret is printed once, to stdout and alone on its line, so that a script can take
it; everything else goes to stderr.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing

import click

from controllers.audit_commands import audit_commands
from controllers.command_line import ID, OpenOperating, run_command
from controllers.member_commands import member_commands
from controllers.secret_commands import secret_commands
from services.api_keys import GRACE_SECONDS, LONGEST_GRACE_SECONDS, NewKey
from services.caller import SCOPES

Migrate = Callable[[], Awaitable[list[str]]]


def add_commands(cli: click.Group, open_operating: OpenOperating, migrate: Migrate) -> None:
    """Adds the groups `keys`, `members`, `secrets`, `audit`, `db` and `metrics`."""
    cli.add_command(_keys(open_operating))
    cli.add_command(member_commands(open_operating))
    cli.add_command(secret_commands(open_operating))
    cli.add_command(audit_commands(open_operating))
    cli.add_command(_db(migrate))
    cli.add_command(_metrics(open_operating))


def _keys(open_operating: OpenOperating) -> click.Group:
    group = click.Group("keys", help="API keys: create, list, rotate, revoke.")
    group.add_command(_create(open_operating))
    group.add_command(_list(open_operating))
    group.add_command(_rotate(open_operating))
    group.add_command(_revoke(open_operating))
    return group


def _create(open_operating: OpenOperating) -> click.Command:
    @click.command("create")
    @click.option("--user", type=ID, required=True, help="Whose key it is.")
    @click.option("--community", type=ID, help="The only community it is good for.")
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
            async with open_operating() as operating:
                made = await operating.keys.create(new)
                await operating.note(
                    "create_api_key",
                    community_id=community,
                    target=made.key_id,
                    for_user=user,
                    scopes=",".join(sorted(set(scopes))),
                )
            click.echo(f"Key {made.key_id}; it is shown this once:", err=True)
            click.echo(made.secret)

        run_command(run())

    return create


def _list(open_operating: OpenOperating) -> click.Command:
    @click.command("list")
    def show() -> None:
        """Lists the keys, without their secrets."""

        async def run() -> None:
            async with open_operating() as operating:
                for key in await operating.keys.list():
                    became = operating.keys.state_of(key)
                    state = key.kind if became == "active" else became
                    community = "-" if key.community_id is None else key.community_id
                    used = "never used"
                    if key.last_used_at is not None:
                        used = f"used {key.last_used_at:%Y-%m-%d %H:%M}"
                    click.echo(
                        f"{key.key_id}  {key.prefix}…  {state}  user={key.user_id}  "
                        f"community={community}  {','.join(key.scopes)}  {used}  {key.name}"
                    )

        run_command(run())

    return show


def _rotate(open_operating: OpenOperating) -> click.Command:
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
            async with open_operating() as operating:
                done = await operating.keys.rotate(str(key_id), grace_seconds=grace_seconds)
                await operating.note(
                    "rotate_api_key",
                    community_id=done.made.community_id,
                    target=str(key_id),
                    successor=done.made.key_id,
                )
            ends = f"{done.old.expires_at:%Y-%m-%d %H:%M:%S} UTC"
            click.echo(f"Key {done.old.key_id} ends at {ends}.", err=True)
            click.echo(f"Key {done.made.key_id}; it is shown this once:", err=True)
            click.echo(done.secret)

        run_command(run())

    return rotate


def _revoke(open_operating: OpenOperating) -> click.Command:
    @click.command("revoke")
    @click.argument("key_id", type=click.UUID)
    def revoke(key_id: object) -> None:
        """Ends a key's life, within a second in every process."""

        async def run() -> None:
            async with open_operating() as operating:
                key = await operating.keys.revoke(str(key_id))
                await operating.note(
                    "revoke_api_key", community_id=key.community_id, target=str(key_id)
                )
            click.echo(f"Key {key_id} is revoked.", err=True)

        run_command(run())

    return revoke


def _db(migrate: Migrate) -> click.Group:
    group = click.Group("db", help="The database: migrate.")

    @group.command("migrate")
    def run_migrations() -> None:
        """Brings the database to this code's schema."""

        async def run() -> None:
            applied = await migrate()
            click.echo(f"Applied: {', '.join(applied)}" if applied else "Nothing to do.", err=True)

        run_command(run())

    return group


def _metrics(open_operating: OpenOperating) -> click.Group:
    group = click.Group("metrics", help="Metrics of what has ended: rebuild.")

    @group.command("rebuild")
    def run_rebuild() -> None:
        """Counts what has ended anew, from the executions that there are, and corrects the
        metrics by it, and how much room each community's executions take. The service may run
        meanwhile."""

        async def run() -> None:
            async with (
                open_operating() as operating,
                aclosing(operating.rollups.rebuild()) as wrong,
                aclosing(operating.stored_bytes.measure()) as batches,
            ):
                corrections = [corrected async for corrected in wrong]
                measured = sum([number async for number in batches])
                recounted = await operating.stored_bytes.recount()
                await operating.note(
                    "rebuild_metrics",
                    workflows=len(corrections),
                    corrected=sum(corrections),
                    measured=measured,
                    communities=recounted,
                )
            click.echo(
                f"Workflows: {len(corrections)}. Roll-ups corrected: {sum(corrections)}. "
                f"Executions measured: {measured}. Communities recounted: {recounted}.",
                err=True,
            )

        run_command(run())

    return group
