"""Warnings about a valid configuration: what is missing, unsafe or about to expire."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from jharnet_monitor.config.fields import WEEKDAYS, parse_weekdays
from jharnet_monitor.config.schema import Config
from jharnet_monitor.security.tls import certificate_expires

EXPIRY_WARNING = timedelta(days=30)
LEAST_ACCESS_LOG_DAYS = 180
"""CERT-In, directions of 28 April 2022, (iv): logs are kept for a rolling period of 180 days."""


def warnings(config: Config, now: datetime) -> Iterator[str]:
    """Every warning, one line each; `now` is UTC."""
    yield from _access(config, now)
    yield from _missing(config)
    yield from _drills(config)
    if config.report.smtp is None:
        for key in ("to", "roots_to"):
            if getattr(config.report, key):
                yield f"report.{key}: nothing is mailed without a mail server; add `report: smtp:`"


def _access(config: Config, now: datetime) -> Iterator[str]:
    tls = config.hub.tls
    if not tls:
        yield (
            "hub.tls: is off: tokens and results cross the network unencrypted; make a "
            "certificate with `jharnet-monitor tls init`, unless a proxy before it encrypts"
        )
    else:
        left = certificate_expires(tls.certificate) - now
        if left < EXPIRY_WARNING:
            when = f"expires in {left.days} days" if left > timedelta(0) else "has expired"
            renew = f"jharnet-monitor tls init {tls.certificate.parent} --renew"
            yield f"hub.tls.certificate: {when}; renew it with `{renew}`"
    if config.hub.api_token_file is None and config.hub.accounts_file is None:
        yield "hub.api_token_file: is not set: nobody can start a probe or a drill over HTTP"
    if config.hub.reading == "accounts" and config.hub.api_token_file is None:
        accounts = config.hub.accounts_file
        if accounts is None:
            yield (
                "hub.reading: is `accounts`, and there are neither accounts nor a token: nobody "
                "can read anything; set `accounts_file:`"
            )
        elif not accounts.exists():
            yield (
                "hub.reading: is `accounts`, and there is none yet: nobody can read anything; run "
                "`jharnet-monitor account add NAME`"
            )
    if config.hub.access_log_days < LEAST_ACCESS_LOG_DAYS:
        yield (
            f"hub.access_log_days: {config.hub.access_log_days}; CERT-In's directions of 28 April "
            f"2022 require {LEAST_ACCESS_LOG_DAYS} days of logs"
        )


def _drills(config: Config) -> Iterator[str]:
    plan, hours = config.probes.drill, config.district.office_hours
    never = parse_weekdays(plan.days) - hours.weekdays
    if plan.at and never:
        days = ", ".join(WEEKDAYS[day] for day in sorted(never))
        yield (
            f"probes.drill.days: no drill is ever held on {days}: the working days are "
            f"{hours.days} (`district: office_hours: days:`)"
        )


def _missing(config: Config) -> Iterator[str]:
    effects = (
        ("agent: bandwidth and conference tests are not possible", "agent"),
        ("link: speed cannot be compared with a contract", "link"),
        ("router: an outage of line or power cannot be distinguished from a LAN fault", "router"),
    )
    for effect, key in effects:
        ids = [o.id for o in config.offices if getattr(o, key) is None]
        if ids:
            yield f"{_list(ids)} without {effect}"
    if not config.report.to:
        yield "report.to: is empty: the weekly report is written, but sent to nobody"


def _list(ids: list[str]) -> str:
    return (
        ", ".join(ids) if len(ids) <= 3 else f"{ids[0]}, {ids[1]} and {len(ids) - 2} more offices"
    )
