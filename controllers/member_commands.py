"""The command line: the members of communities.

Its one rule: what is changed here is in the audit log like what is changed over HTTP.
"""

from __future__ import annotations

import click

from controllers.command_line import COMMUNITY, ID, OpenOperating, run_command
from controllers.member_schemas import role_name
from services.bootstrap import OPERATOR
from services.members import EVERYDAY_ROLE, Member

_PAGE = 100


_USER = click.option("--user", type=ID, required=True)


def member_commands(open_operating: OpenOperating) -> click.Group:
    """The group `members`."""
    group = click.Group("members", help="The members of communities: add, list, remove.")
    group.add_command(_add(open_operating))
    group.add_command(_list(open_operating))
    group.add_command(_remove(open_operating))
    return group


def _add(open_operating: OpenOperating) -> click.Command:
    @click.command("add")
    @COMMUNITY
    @_USER
    @click.option("--role", "roles", multiple=True, default=[EVERYDAY_ROLE], show_default=True)
    def add(community: int, user: int, roles: tuple[str, ...]) -> None:
        """Gives a user roles in a community, beside those they have."""

        async def run() -> None:
            names = [role_name(role) for role in roles]
            async with open_operating() as operating:
                member = await operating.members.add(OPERATOR, community, user, names)
                await operating.note(
                    "add_member",
                    community_id=community,
                    target=f"user:{user}",
                    roles=",".join(names),
                )
            click.echo(_line(member))

        run_command(run())

    return add


def _list(open_operating: OpenOperating) -> click.Command:
    @click.command("list")
    @COMMUNITY
    @click.option("--role", help="Only those in this role.")
    def show(community: int, role: str | None) -> None:
        """Lists the members of a community and their roles."""

        async def run() -> None:
            async with open_operating() as operating:
                cursor = None
                while True:
                    page = await operating.members.page(
                        OPERATOR, community, role=role, limit=_PAGE, cursor=cursor
                    )
                    for member in page.rows:
                        click.echo(_line(member))
                    cursor = page.cursor
                    if cursor is None:
                        return

        run_command(run())

    return show


def _remove(open_operating: OpenOperating) -> click.Command:
    @click.command("remove")
    @COMMUNITY
    @_USER
    @click.option("--role", help="Only this role; without it all, and the membership.")
    def remove(community: int, user: int, role: str | None) -> None:
        """Takes a role from a member, or all of them."""

        async def run() -> None:
            async with open_operating() as operating:
                taken = await operating.members.remove(OPERATOR, community, user, role)
                await operating.note(
                    "remove_member",
                    community_id=community,
                    target=f"user:{user}",
                    roles=",".join(taken.roles),
                )
            click.echo(f"Removed: {_line(taken)}", err=True)

        run_command(run())

    return remove


def _line(member: Member) -> str:
    return f"community={member.community_id}  user={member.user_id}  {','.join(member.roles)}"
