"""Warnings about a valid configuration: what is missing, unsafe or about to expire."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from jharnet_monitor.config.schema import Config
from jharnet_monitor.security.tls import certificate_expires

EXPIRY_WARNING = timedelta(days=30)
LEAST_ACCESS_LOG_DAYS = 180
"""CERT-In, directions of 28 April 2022, (iv): logs are kept for a rolling period of 180 days."""


def warnings(config: Config, now: datetime) -> Iterator[str]:
    """Every warning, one line each; `now` is UTC."""
    yield from _access(config, now)
    yield from _missing(config)
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
            yield f"hub.tls.certificate: {when}; renew it with `jharnet-monitor tls init --renew`"
    if config.hub.api_token_file is None and config.hub.accounts_file is None:
        yield "hub.api_token_file: is not set: nobody can start a probe or a drill over HTTP"
    if config.hub.access_log_days < LEAST_ACCESS_LOG_DAYS:
        yield (
            f"hub.access_log_days: {config.hub.access_log_days}; CERT-In's directions of 28 April "
            f"2022 require {LEAST_ACCESS_LOG_DAYS} days of logs"
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
