"""Whose time this machine follows: CERT-In's directions of 28 April 2022 name whose it should be.

Clocks are to follow the servers of NIC or NPL, or ones that are traceable to them. A server that
follows another one tells its address as reference identifier (RFC 5905, 7.3).
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from jharnet_monitor.probes.base import NoData
from jharnet_monitor.probes.dns import resolve

WANTED: Mapping[str, str] = {
    "samay1.nic.in": "NIC",
    "samay2.nic.in": "NIC",
    "time.nplindia.org": "NPL",
    "time.nplindia.in": "NPL",
}
"""The servers that the directions name, and NPL's other name."""
ANSWER_SECONDS = 2.0
NTP_PORT = 123
_PACKET_BYTES = 48
_CLIENT = 0x23  # version 4, mode 3


@dataclass(frozen=True, slots=True)
class ClockSource:
    """The time service of this machine, and the server that it follows now."""

    service: str
    server: str


Output = Callable[..., str]


def _output(*command: str) -> str:
    """What a program prints; empty where it is missing or fails."""
    if shutil.which(command[0]) is None:
        return ""
    try:
        done = subprocess.run(  # noqa: S603 - fixed commands
            command, capture_output=True, text=True, timeout=5, check=True
        )
    except (subprocess.SubprocessError, OSError):
        return ""
    return done.stdout


def clock_source(output: Output = _output) -> ClockSource | None:
    """The server that chrony, systemd-timesyncd or ntpd follows; None where none does."""
    for line in output("chronyc", "-c", "-N", "sources").splitlines():
        fields = line.split(",")
        if len(fields) > 2 and fields[1] == "*":
            return ClockSource("chrony", fields[2])
    found = dict(
        line.split("=", 1) for line in output("timedatectl", "show-timesync").splitlines()
        if "=" in line
    )  # fmt: skip
    if server := found.get("ServerName") or found.get("ServerAddress"):
        return ClockSource("systemd-timesyncd", server)
    for line in output("ntpq", "-pw").splitlines():
        if line.startswith("*"):
            return ClockSource("ntpd", line[1:].split()[0])
    return None


def owner_of(server: str) -> str | None:
    """`NIC` or `NPL` for one of their servers, by its name."""
    return WANTED.get(server.lower().rstrip("."))


def followed_by(server: str, port: int = NTP_PORT) -> str | None:
    """The IPv4 address that a time server itself follows, as it says; None where it says none."""
    request = bytes([_CLIENT]).ljust(_PACKET_BYTES, b"\0")
    try:
        (family, kind, _, _, address), *_ = socket.getaddrinfo(server, port, type=socket.SOCK_DGRAM)
        with socket.socket(family, kind) as asking:
            asking.settimeout(ANSWER_SECONDS)
            asking.connect(address)
            asking.send(request)
            answer = asking.recv(512)
    except OSError:
        return None
    if len(answer) < _PACKET_BYTES or answer[0] & 7 != 4 or answer[1] < 2:
        return None  # no server's answer, or it has a clock of its own
    return str(IPv4Address(answer[12:16]))


def wanted_addresses() -> Iterator[tuple[str, str]]:
    """Address and name of each wanted server whose name can be resolved."""
    for name in WANTED:
        try:
            for address in asyncio.run(resolve(name)):
                yield address, name
        except NoData:
            continue


def traced(
    server: str, wanted: Callable[[], Iterator[tuple[str, str]]] = wanted_addresses,
    port: int = NTP_PORT,
) -> str | None:  # fmt: skip
    """The name of the wanted server that a server is, by its address, or follows; else None."""
    names = dict(wanted())
    if server in names:
        return names[server]
    above = followed_by(server, port)
    return None if above is None else names.get(above)
