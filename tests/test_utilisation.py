"""Utilisation: a real snmpd asked by SNMPv2c and v3, over restarts, wraps and refusals; and what a
router's uptime says of an outage."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pytest

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.config import Config
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.hub.office_monitor import OfficeMonitor
from jharnet_monitor.hub.recorder import Recorder
from jharnet_monitor.hub.runner import Runner
from jharnet_monitor.hub.store_writer import StoreWriter
from jharnet_monitor.live import Live
from jharnet_monitor.metrics import MetricsRegistry
from jharnet_monitor.model import HEADQUARTERS, Cause, Measurement, OfficeState, Outcome
from jharnet_monitor.probes.base import ProbeContext, Reading
from jharnet_monitor.probes.latency.target import Reachability, Target
from jharnet_monitor.store import Store
from tests.snmp_support import COMMUNITY, PASSWORD, Snmpd, interface, snmpd
from tests.support import stand_in

pytestmark = pytest.mark.server("snmpd")

NOON = datetime(2026, 11, 25, 6, 30, tzinfo=UTC)
USERS = {
    "modern": ("SHA-256", "AES", {"auth": "sha256", "privacy": "aes128"}),
    "strong": ("SHA-512", "AES-256", {"auth": "sha512", "privacy": "aes256"}),
    "old": ("SHA", "DES", {"auth": "sha1", "privacy": "des"}),
}
RATES = ("download_bits_per_second", "upload_bits_per_second", "window_seconds")


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snmpd]:
    """A router with made-up interfaces, and SNMPv3 users besides the community."""
    users = [f"{n} {a} {PASSWORD} {p} {PASSWORD}" for n, (a, p, _) in USERS.items()]
    with snmpd(tmp_path_factory.mktemp("snmpd"), users=users) as server:
        yield server


class Hub:
    """What asks the router, from runner to store; time passes when the test says so."""

    def __init__(self, router: Snmpd, directory: Path, **snmp: Any) -> None:
        self._router = router
        for name, secret in (("community", COMMUNITY), ("password", PASSWORD), ("wrong", "x" * 9)):
            (directory / name).write_text(secret, "utf-8")
            (directory / name).chmod(0o600)
        asked = self._asked(directory, **snmp)
        self.config = Config.model_validate(
            {
                "district": {"id": "d", "name": "D", "name_hi": "D"},
                "hub": {
                    "tls": False,
                    "uplink": {"contracted": "34 Mbit/s", "gateway": "127.0.0.1", "snmp": asked},
                },
                "offices": [
                    {
                        "id": "potka",
                        "name": "Potka",
                        "name_hi": "पोटका",
                        "router": "127.0.0.1",
                        "link": {"contracted": "4 Mbit/s", "contracted_up": "2 Mbit/s"},
                        "snmp": asked,
                    }
                ],
            }
        )
        self.clock = ManualClock(NOON)
        self.current = CurrentConfig(self.config)
        self.live = Live(self.current)
        self.store = Store(f"sqlite:///{directory / 'monitor.db'}", self.clock)
        self.store.migrate()
        waiting = directory / "waiting.db"
        self.writer = StoreWriter(self.store, waiting, self.live.hub, self.clock)
        self.recorder = Recorder(self.current, self.writer, self.live, self.clock)
        self.runner = Runner(
            self.current,
            self.clock,
            lambda _: None,
            self.recorder.spent_today,
            self.recorder.record,
        )
        self.uptime = 5000.0
        self.row: dict[str, Any] = {"octets": (10**12, 10**11), "packets": (10**9, 10**8)}
        self.tell()

    def _asked(self, directory: Path, **snmp: Any) -> dict[str, Any]:
        asked = {"interface": "wan0", "port": self._router.port, **snmp}
        if "user" in asked:
            secrets = {"auth_file": "password", "privacy_file": "password", **asked["user"]}
            asked["user"] = {
                k: directory / v if k.endswith("_file") else v for k, v in secrets.items()
            }
        else:
            asked["community_file"] = directory / str(asked.get("community_file", "community"))
        return asked

    def tell(self, **row: Any) -> None:
        """What the router says from now on."""
        self.row |= row
        lan = interface(2, "lan0", octets=(1, 1))
        self._router.tell(self.uptime, lan, interface(7, "wan0", **self.row))

    async def passes(self, seconds: float, down: int, up: int) -> None:
        """Time, and full Ethernet frames of 1518 bytes each way."""
        self.uptime += seconds
        for name, each in (("octets", 1518), ("packets", 1)):
            inward, outward = self.row[name]
            self.row[name] = (inward + down * each, outward + up * each)
        self.tell()
        await self.clock.advance(seconds)

    async def ask(self, office: str = "potka") -> Measurement:
        """Run the probe as the schedule does."""
        return await asyncio.wait_for(self.runner.run(office, "utilisation"), 20)

    def metric(self, name: str, **labels: str) -> float | None:
        """A sample now; None when it is absent."""
        return MetricsRegistry(self.live, self.clock).get_sample_value(f"jharnet_{name}", labels)


def rates(measurement: Measurement) -> tuple[float | None, ...]:
    """Down, up and the seconds over which they are the mean."""
    return tuple(measurement.values.get(name) for name in RATES)


async def test_the_mean_rate_between_two_readings(router: Snmpd, tmp_path: Path) -> None:
    """50,000 packets of 1500 bytes in five minutes are 2 Mbit/s; the first reading has no rate."""
    hub = Hub(router, tmp_path)
    first = await hub.ask()
    assert (first.outcome, rates(first)) == (Outcome.OK, (None, None, None))
    assert first.values["router_uptime_seconds"] == 5000.0
    assert hub.metric("utilisation_bytes_per_second", office="potka", direction="down") is None
    await hub.passes(300, 50_000, 12_500)
    second = await hub.ask()
    assert rates(second) == (2e6, 5e5, 300.0)
    assert dict(second.conditions) == {
        "interface": "wan0", "interface_bits_per_second": 1e7, "counter_bits": 64, "counts": "ip",
    }  # fmt: skip
    assert hub.metric("utilisation_bytes_per_second", office="potka", direction="down") == 250_000
    assert hub.metric("utilisation_ratio", office="potka", direction="down") == 0.5
    assert hub.metric("utilisation_ratio", office="potka", direction="up") == 0.25
    assert hub.metric("router_uptime_seconds", office="potka") == 5300.0
    await hub.clock.advance(800)
    assert hub.metric("utilisation_ratio", office="potka", direction="up") is None


async def test_headquarters_uplink_is_asked_in_the_same_way(router: Snmpd, tmp_path: Path) -> None:
    """Its measurements are headquarters' own, and no office's."""
    hub = Hub(router, tmp_path)
    await hub.ask(HEADQUARTERS)
    await hub.passes(300, 425_000, 0)
    assert rates(await hub.ask(HEADQUARTERS)) == (17e6, 0.0, 300.0)
    assert hub.metric("uplink_utilisation_ratio", direction="down") == 0.5
    assert hub.metric("uplink_utilisation_bytes_per_second", direction="up") == 0.0
    assert hub.live.offices["potka"].latest == {}


@pytest.mark.parametrize("user", USERS)
async def test_snmpv3(router: Snmpd, tmp_path: Path, user: str) -> None:
    """Authenticated and encrypted, by what modern and old routers know."""
    hub = Hub(router, tmp_path, user={"name": user, **USERS[user][2]})
    assert (await hub.ask()).values == {"router_uptime_seconds": 5000.0}


@pytest.mark.parametrize(
    ("snmp", "cause", "detail"),
    [
        ({"community_file": "wrong"}, Cause.ROUTER_SILENT, ""),
        ({"port": 9}, Cause.ROUTER_SILENT, ""),
        ({"user": {"name": "modern", "auth_file": "wrong"}}, Cause.SNMP_REFUSED, "authentication"),
        ({"user": {"name": "nobody"}}, Cause.SNMP_REFUSED, "authentication"),
        ({"interface": "wan1"}, Cause.NOT_CONFIGURED, "the router has lan0, wan0, made up lan0"),
        ({"community_file": "missing"}, Cause.NOT_CONFIGURED, "there is no such file"),
        ({"interface": "2"}, None, ""),
        ({"interface": "made up wan0"}, None, ""),
    ],
)
async def test_what_the_router_does_not_tell_is_no_data(
    router: Snmpd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    snmp: Mapping[str, Any], cause: Cause | None, detail: str,
) -> None:  # fmt: skip
    """Never a bad line, never a zero; an interface may go by its other name or its number."""
    monkeypatch.setattr("jharnet_monitor.probes.utilisation.snmp.ANSWER_SECONDS", 0.3)
    told = await Hub(router, tmp_path, **snmp).ask()
    assert told.cause == cause
    assert told.outcome is (Outcome.OK if cause is None else Outcome.NO_DATA)
    assert detail in told.conditions.get("detail", "")
    assert "x" * 9 not in str(told)


async def test_a_restart_gives_no_rate(router: Snmpd, tmp_path: Path) -> None:
    """Counters that began anew are left out; the next reading tells again."""
    hub = Hub(router, tmp_path)
    await hub.ask()
    await hub.passes(300, 50_000, 50_000)
    hub.uptime, hub.row = 40.0, {"octets": (0, 0), "packets": (0, 0)}
    hub.tell()
    restarted = await hub.ask()
    assert restarted.values == {"router_uptime_seconds": 40.0}
    assert restarted.conditions["no_rate"] == "restarted"
    await hub.passes(300, 50_000, 0)
    assert rates(await hub.ask()) == (2e6, 0.0, 300.0)


async def test_a_router_with_narrow_counters(router: Snmpd, tmp_path: Path) -> None:
    """32 bits that went round are counted on; at a speed at which they may do so twice, not."""
    hub = Hub(router, tmp_path)
    hub.tell(wide=False, octets=((1 << 32) - 1518, 0), packets=(0, 0))
    await hub.ask()
    await hub.passes(300, 50_000, 0)
    narrow = await hub.ask()
    assert (narrow.conditions["counter_bits"], rates(narrow)) == (32, (2e6, 0.0, 300.0))
    hub.tell(speed=1_000_000_000)
    await hub.passes(300, 50_000, 0)
    assert (await hub.ask()).conditions["no_rate"] == "ambiguous"


async def test_readings_close_together_give_no_rate(router: Snmpd, tmp_path: Path) -> None:
    """Asked by hand twice: the counters may be seconds old, so the longer window goes on."""
    hub = Hub(router, tmp_path)
    await hub.ask()
    await hub.passes(10, 9_999, 0)
    assert (await hub.ask()).conditions["no_rate"] == "too_soon"
    await hub.passes(290, 40_001, 0)
    assert rates(await hub.ask()) == (2e6, 0.0, 300.0)


async def test_our_own_tests_are_marked(
    router: Snmpd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a full test had a part in is not other people's traffic; trains are too small to count.
    On the uplink every office's test counts."""

    async def test(context: ProbeContext) -> Reading:
        return Reading({})

    stand_in(
        monkeypatch, "bandwidth", run=test, time_limit=lambda _: 9.0, heavy=True,
        needs_agent=lambda _: False, cost=lambda _: 0, reserve=lambda _: 0.0,
    )  # fmt: skip
    hub = Hub(router, tmp_path)
    for place in ("potka", HEADQUARTERS):
        await hub.ask(place)
    for path, mark in (("trains", None), ("jharnet", True), ("trains", None)):
        await hub.passes(200, 1000, 1000)
        await hub.runner.run("potka", "bandwidth", {"path": path})
        await hub.passes(100, 1000, 1000)
        for place in ("potka", HEADQUARTERS):
            assert (await hub.ask(place)).conditions.get("under_load") is mark


# --- what the uptime says of an outage


class Watched(Hub):
    """The same with a watch that is told who answers."""

    def __init__(self, router: Snmpd, directory: Path) -> None:
        super().__init__(router, directory)
        self.office_monitor = OfficeMonitor(
            self.current, self.clock, self.live, self.recorder, self.writer, self.runner
        )

    async def answers(self, whether: bool) -> None:
        """The router begins or ceases to answer echo requests."""
        role: Literal["router"] = "router"
        target, now = Target("potka", role, "127.0.0.1", measured=True), self.clock.now()
        self.office_monitor._note_reachability(Reachability(target, whether, now, now))
        await self.settled()

    async def settled(self) -> None:
        """Until the watch has done what it began, by its own clock."""
        while pending := list(self.office_monitor._pending):
            await asyncio.wait(pending, timeout=0.2)
            await self.clock.advance(1)


@pytest.mark.parametrize(
    ("uptime", "cause"), [(90_000.0, OfficeState.LINK_DOWN), (200.0, OfficeState.POWER_DOWN)]
)
async def test_the_routers_uptime_tells_line_from_power(
    router: Snmpd, tmp_path: Path, uptime: float, cause: OfficeState
) -> None:
    """No agent, ten minutes without an answer: a router that ran on means the line, one that
    started three minutes before it answered the power; told within a minute of the return."""
    hub = Watched(router, tmp_path)
    await hub.office_monitor.restore()
    hub.office_monitor._latency_monitor.uplink = lambda: True  # type: ignore[method-assign]
    await hub.answers(True)
    await hub.clock.advance(60)
    cut = hub.clock.now()
    await hub.answers(False)
    assert hub.live.offices["potka"].state is OfficeState.UNREACHABLE
    await hub.clock.advance(600)
    hub.uptime = uptime
    hub.tell()
    back = hub.clock.now()
    await hub.answers(True)
    await hub.clock.advance(10)
    await hub.office_monitor._reviews.run_due()
    past = hub.live.offices["potka"].last_outage
    assert past is not None and past.cause is cause
    assert past.told_at - back < timedelta(seconds=60)
    assert abs(past.began - cut) < timedelta(seconds=2)
