"""`report send`: the weekly mails by hand, or only what they would be."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.table import Table

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.commands.options import DEFAULT_CONFIG, ConfigFile
from jharnet_monitor.config import Config
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.config.load import load_config
from jharnet_monitor.errors import TemporaryError, UserError
from jharnet_monitor.i18n import formats
from jharnet_monitor.judge.calendar.period import Period, week, week_of
from jharnet_monitor.live import HubStatus
from jharnet_monitor.mail.message import compose, message_id
from jharnet_monitor.mail.outbox import LockHeld
from jharnet_monitor.mail.schedule import ReportScheduler
from jharnet_monitor.mail.smtp import ServerError, mail_server
from jharnet_monitor.mail.weekly import weekly_mails
from jharnet_monitor.report.output.files import TypesettingError
from jharnet_monitor.store import Store
from jharnet_monitor.store.mails import Delivery, MailState

console = Console(highlight=False)
progress = Console(stderr=True)


def send(
    week_name: Annotated[
        str | None, typer.Option("--week", help="ISO week, 2026-W47; the last whole one if absent.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Send nothing; show it, and sign in at the server.")
    ] = False,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Send a week's report and root now, and whatever waits; what was accepted is not repeated."""
    settings = load_config(config)
    zone = ZoneInfo(settings.district.timezone)
    now = SystemClock().now().astimezone(zone)
    period = week(week_name, zone) if week_name else week_of(now.date() - timedelta(days=7), zone)
    if now < period.end:
        raise UserError(f"--week {period.name}: is not over yet; `report` makes what there is")
    if not settings.report.to and not settings.report.roots_to:
        raise UserError(f"{config}: report.to: names nobody; add who is to get the report")
    store = Store(settings.hub.database, SystemClock())
    try:
        store.require_schema()
        if dry_run:
            _show(settings, store, period)
        else:
            _send(settings, store, period)
    except TypesettingError as error:
        raise UserError(f"the report cannot be set: {error}") from error
    except LockHeld:
        raise TemporaryError("the hub is sending now; try again in a minute") from None
    finally:
        store.close()


def _show(settings: Config, store: Store, period: Period) -> None:
    smtp = settings.report.smtp
    if smtp is None:
        raise UserError("report.smtp: names no mail server")
    now = SystemClock().now()
    with progress.status(f"making {period.name} …"):
        mailings, _ = weekly_mails(store, settings, period, now)
    for one in mailings:
        identity = message_id(one.name, one.recipients, smtp.sender)
        size = len(compose(one.letter, identity, smtp.sender, one.recipients, now))
        table = Table(show_header=False, box=None)
        table.add_row("To", ", ".join(one.recipients))
        table.add_row("Subject", one.letter.subject)
        table.add_row("Message-ID", identity)
        table.add_row("With", ", ".join(file.name for file in one.letter.enclosures) or "–")
        table.add_row("Size", formats.size(size))
        console.print(table)
    try:
        asyncio.run(_sign_in(settings))
    except ServerError as error:
        console.print(f"[red]the mail server does not let us in:[/] {error}", soft_wrap=True)
        raise typer.Exit(1) from None
    console.print(f"[green]ok:[/] {smtp.host} let us in; nothing was sent")


async def _sign_in(settings: Config) -> None:
    if settings.report.smtp is not None:
        async with mail_server(settings.report.smtp):
            pass


def _send(settings: Config, store: Store, period: Period) -> None:
    report_scheduler = ReportScheduler(CurrentConfig(settings), store, SystemClock(), HubStatus())
    with report_scheduler.outbox.lock(), progress.status(f"sending {period.name} …"):
        report_scheduler.prepare(period)
        asyncio.run(report_scheduler.outbox.send(ignore_backoff=True))
    mails = [*store.mails.of(period.stem), *store.mails.of(f"root-{period.name}")]
    console.print(_table(mails, ZoneInfo(settings.district.timezone)))
    if any(one.state is not MailState.ACCEPTED for one in mails):
        raise typer.Exit(1)


def _table(mails: list[Delivery], zone: ZoneInfo) -> Table:
    table = Table("mail", "to", "state", "since", "attempts", "what the server said")
    for one in mails:
        since = f"{one.changed_at.astimezone(zone):%Y-%m-%d %H:%M}"
        table.add_row(
            one.name, one.recipient, one.state, since, str(one.attempts), one.error or ""
        )  # fmt: skip
    return table
