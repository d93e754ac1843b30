"""The command line: the secrets of communities.

Its one rule: a value is read from stdin, where neither the list of processes nor the shell's
history shows it, and is never printed.
"""

from __future__ import annotations

import sys

import click

from controllers.command_line import COMMUNITY, OpenOperating, run_command
from services.bootstrap import OPERATOR
from services.community_secrets import MOST_SECRETS, Secret


def secret_commands(open_operating: OpenOperating) -> click.Group:
    """The group `secrets`."""
    group = click.Group("secrets", help="The secrets of communities: set, list, remove, rotate.")
    group.add_command(_set(open_operating))
    group.add_command(_list(open_operating))
    group.add_command(_remove(open_operating))
    group.add_command(_rotate(open_operating))
    return group


def _set(open_operating: OpenOperating) -> click.Command:
    @click.command("set")
    @click.argument("name")
    @COMMUNITY
    @click.option(
        "--host", "hosts", multiple=True, required=True, help="Where it may be sent; repeatable."
    )
    def set_secret(name: str, community: int, hosts: tuple[str, ...]) -> None:
        """Makes a secret or gives it another value, which is read from stdin."""
        value = sys.stdin.read().removesuffix("\n")

        async def run() -> None:
            async with open_operating() as operating:
                secret = await operating.secrets.set(
                    OPERATOR, community, name, value=value, allowed_hosts=list(hosts)
                )
                await operating.note(
                    "set_secret",
                    community_id=community,
                    target=f"secrets.{name}",
                    allowed_hosts=",".join(secret.allowed_hosts),
                )
            click.echo(_line(secret))

        run_command(run())

    return set_secret


def _list(open_operating: OpenOperating) -> click.Command:
    @click.command("list")
    @COMMUNITY
    def show(community: int) -> None:
        """Lists a community's secrets and where they may be sent."""

        async def run() -> None:
            async with open_operating() as operating:
                page = await operating.secrets.page(OPERATOR, community, limit=MOST_SECRETS)
                for secret in page.rows:
                    click.echo(_line(secret))
                if not page.rows:
                    click.echo("There are no secrets.", err=True)

        run_command(run())

    return show


def _remove(open_operating: OpenOperating) -> click.Command:
    @click.command("remove")
    @click.argument("name")
    @COMMUNITY
    def remove(name: str, community: int) -> None:
        """Removes a secret: the next request that would carry it fails."""

        async def run() -> None:
            async with open_operating() as operating:
                secret = await operating.secrets.remove(OPERATOR, community, name)
                await operating.note(
                    "remove_secret", community_id=community, target=f"secrets.{name}"
                )
            click.echo(f"Removed: {_line(secret)}", err=True)

        run_command(run())

    return remove


def _rotate(open_operating: OpenOperating) -> click.Command:
    @click.command("rotate")
    def rotate() -> None:
        """Encrypts all secrets with the first key of SECRETS_KEY. The service may run meanwhile."""

        async def run() -> None:
            async with open_operating() as operating:
                done = await operating.secrets.rotate()
                await operating.note(
                    "rotate_secrets", moved=done.moved, unreadable=len(done.unreadable)
                )
            click.echo(f"Secrets encrypted anew: {done.moved}.", err=True)
            for community, name in done.unreadable:
                click.echo(f"Under no key of SECRETS_KEY: community={community}  {name}", err=True)
            if done.unreadable:
                raise RuntimeError(
                    "Some secrets cannot be decrypted; set them anew or remove them."
                )

        run_command(run())

    return rotate


def _line(secret: Secret) -> str:
    hosts = ",".join(secret.allowed_hosts)
    state = "" if secret.usable else "  (under no key of SECRETS_KEY)"
    return f"community={secret.community_id}  {secret.name}  {hosts}{state}"
