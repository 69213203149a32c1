"""`report send`: send the weekly mails now, or show what would be sent."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from rich.table import Table
from rich.text import Text

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.commands.acts import record_act
from jharnet_monitor.commands.database import open_store
from jharnet_monitor.commands.options import DEFAULT_CONFIG, ConfigFile
from jharnet_monitor.commands.terminal import plain_console
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

console = plain_console(highlight=False)
progress = plain_console(stderr=True)


def send(
    week_name: Annotated[
        str | None, typer.Option("--week", help="ISO week, 2026-W47; default: last complete week.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show the mails, and log in to the mail server.")
    ] = False,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Send a week's report and root hash, and all waiting mails; nothing is sent twice."""
    settings = load_config(config)
    zone = ZoneInfo(settings.district.timezone)
    now = SystemClock().now().astimezone(zone)
    period = week(week_name, zone) if week_name else week_of(now.date() - timedelta(days=7), zone)
    if now < period.end:
        raise UserError(
            f"--week {period.name}: is not over yet; `report` writes what there is so far"
        )
    if not settings.report.to and not settings.report.roots_to:
        raise UserError(f"{config}: report.to: is empty; add at least one recipient")
    try:
        with open_store(settings) as store:
            if dry_run:
                _show(settings, store, period)
            else:
                _send(settings, store, period)
    except TypesettingError as error:
        raise UserError(f"the report could not be typeset: {error}") from error
    except LockHeld:
        raise TemporaryError("the hub is sending mails; try again in a minute") from None


def _show(settings: Config, store: Store, period: Period) -> None:
    smtp = settings.report.smtp
    if smtp is None:
        raise UserError("report.smtp: is not set; add the mail server")
    now = SystemClock().now()
    with progress.status(f"preparing {period.name} …"):
        mailings, _ = weekly_mails(store, settings, period, now)
    for mailing in mailings:
        identity = message_id(mailing.name, mailing.recipients, smtp.sender)
        size = len(compose(mailing.letter, identity, smtp.sender, mailing.recipients, now))
        table = Table(show_header=False, box=None)
        table.add_row("To", ", ".join(mailing.recipients))
        table.add_row("Subject", mailing.letter.subject)
        table.add_row("Message-ID", identity)
        table.add_row(
            "Attachments", ", ".join(file.name for file in mailing.letter.enclosures) or "–"
        )
        table.add_row("Size", formats.size(size))
        console.print(table)
    try:
        asyncio.run(_log_in(settings))
    except ServerError as error:
        refused = Text("the mail server refused the login:", "red")
        console.print(refused, str(error), soft_wrap=True)
        raise typer.Exit(1) from None
    console.print(Text("ok:", "green"), f"login to {smtp.host} succeeded; nothing was sent")


async def _log_in(settings: Config) -> None:
    if settings.report.smtp is not None:
        async with mail_server(settings.report.smtp):
            pass


def _send(settings: Config, store: Store, period: Period) -> None:
    report_scheduler = ReportScheduler(CurrentConfig(settings), store, SystemClock(), HubStatus())
    with report_scheduler.outbox.lock(), progress.status(f"sending {period.name} …"):
        report_scheduler.prepare(period)
        asyncio.run(report_scheduler.outbox.send(ignore_backoff=True))
    names = period.stem, f"root-{period.name}"
    mails = [one for name in names for one in report_scheduler.outbox.mails_of(name, period.end)]
    recipients = sorted({mail.recipient for mail in mails})
    record_act(settings, "report sent", {"week": period.name, "recipients": recipients})
    console.print(_table(mails, ZoneInfo(settings.district.timezone)))
    if any(mail.state is not MailState.ACCEPTED for mail in mails):
        raise typer.Exit(1)


def _table(mails: list[Delivery], zone: ZoneInfo) -> Table:
    table = Table("mail", "to", "state", "since", "attempts", "server's answer")
    for mail in mails:
        since = f"{mail.changed_at.astimezone(zone):%Y-%m-%d %H:%M}"
        table.add_row(
            mail.name, mail.recipient, mail.state, since, str(mail.attempts), mail.error or ""
        )
    return table
