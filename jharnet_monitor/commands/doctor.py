"""`doctor`: check whether this machine can run the hub, and say how to fix what is wrong."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

import typer
from rich.text import Text

from jharnet_monitor.commands.clock_source import clock_source, owner_of, traced
from jharnet_monitor.commands.database import open_store
from jharnet_monitor.commands.options import DEFAULT_CONFIG, AsJson, ConfigFile
from jharnet_monitor.commands.terminal import plain_console
from jharnet_monitor.config import Config
from jharnet_monitor.config.load import load_config
from jharnet_monitor.errors import UserError
from jharnet_monitor.i18n import formats
from jharnet_monitor.probes.base import NoData
from jharnet_monitor.probes.dns import resolve
from jharnet_monitor.probes.latency.icmp import EchoSocket, PingNotAllowed
from jharnet_monitor.rtc.aiortc_private import LibraryChanged, self_test
from jharnet_monitor.security import tls
from jharnet_monitor.store import StoreError

Verdict = Literal["ok", "warning", "bad"]
_MARKS = {"ok": Text("✓", "green"), "warning": Text("!", "yellow"), "bad": Text("✗", "red")}
ENOUGH_DISK = 2_000_000_000
RENEW_DAYS = 30


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check; `remedy` is empty if nothing needs to be done."""

    what: str
    verdict: Verdict
    found: str
    remedy: str = ""


def doctor(config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Check this machine and the configuration; exit code 1 if something is wrong."""
    loaded = load_config(config)
    findings = [finding for check in CHECKS for finding in check(loaded)]
    if as_json:
        print(json.dumps([asdict(f) for f in findings], ensure_ascii=False, indent=2))
    else:
        console = plain_console()
        for finding in findings:
            console.print(_MARKS[finding.verdict], f"{finding.what}: {finding.found}")
            if finding.remedy:
                console.print(f"    → {finding.remedy}")
    raise typer.Exit(1 if any(f.verdict == "bad" for f in findings) else 0)


def _ping(config: Config) -> Iterator[CheckResult]:
    try:
        EchoSocket(4).close()
    except PingNotAllowed as error:
        yield CheckResult("echo requests", "bad", "not allowed", str(error))
    else:
        yield CheckResult("echo requests", "ok", "allowed")


def _port(config: Config) -> Iterator[CheckResult]:
    hub = config.hub
    family = socket.AF_INET6 if ":" in hub.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((hub.host, hub.port))
        except OSError as error:
            remedy = "fine if the hub is running; else set hub.listen to a free address"
            yield CheckResult(f"listen on {hub.listen}", "warning", str(error.strerror), remedy)
        else:
            yield CheckResult(f"listen on {hub.listen}", "ok", "free")


def _udp(config: Config) -> Iterator[CheckResult]:
    first, last = config.hub.udp_range
    taken = 0
    for port in range(first, last + 1):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((config.hub.host if "." in config.hub.host else "", port))
            except OSError:
                taken += 1
    free = last - first + 1 - taken
    need = 4 * len(config.offices)
    remedy = "" if free >= need else f"widen hub.udp_ports: a drill of all offices needs {need}"
    yield CheckResult(
        "UDP ports for calls", "ok" if free >= need else "warning", f"{free} free", remedy
    )


def _certificate(config: Config) -> Iterator[CheckResult]:
    if not config.hub.tls:
        remedy = "run `jharnet-monitor tls init tls` and set hub.tls to its files"
        yield CheckResult(
            "TLS", "warning", "off: tokens and results cross the network unencrypted", remedy
        )
        return
    days = (tls.certificate_expires(config.hub.tls.certificate) - datetime.now(UTC)).days
    verdict: Verdict = "ok" if days > RENEW_DAYS else "warning" if days > 0 else "bad"
    directory = config.hub.tls.certificate.parent
    remedy = (
        ""
        if verdict == "ok"
        else f"renew it: `jharnet-monitor tls init {directory} --renew`; the hub takes it up by "
        "itself"
    )
    yield CheckResult("certificate", verdict, f"{days} days left", remedy)


def _database(config: Config) -> Iterator[CheckResult]:
    file = config.hub.database_file
    if file and not file.exists():
        directory = file.parent
        if directory.is_dir() and os.access(directory, os.W_OK):
            yield CheckResult("database", "ok", f"none yet; the hub will create {file}")
        else:
            yield CheckResult("database", "bad", *_unusable(directory))
        return
    try:
        with open_store(config) as store:
            size = store.size()
    except (StoreError, UserError) as error:
        yield CheckResult("database", "bad", str(error), "see hub.database")
    else:
        yield CheckResult("database", "ok", formats.size(size))


def _unusable(directory: Path) -> tuple[str, str]:
    """What is wrong with the directory in which the database cannot be made, and the remedy."""
    if directory.is_dir():
        return f"{directory} is not writable", "see hub.database"
    return (
        f"the directory {directory} does not exist",
        "make it, with the hub's user as its owner, or correct hub.database",
    )


def _disk(config: Config) -> Iterator[CheckResult]:
    file = config.hub.database_file
    directory = file.parent if file else Path()
    existing = next(one for one in (directory, *directory.absolute().parents) if one.is_dir())
    free = shutil.disk_usage(existing).free
    enough = free > ENOUGH_DISK
    remedy = "" if enough else "free some space: a year of eleven offices takes about 1 GB"
    yield CheckResult("disk", "ok" if enough else "warning", f"{formats.size(free)} free", remedy)


def _clock(config: Config) -> Iterator[CheckResult]:
    year = time.gmtime().tm_year
    if year < 2026:
        remedy = "set the clock, replace the machine's battery, turn on time synchronisation"
        yield CheckResult("clock", "bad", f"shows the year {year}", remedy)
    else:
        local = datetime.now(ZoneInfo(config.district.timezone))
        shown = f"{local:%d.%m.%Y, %H:%M:%S} {formats.zone_name(local)}"
        yield CheckResult("clock", "ok", shown)


def _clock_source(config: Config) -> Iterator[CheckResult]:
    found = clock_source()
    remedy = (
        "let it follow samay1.nic.in, samay2.nic.in or time.nplindia.org, or a server of the "
        "department that follows them (CERT-In, 28 April 2022)"
    )
    if found is None:
        yield CheckResult("clock source", "warning", "no time service follows a server", remedy)
        return
    how = f"{found.server}, by {found.service}"
    if owner := owner_of(found.server):
        yield CheckResult("clock source", "ok", f"{how} ({owner})")
    elif name := traced(found.server):
        yield CheckResult("clock source", "ok", f"{how}; it follows {name} ({owner_of(name)})")
    else:
        detail = "not NIC's or NPL's, and does not say that it follows them"
        yield CheckResult("clock source", "warning", f"{how}: {detail}", remedy)


def _names(config: Config) -> Iterator[CheckResult]:
    hosts = {a for o in config.offices for a in (o.router, o.pc) if a is not None}
    for host in sorted(hosts):
        try:
            asyncio.run(resolve(host))
        except NoData as error:
            yield CheckResult("name", "warning", error.detail, "correct it, or use the IP address")


def _aiortc(config: Config) -> Iterator[CheckResult]:
    try:
        self_test()
    except LibraryChanged as error:
        remedy = "install the version of the lock file: pip install -r requirements.lock"
        yield CheckResult("aiortc", "bad", str(error), remedy)
    else:
        yield CheckResult("aiortc", "ok", "as expected")


def _agents(config: Config) -> Iterator[CheckResult]:
    without = [o.id for o in config.offices if o.agent is None]
    if without:
        remedy = (
            "make a token with `jharnet-monitor token OFFICE`; until then only latency is measured"
        )
        yield CheckResult("agents", "warning", f"none configured for {', '.join(without)}", remedy)


CHECKS: tuple[Callable[[Config], Iterator[CheckResult]], ...] = (
    _ping,
    _port,
    _udp,
    _certificate,
    _database,
    _disk,
    _clock,
    _clock_source,
    _names,
    _aiortc,
    _agents,
)
"""All checks, in this order."""
