"""Checks for values that are valid one by one but contradict each other.

A check yields key paths with messages; `load` adds file and line.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from jharnet_monitor.config.document import KeyPath, format_path
from jharnet_monitor.config.fields import check_page_address
from jharnet_monitor.config.routers import Snmp
from jharnet_monitor.config.schema import Config
from jharnet_monitor.config.units import format_quantity
from jharnet_monitor.model import HEADQUARTERS

Problem = tuple[KeyPath, str]

_RESERVED = {
    HEADQUARTERS: "headquarters' own tests",
    "all": "what is about every office",
    "uplink": "headquarters' line",
}
PACKET_SPACING = 0.01
"""Minimum number of seconds between two echo requests to one office."""


def contradictions(config: Config) -> Iterator[Problem]:
    """Every contradiction in a configuration."""
    if config.hub.port == 0:
        yield ("hub", "listen"), "must have a fixed port that agents can use, such as 9797, not 0"
    yield from _office_twice(config)
    yield from _address_twice(config)
    yield from _router_without_address(config)
    yield from _hours(config)
    yield from _times(config)
    yield from _thresholds(config)
    yield from _report(config)
    yield from _internet(config)
    yield from _updates(config)


def _updates(config: Config) -> Iterator[Problem]:
    able = [office.id for office in config.offices if office.agent is not None]
    for number, name in enumerate(config.updates.first):
        if name not in able:
            known = ", ".join(able) or "none"
            yield (
                ("updates", "first", number),
                f"`{name}` is no office with an agent; there are: {known}",
            )


def _internet(config: Config) -> Iterator[Problem]:
    settings = config.probes.bandwidth
    where = ("probes", "bandwidth", "internet_server")
    method, server = settings.internet_method, settings.internet_server
    if method == "ookla":
        return
    if server is None:
        yield where, f"must name the server for `internet_method: {method}`"
    elif method != "iperf3":
        try:
            check_page_address(server, "https://speed.example.in/")
        except ValueError as error:
            yield where, str(error)


def _office_twice(config: Config) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for number, office in enumerate(config.offices):
        if office.id in _RESERVED:
            yield (
                ("offices", number, "id"),
                f"`{office.id}` is reserved for {_RESERVED[office.id]}; choose another id",
            )
        if office.id in first:
            message = f"`{office.id}` is already the id of offices[{first[office.id]}]; change one"
            yield ("offices", number, "id"), message
        first.setdefault(office.id, number)


def _address_twice(config: Config) -> Iterator[Problem]:
    first: dict[str, KeyPath] = {}
    for where, address in _addresses(config):
        same = _canonical(address)
        if same in first:
            message = (
                f"{address} is already {format_path(first[same])}; every address must be unique"
            )
            yield where, message
        first.setdefault(same, where)


def _addresses(config: Config) -> Iterator[tuple[KeyPath, str]]:
    if config.hub.uplink.gateway is not None:
        yield ("hub", "uplink", "gateway"), config.hub.uplink.gateway
    for number, office in enumerate(config.offices):
        for key in ("router", "pc"):
            address = getattr(office, key)
            if address is not None:
                yield ("offices", number, key), address


def _router_without_address(config: Config) -> Iterator[Problem]:
    queried: list[tuple[KeyPath, Snmp | None, str | None, str]] = [
        (("offices", number, "snmp"), office.snmp, office.router, "router")
        for number, office in enumerate(config.offices)
    ]
    uplink = config.hub.uplink
    queried.append((("hub", "uplink", "snmp"), uplink.snmp, uplink.gateway, "gateway"))
    for where, snmp, address, key in queried:
        if snmp is not None and snmp.address is None and address is None:
            yield where, f"needs the router's address: add `{key}:`, or `address:` here"


def _canonical(address: str) -> str:
    try:
        return str(ip_address(address))
    except ValueError:
        return address.lower().rstrip(".")


def _hours(config: Config) -> Iterator[Problem]:
    hours = config.district.office_hours
    if hours.to <= hours.from_:
        message = f'must be later than `from` ("{hours.from_}")'
        yield ("district", "office_hours", "to"), message
    elif not hours.from_ <= hours.busy_hour < hours.to:
        message = f'must lie within the office hours, "{hours.from_}" to "{hours.to}"'
        yield ("district", "office_hours", "busy_hour"), message
    for number, conference in enumerate(config.district.conferences):
        if conference.to <= conference.from_:
            message = f'must be later than `from` ("{conference.from_}")'
            yield ("district", "conferences", number, "to"), message


def _times(config: Config) -> Iterator[Problem]:
    latency, bandwidth = config.probes.latency, config.probes.bandwidth
    every = format_quantity(latency.every, "duration")
    if latency.packets * PACKET_SPACING > latency.every:
        most = int(latency.every / PACKET_SPACING)
        message = f"must be at most {most}, 100 a second over `every` ({every})"
        yield ("probes", "latency", "packets"), message
    if latency.timeout > latency.every:
        message = f"must not be longer than `every` ({every})"
        yield ("probes", "latency", "timeout"), message
    if bandwidth.every < 2 * bandwidth.seconds:
        message = (
            f"must be at least {2 * bandwidth.seconds:g}s, the length of both directions of a test"
        )
        yield ("probes", "bandwidth", "every"), message
    conference = config.probes.conference
    if conference.every is not None and conference.every < conference.seconds:
        message = f"must be at least {conference.seconds:g}s, the length of a call"
        yield ("probes", "conference", "every"), message
    for number, moment in enumerate(conference.at):
        if moment in conference.at[:number]:
            yield ("probes", "conference", "at", number), f'"{moment}" is listed twice; keep one'


def _thresholds(config: Config) -> Iterator[Problem]:
    limits = config.thresholds
    rtt = format_quantity(limits.rtt, "duration")
    for key in ("loss", "rtt", "jitter", "delivered", "loaded_rtt", "outage"):
        if getattr(limits, key) <= 0:
            yield ("thresholds", key), "must be more than 0: no real line could meet it"
    if limits.loss >= 1:
        yield ("thresholds", "loss"), "must be less than 100%: nothing would exceed it"
    if limits.jitter >= limits.rtt:
        message = f"must be smaller than `rtt` ({rtt})"
        yield ("thresholds", "jitter"), message
    if limits.loaded_rtt < limits.rtt:
        message = f"must not be smaller than `rtt` ({rtt}), as the line is full then"
        yield ("thresholds", "loaded_rtt"), message


def _report(config: Config) -> Iterator[Problem]:
    report, smtp = config.report, config.report.smtp
    for number, language in enumerate(report.languages):
        if language in report.languages[:number]:
            yield ("report", "languages", number), f"`{language}` is listed twice; keep one"
    if smtp is None:
        return
    if (smtp.user is None) != (smtp.password_file is None):
        missing = "password_file" if smtp.password_file is None else "user"
        yield ("report", "smtp"), f"`user` and `password_file` go together; add `{missing}:`"
    if smtp.user is not None and smtp.security == "none":
        yield ("report", "smtp", "security"), "would send the password unencrypted; use starttls"
