"""Small things that would end the daemon, let code in, or blind an alert."""

from __future__ import annotations

import asyncio
import configparser
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from jharnet_monitor.agent import daemon
from jharnet_monitor.clock import ManualClock
from jharnet_monitor.commands import agent as agent_command
from jharnet_monitor.config.fields import MailAddress
from jharnet_monitor.hub import daemon as hub_daemon
from jharnet_monitor.mail import outbox
from jharnet_monitor.mail.smtp import ServerError
from jharnet_monitor.model import Measurement, Outcome
from jharnet_monitor.probes.bandwidth import udp_socket
from jharnet_monitor.probes.latency import icmp, pinger
from jharnet_monitor.probes.latency.icmp import EchoSocket
from jharnet_monitor.rtc.codecs import DEFAULT_CODEC
from tests.latency_support import settings_for
from tests.mail_support import DC, DIO, NIC, MailHost, MailingHub
from tests.support import running
from tests.test_latency_monitor import counts, run_for
from tests.test_reload import RunningHub
from tests.test_session import Endpoint, make_agent

ROOT = Path(__file__).parents[1]


def test_no_code_of_the_current_directory_is_run() -> None:
    """`sudo jharnet-monitor demo` imported a package of the directory it was in."""
    found = 0
    for path in (ROOT / "jharnet_monitor").rglob("*.py"):
        text = path.read_text("utf-8")
        for match in re.finditer(r'sys\.executable,\s*(.{0,20}?)"-m"', text, re.DOTALL):
            found += 1
            assert '"-P"' in match.group(1), path
    assert found >= 6


async def test_a_family_that_the_host_lacks_hurts_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One IPv6 address on a hub without IPv6 ended the watch of all offices."""

    class NoIpv6(EchoSocket):
        def __init__(self, family: icmp.Family, dscp: int = 0) -> None:
            if family == 6:
                raise OSError(97, "Address family not supported by protocol")
            super().__init__(family, dscp)

    monkeypatch.setattr(pinger, "EchoSocket", NoIpv6)
    config = settings_for({"router": "fd00::1"}, {"router": "127.0.0.1"}, every="1s", packets=5)
    folds, _ = await run_for(2.2, config)
    sent, received = counts([fold for fold in folds if fold.office == "o1"])
    assert sent == received > 0
    assert "fd00::1 cannot be pinged from this host" in caplog.text


@pytest.fixture
def hub(tmp_path: Path) -> Any:
    """A hub with mails to send."""
    host = MailHost(tmp_path / "tls")
    host.start()
    yield MailingHub(tmp_path, host)
    host.stop()


class HangsUp:
    """A mail server that hangs up at one recipient."""

    def __init__(self, at: str, error: type[Exception] = ServerError) -> None:
        self.at = at
        self.error = error
        self.took: list[str] = []
        self.open = True

    async def send(self, message: bytes, sender: str, recipient: str) -> None:
        """Take it, or hang up for good on this connection."""
        if recipient == self.at:
            self.open = self.error is not ServerError
            raise self.error("closed the connection")
        assert self.open
        self.took.append(recipient)

    @asynccontextmanager
    async def connection(self, settings: Any) -> AsyncIterator[HangsUp]:
        """A new connection."""
        self.open = True
        yield self


@pytest.mark.parametrize("error", [ServerError, KeyError])
async def test_one_recipient_keeps_the_mail_from_no_other(
    hub: MailingHub, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """A server that hangs up at one recipient, or an error of ours over one, kept
    the report from all after it."""
    server = HangsUp(DC, error)
    monkeypatch.setattr(outbox, "mail_server", server.connection)
    scheduler = hub.start()
    await scheduler.run_once()
    hub.clock.step(3 * 86400)
    await scheduler.run_once()
    assert sorted(server.took) == sorted([DIO, NIC])


@pytest.mark.parametrize("address", ["señor@example.in", "पोटका@example.in", "a b@example.in"])
def test_a_mail_address_is_ascii(address: str) -> None:
    """An invalid one ended the daemon at each start."""
    adapter = TypeAdapter(MailAddress)
    with pytest.raises(ValidationError, match="must be a mail address"):
        adapter.validate_python(address)
    assert adapter.validate_python("dc-jsr+x@example.in") == "dc-jsr+x@example.in"


def _unit() -> configparser.SectionProxy:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(ROOT / "config/systemd/jharnet-monitor.service")
    return unit["Service"]


def test_the_unit_lets_the_clock_be_read_and_not_set() -> None:
    """`ProtectClock=yes` forbids adjtimex even for reading: the alert was blind."""
    service = _unit()
    assert "ProtectClock" not in service
    assert {"adjtimex", "clock_adjtime"} <= set(service["SystemCallFilter"].split())
    assert service["CapabilityBoundingSet"] == "", "no CAP_SYS_TIME"


def test_the_unit_bounds_the_memory() -> None:
    """Without a bound, filling the hub's memory fills the machine's."""
    assert _unit()["MemoryMax"] == "2G"


def test_each_container_sees_its_own_secrets_alone() -> None:
    """Grafana and Alertmanager had each other's."""
    compose = yaml.safe_load((ROOT / "exporters/compose.yaml").read_text("utf-8"))
    seen = {
        name: [v.split(":")[0] for v in service.get("volumes", []) if "secrets" in v]
        for name, service in compose["services"].items()
    }
    assert "./secrets" not in {path for paths in seen.values() for path in paths}
    assert seen["grafana"] == ["./secrets/grafana-admin-password"]
    assert "./secrets/grafana-admin-password" not in seen["alertmanager"]


def test_a_flood_of_datagrams_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """The socket was read until it was empty, which it never was."""

    class Endless:
        reads = 0

        def recvmsg(self, *_: int) -> tuple[bytes, list[Any], int, tuple[str, int]]:
            self.reads += 1
            assert self.reads < 100_000
            return b"x", [], 0, ("10.0.0.1", 1)

    one = udp_socket.DatagramSocket.__new__(udp_socket.DatagramSocket)
    monkeypatch.setattr(one, "_socket", Endless(), raising=False)
    monkeypatch.setattr(one, "_dropped", 0, raising=False)
    monkeypatch.setattr(one, "_arrival", lambda _: 0.0, raising=False)
    assert list(one.receive()) == []


def test_an_unprotected_address_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """`ws://` was accepted without a warning."""
    token = tmp_path / "token"
    token.write_text("t\n")
    token.chmod(0o600)
    given: dict[str, object] = {
        "hub": "ws://10.8.0.2/agent", "office": "potka", "token_file": token,
    }  # fmt: skip
    with caplog.at_level(logging.WARNING):
        agent_command._agent_settings(given, None)
    assert "cross the network unprotected" in caplog.text


async def test_an_agent_makes_the_clips_that_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At its first start it made those of both codecs: 135 s for eleven, during which no
    conference could be held."""
    made: list[tuple[str, ...]] = []

    async def prepare(*codecs: str) -> None:
        made.append(codecs)

    monkeypatch.setattr(daemon, "prepare", prepare)
    door = Endpoint()
    async with door.open(), running(make_agent(door, tmp_path / "a")):
        await door.session("potka")
        await asyncio.sleep(0.1)
    assert made == [(DEFAULT_CODEC,)]
    door.agents._codec = lambda: "h264"
    async with door.open(), running(make_agent(door, tmp_path / "b")):
        await door.session("potka")
        await asyncio.sleep(0.1)
    assert made[1:] == [(DEFAULT_CODEC,), ("h264",)]


async def test_a_clock_that_is_years_ahead_prunes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With a dead battery it is 2036 until the time service answers. If that lasted over a night,
    all minute measurements of the district were deleted."""
    hub = RunningHub(tmp_path).hub
    clock, raw = ManualClock(datetime(2026, 11, 25, tzinfo=UTC)), timedelta(days=400)
    hub.clock = hub.store.chain._clock = hub.store._clock = clock
    hub.store.migrate()
    hub.opening.opened = True
    monkeypatch.setattr(hub_daemon, "LEAST_KEPT_HOURS", 3)

    def record(hours: int) -> None:
        for hour in range(hours):
            name = f"{clock.now():%Y%j%H}{hour}"
            hub.store.add([Measurement("potka", "latency", clock.now(), 60.0, Outcome.OK,
                                       values={"sent": 60.0}, id=name)])  # fmt: skip
            clock.step(3600)
        clock.step(60)
        hub.store.chain.seal()

    record(5)
    clock.step(9.4 * 365 * 86400)
    record(2)
    await hub._prune()
    assert len(hub.store.measurements()) == 7
    assert "nothing is pruned, because only 2 of 7 hours would be kept" in caplog.text
    record(2)
    clock.step(86400)
    await hub._prune()
    first = hub.store.first_start()
    assert first is not None and first > clock.now() - raw
    hub.store.close()


async def test_the_hub_records_what_its_clock_skips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a clock that went ahead skips time; one that is set back repeats it."""
    hub, skipped = RunningHub(tmp_path).hub, list[float]()
    monkeypatch.setattr(hub.office_monitor, "note_unwatched", skipped.append)
    for step in (0.0, 7200.0, -7200.0):
        monkeypatch.setattr(hub.schedule, "watch", lambda by=step: by)
        assert hub._watch_clock() == step
    assert skipped == [7200.0]
    hub.store.close()
