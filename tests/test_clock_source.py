"""The source of this machine's time, as `doctor` names it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

import pytest

from jharnet_monitor.commands import doctor
from jharnet_monitor.commands.clock_source import (
    ClockSource,
    clock_source,
    followed_by,
    owner_of,
    traced,
)
from tests.support import make_config

CHRONY = (
    "^,-,10.8.0.9,3,6,377,20,0.0001,0.0001,0.01\n^,*,samay1.nic.in,2,6,377,33,0.0001,0.0001,0.01\n"
)
TIMESYNC = "LinkNTPServers=\nServerName=time.nplindia.org\nServerAddress=14.139.60.103\nPort=123\n"
NTPQ = (
    "     remote           refid      st t when poll reach   delay   offset  jitter\n"
    "===========================================================================\n"
    "+10.8.0.9        .GPS.            1 u   33   64  377    0.2    0.1   0.1\n"
    "*samay2.nic.in   .PPS.            1 u   33   64  377    0.2    0.1   0.1\n"
)


@pytest.mark.parametrize(
    ("program", "printed", "found"),
    [
        ("chronyc", CHRONY, ClockSource("chrony", "samay1.nic.in")),
        ("timedatectl", TIMESYNC, ClockSource("systemd-timesyncd", "time.nplindia.org")),
        ("ntpq", NTPQ, ClockSource("ntpd", "samay2.nic.in")),
        ("none", "", None),
    ],
)
def test_the_server_that_is_followed(program: str, printed: str, found: ClockSource | None) -> None:
    """As chrony, systemd-timesyncd and ntpd print it; of several, the one in use."""
    assert clock_source(lambda name, *_: printed if name == program else "") == found
    assert found is None or owner_of(found.server) in ("NIC", "NPL")


@contextmanager
def time_server(follows: str, stratum: int = 3) -> Iterator[int]:
    """A server on loopback that says whom it follows; gives its port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def answer() -> None:
            request, address = server.recvfrom(512)
            reply = bytes([request[0] & 0x38 | 4, stratum]).ljust(12, b"\0")
            server.sendto((reply + IPv4Address(follows).packed).ljust(48, b"\0"), address)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        thread.join(5)


def test_a_server_that_follows_nic_is_traceable() -> None:
    """The department's own server reports which server it follows (RFC 5905); one with a clock of
    its own follows nobody, and an address of NIC is NIC."""
    wanted = [("10.1.1.1", "samay1.nic.in")]
    with time_server("10.1.1.1") as port:
        assert traced("127.0.0.1", lambda: iter(wanted), port) == "samay1.nic.in"
    with time_server("10.2.2.2") as port:
        assert traced("127.0.0.1", lambda: iter(wanted), port) is None
    with time_server("10.1.1.1", stratum=1) as port:
        assert followed_by("127.0.0.1", port) is None
    assert traced("10.1.1.1", lambda: iter(wanted)) == "samay1.nic.in"


def test_doctor_says_whose_time_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fine, or a warning with the servers to follow."""
    monkeypatch.setattr(doctor, "traced", lambda _: None)
    for server, verdict, words in (
        ("samay1.nic.in", "ok", "(NIC)"),
        ("0.pool.ntp.org", "warning", "not NIC's or NPL's"),
        (None, "warning", "no time service"),
    ):
        source = None if server is None else ClockSource("chrony", server)
        monkeypatch.setattr(doctor, "clock_source", lambda source=source: source)
        (found,) = doctor._clock_source(make_config())
        assert (found.verdict, words in found.found) == (verdict, True)
        assert ("samay1.nic.in" in found.remedy) == (verdict == "warning")


def test_doctor_shows_the_districts_time() -> None:
    """The clock of the machine may be set to another zone than that of the wall clock beside it."""
    before = datetime.now(UTC)
    (found,) = doctor._clock(make_config())
    assert found.found.endswith(" IST")
    shown = datetime.strptime(f"{found.found[:-4]} +0530", "%d.%m.%Y, %H:%M:%S %z")
    assert before - timedelta(seconds=1) < shown <= datetime.now(UTC)
