"""What is allowed in a configuration and yet deserves a word before it is used."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from jharnet_monitor.config.schema import Config, Office
from jharnet_monitor.profiles import Profile, call_bytes
from jharnet_monitor.security.tls import certificate_expires

EXPIRY_WARNING = timedelta(days=30)


def warnings(config: Config, now: datetime) -> Iterator[str]:
    """One line each; `now` is UTC."""
    yield from _doors(config, now)
    yield from _left_out(config)
    if config.report.smtp is None:
        for key in ("to", "roots_to"):
            if getattr(config.report, key):
                yield f"report.{key}: nothing is mailed without a mail server; add `report: smtp:`"
    spent = [o.id for o in config.offices if daily_bytes(config, o) > config.budget]
    if spent:
        yield (
            f"budget: the planned tests of {_list(spent)} need more than "
            f"{config.budget / 1e6:g} MB a day; those that do not fit will be no_data "
            "(raise it, or test less often)"
        )


def _doors(config: Config, now: datetime) -> Iterator[str]:
    tls = config.hub.tls
    if not tls:
        yield (
            "hub.tls: is off: tokens and results cross the network in the clear; make a "
            "certificate with `jharnet-monitor tls init`, unless a proxy in front encrypts"
        )
    else:
        left = certificate_expires(tls.certificate) - now
        if left < EXPIRY_WARNING:
            when = f"expires in {left.days} days" if left > timedelta(0) else "has expired"
            yield f"hub.tls.certificate: {when}; renew it with `jharnet-monitor tls init --renew`"
    if config.hub.api_token_file is None:
        yield "hub.api_token_file: is not set: nobody can start a probe or a drill over HTTP"


def _left_out(config: Config) -> Iterator[str]:
    without = (
        ("agent: no bandwidth or conference test is possible", "agent"),
        ("link: speed cannot be compared with a contract", "link"),
        ("router: a fault of line or power cannot be told from one of the LAN", "router"),
    )
    for what, key in without:
        lacking = [o.id for o in config.offices if getattr(o, key) is None]
        if lacking:
            yield f"{_list(lacking)} without {what}"
    if not config.report.to:
        yield "report.to: is empty: the weekly report is made, and sent to nobody"


def daily_bytes(config: Config, office: Office) -> float:
    """What the planned heavy probes will put on the office's line in a day, roughly."""
    if office.agent is None:
        return 0.0
    bandwidth, conference = config.probes.bandwidth, config.probes.conference
    rate = 10e6 if office.link is None else office.link.contracted
    tests = 86400 / bandwidth.every * rate * 2 * bandwidth.seconds
    calls = len(conference.at) + (86400 / conference.every if conference.every else 0)
    plan = config.probes.drill
    drills = len(plan.at) * _call_bytes(plan.profile, plan.minutes * 60)
    return tests / 8 + calls * _call_bytes(conference.profile, conference.seconds) + drills


def _call_bytes(profile: Profile, seconds: float) -> int:
    return call_bytes(profile.rung, profile.rung, seconds)


def _list(ids: list[str]) -> str:
    return (
        ", ".join(ids) if len(ids) <= 3 else f"{ids[0]}, {ids[1]} and {len(ids) - 2} more offices"
    )
