"""The command line: the audit log is verified and pruned.

Its one rule: a command asks one use case and prints what came of it. A log that is not as it was
written is exit status 1.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

import click

from controllers.command_line import OpenOperating, run_command
from services.operating import Broken, Tip, Verdict

_TIP = re.compile(r"([0-9]{1,18}):([0-9a-f]{64})")
_DATES = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])


def audit_commands(open_operating: OpenOperating) -> click.Group:
    """The group `audit`."""
    group = click.Group("audit", help="The audit log: verify, prune.")
    group.add_command(_verify(open_operating))
    group.add_command(_prune(open_operating))
    return group


def _verify(open_operating: OpenOperating) -> click.Command:
    @click.command("verify")
    @click.option("--noted", help="A tip that an earlier run printed: it must still be there.")
    def verify(noted: str | None) -> None:
        """Checks that every row is as it was written, and prints the tip: the id and the hash of
        the last one. Kept elsewhere, it shows whether the log was rewritten since.

        Exit status 1, and the first row that does not fit, if one does not.
        """
        tip = None if noted is None else _tip(noted)

        async def run() -> None:
            async with open_operating() as operating:
                verdict = await operating.chain.verify(tip)
            if verdict.broken is not None:
                raise click.ClickException(_told(verdict.broken))
            click.echo(_praise(verdict), err=True)
            if verdict.tip.audit_id:
                click.echo(f"{verdict.tip.audit_id}:{verdict.tip.hash.hex()}")

        run_command(run())

    return verify


def _prune(open_operating: OpenOperating) -> click.Command:
    @click.command("prune")
    @click.option("--before", type=_DATES, required=True, callback=_past, help="UTC.")
    def prune(before: datetime) -> None:
        """Removes what was recorded before a date, after verifying all of it. What is left still
        verifies, and its last row says what was removed. Only the owner of the tables may do it."""
        moment = before.replace(tzinfo=UTC)

        async def run() -> None:
            async with open_operating() as operating:
                pruned = await operating.prune(moment)
            if pruned.broken is not None:
                raise click.ClickException(f"Nothing was removed. {_told(pruned.broken)}")
            click.echo(f"{_rows(pruned.rows)} removed.", err=True)

        run_command(run())

    return prune


def _past(context: click.Context, parameter: click.Parameter, before: datetime) -> datetime:
    """The date, which no row is younger than: a year mistyped would remove the whole log."""
    if before.replace(tzinfo=UTC) > datetime.now(UTC):
        raise click.BadParameter("is in the future; it must be a date that has been, in UTC")
    return before


def _tip(text: str) -> Tip:
    found = _TIP.fullmatch(text.strip())
    if found is None:
        raise click.BadParameter("must be an id, a colon and 64 hex digits", param_hint="--noted")
    return Tip(int(found[1]), bytes.fromhex(found[2]))


def _told(broken: Broken) -> str:
    where = "Rows are missing" if broken.audit_id is None else f"Row {broken.audit_id} is broken"
    before = f"after row {broken.after}" if broken.after else "at the beginning"
    return f"{where}, {before}: {broken.reason}."


def _praise(verdict: Verdict) -> str:
    pruned = f"; those up to {verdict.pruned_id} were pruned" if verdict.pruned_id else ""
    return f"{_rows(verdict.rows)}, all as written{pruned}. The tip:"


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"
