"""Utilisation: a real snmpd with SNMPv2c and v3, restarts, counter wraps and refusals; and what a
router's uptime shows about an outage."""

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
from jharnet_monitor.probes import PROBES
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
    """A router with simulated interfaces, SNMPv3 users and a community."""
    users = [f"{n} {a} {PASSWORD} {p} {PASSWORD}" for n, (a, p, _) in USERS.items()]
    with snmpd(tmp_path_factory.mktemp("snmpd"), users=users) as server:
        yield server


class Hub:
    """The part of a hub that reads routers, from runner to store, on a manual clock."""

    def __init__(self, router: Snmpd, directory: Path, **snmp: Any) -> None:
        self._router = router
        for name, secret in (("community", COMMUNITY), ("password", PASSWORD), ("wrong", "x" * 9)):
            (directory / name).write_text(secret, "utf-8")
            (directory / name).chmod(0o600)
        settings = self._settings(directory, **snmp)
        self.config = Config.model_validate(
            {
                "district": {"id": "d", "name": "D", "name_hi": "D"},
                "hub": {
                    "tls": False,
                    "uplink": {"contracted": "34 Mbit/s", "gateway": "127.0.0.1", "snmp": settings},
                },
                "offices": [
                    {
                        "id": "potka",
                        "name": "Potka",
                        "name_hi": "पोटका",
                        "router": "127.0.0.1",
                        "link": {"contracted": "4 Mbit/s", "contracted_up": "2 Mbit/s"},
                        "snmp": settings,
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
        self.lan: dict[str, Any] = {"octets": (1, 1)}
        self.set_row()

    def _settings(self, directory: Path, **snmp: Any) -> dict[str, Any]:
        settings = {"interface": "wan0", "port": self._router.port, **snmp}
        if "user" in settings:
            secrets = {"auth_file": "password", "privacy_file": "password", **settings["user"]}
            settings["user"] = {
                k: directory / v if k.endswith("_file") else v for k, v in secrets.items()
            }
        else:
            settings["community_file"] = directory / str(
                settings.get("community_file", "community")
            )
        return settings

    def set_row(self, **row: Any) -> None:
        """Change the router's interface."""
        self.row |= row
        lan = interface(2, "lan0", **self.lan)
        self._router.set_state(self.uptime, lan, interface(7, "wan0", **self.row))

    async def pass_traffic(self, seconds: float, down: int, up: int) -> None:
        """Let time pass, with full Ethernet frames of 1518 bytes in each direction."""
        self.uptime += seconds
        for name, each in (("octets", 1518), ("packets", 1)):
            inward, outward = self.row[name]
            self.row[name] = (inward + down * each, outward + up * each)
        self.set_row()
        await self.clock.advance(seconds)

    async def measure(self, office: str = "potka") -> Measurement:
        """Run the probe as the scheduler does."""
        return await asyncio.wait_for(self.runner.run(office, "utilisation"), 20)

    def metric(self, name: str, **labels: str) -> float | None:
        """A sample now; None when it is absent."""
        return MetricsRegistry(self.live, self.clock).get_sample_value(f"jharnet_{name}", labels)


def rates(measurement: Measurement) -> tuple[float | None, ...]:
    """Download, upload and the seconds over which they are the mean."""
    return tuple(measurement.values.get(name) for name in RATES)


async def test_the_mean_rate_between_two_readings(router: Snmpd, tmp_path: Path) -> None:
    """50,000 packets of 1500 bytes in five minutes are 2 Mbit/s; the first reading has no rate."""
    hub = Hub(router, tmp_path)
    first = await hub.measure()
    assert (first.outcome, rates(first)) == (Outcome.OK, (None, None, None))
    assert first.values["router_uptime_seconds"] == 5000.0
    assert hub.metric("utilisation_bytes_per_second", office="potka", direction="down") is None
    await hub.pass_traffic(300, 50_000, 12_500)
    second = await hub.measure()
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


async def test_headquarters_uplink_is_measured_in_the_same_way(
    router: Snmpd, tmp_path: Path
) -> None:
    """Its measurements belong to headquarters, and to no office."""
    hub = Hub(router, tmp_path)
    await hub.measure(HEADQUARTERS)
    await hub.pass_traffic(300, 425_000, 0)
    assert rates(await hub.measure(HEADQUARTERS)) == (17e6, 0.0, 300.0)
    assert hub.metric("uplink_utilisation_ratio", direction="down") == 0.5
    assert hub.metric("uplink_utilisation_bytes_per_second", direction="up") == 0.0
    assert hub.live.offices["potka"].latest == {}


@pytest.mark.parametrize("user", USERS)
async def test_snmpv3(router: Snmpd, tmp_path: Path, user: str) -> None:
    """Authenticated and encrypted, with the algorithms of modern and old routers."""
    hub = Hub(router, tmp_path, user={"name": user, **USERS[user][2]})
    assert (await hub.measure()).values == {"router_uptime_seconds": 5000.0}


@pytest.mark.parametrize(
    ("snmp", "cause", "detail"),
    [
        ({"community_file": "wrong"}, Cause.ROUTER_SILENT, ""),
        ({"port": 9}, Cause.ROUTER_SILENT, ""),
        ({"user": {"name": "modern", "auth_file": "wrong"}}, Cause.SNMP_REFUSED, "authentication"),
        ({"user": {"name": "nobody"}}, Cause.SNMP_REFUSED, "authentication"),
        ({"interface": "wan1"}, Cause.NOT_CONFIGURED, "the router has lan0, wan0, simulated lan0"),
        ({"community_file": "missing"}, Cause.NOT_CONFIGURED, "there is no such file"),
        ({"interface": "2"}, None, ""),
        ({"interface": "simulated wan0"}, None, ""),
    ],
)
async def test_what_the_router_does_not_answer_is_no_data(
    router: Snmpd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    snmp: Mapping[str, Any], cause: Cause | None, detail: str,
) -> None:  # fmt: skip
    """Never a bad line or a zero; an interface may be given by its other name or its number."""
    if cause is Cause.ROUTER_SILENT:
        monkeypatch.setattr("jharnet_monitor.probes.utilisation.snmp.ANSWER_SECONDS", 0.3)
    measurement = await Hub(router, tmp_path, **snmp).measure()
    assert measurement.cause == cause
    assert measurement.outcome is (Outcome.OK if cause is None else Outcome.NO_DATA)
    assert detail in measurement.conditions.get("detail", "")
    assert "x" * 9 not in str(measurement)


async def test_a_restart_gives_no_rate(router: Snmpd, tmp_path: Path) -> None:
    """Counters that restarted are ignored; the next reading gives a rate again."""
    hub = Hub(router, tmp_path)
    await hub.measure()
    await hub.pass_traffic(300, 50_000, 50_000)
    hub.uptime, hub.row = 40.0, {"octets": (0, 0), "packets": (0, 0)}
    hub.set_row()
    restarted = await hub.measure()
    assert restarted.values == {"router_uptime_seconds": 40.0}
    assert restarted.conditions["no_rate"] == "restarted"
    await hub.pass_traffic(300, 50_000, 0)
    assert rates(await hub.measure()) == (2e6, 0.0, 300.0)


async def test_a_router_with_32_bit_counters(router: Snmpd, tmp_path: Path) -> None:
    """A wrap is taken into account; at a speed at which it may happen twice, there is no rate."""
    hub = Hub(router, tmp_path)
    hub.set_row(counters_64_bit=False, octets=((1 << 32) - 1518, 0), packets=(0, 0))
    await hub.measure()
    await hub.pass_traffic(300, 50_000, 0)
    wrapped = await hub.measure()
    assert (wrapped.conditions["counter_bits"], rates(wrapped)) == (32, (2e6, 0.0, 300.0))
    hub.set_row(speed=1_000_000_000)
    await hub.pass_traffic(300, 50_000, 0)
    assert (await hub.measure()).conditions["no_rate"] == "ambiguous"


async def test_errors_and_duplex_of_line_and_lan(router: Snmpd, tmp_path: Path) -> None:
    """Shares of all packets, not of the few since a reading 10 s before; a LAN at half duplex is
    distinguished from the line."""
    hub = Hub(router, tmp_path, lan_interface="lan0")
    hub.lan = {"octets": (0, 0), "packets": (0, 0), "faults": (0, 0), "duplex": 2}
    hub.set_row(faults=(10, 20), duplex=3)
    await hub.measure()
    hub.lan |= {"packets": (9_900, 9_900), "faults": (100, 0)}
    hub.set_row(faults=(10 + 50_000 // 99, 20), duplex=3)
    await hub.pass_traffic(300, 50_000, 50_000)
    found = await hub.measure()
    assert found.values["download_error_ratio"] == pytest.approx(0.01, rel=0.01)
    assert found.values["upload_discard_ratio"] == 0
    assert found.values["lan_error_ratio"] == pytest.approx(0.01)
    duplex = {name: found.conditions[name] for name in ("duplex", "lan_duplex", "lan_errors")}
    assert duplex == {"duplex": "full", "lan_duplex": "half", "lan_errors": True}
    assert hub.metric("lan_half_duplex", office="potka") == 1
    text = PROBES["utilisation"].remarks(hub.config, found, {}, {})
    assert [one.phrase.partition(".")[2] for one in text] == [
        "lan_duplex", "lan_errors", "line_errors",
    ]  # fmt: skip
    for seconds, packets, share in ((10, 9_901, None), (290, 19_900, 0.0001)):
        hub.lan |= {"packets": (packets, packets), "faults": (101, 0)}
        await hub.pass_traffic(seconds, 10, 10)
        after = await hub.measure()
        assert after.values.get("lan_error_ratio") == (share and pytest.approx(share, rel=0.01))
        assert after.conditions.get("lan_errors") == (None if share is None else False)


async def test_counters_of_two_interfaces_give_no_rate(router: Snmpd, tmp_path: Path) -> None:
    """A reload that names another interface: its counters minus those of the first one would be
    25 Gbit/s, and all its damaged packets those of five minutes."""
    hub = Hub(router, tmp_path, interface="lan0", lan_interface="lan0")
    hub.lan = {"octets": (10**9, 10**9), "packets": (10**6, 10**6)}
    hub.set_row(packets=(10**9, 10**8), faults=(10**7, 0))
    assert (await hub.measure()).conditions["no_rate"] == "first_reading"
    snmp = hub.config.offices[0].snmp
    assert snmp is not None
    changed = snmp.model_copy(update={"interface": "wan0", "lan_interface": "wan0"})
    office = hub.config.offices[0].model_copy(update={"snmp": changed})
    hub.current.replace(hub.config.model_copy(update={"offices": (office,)}))
    await hub.pass_traffic(300, 50_000, 0)
    found = await hub.measure()
    assert (found.conditions["no_rate"], rates(found)) == ("first_reading", (None, None, None))
    assert "lan_error_ratio" not in found.values
    await hub.pass_traffic(300, 50_000, 0)
    found = await hub.measure()
    assert rates(found) == (2e6, 0.0, 300.0)
    assert found.values["lan_error_ratio"] == 0


async def test_readings_close_together_give_no_rate(router: Snmpd, tmp_path: Path) -> None:
    """After 10 s the counters may not be up to date, so the window continues."""
    hub = Hub(router, tmp_path)
    await hub.measure()
    await hub.pass_traffic(10, 9_999, 0)
    assert (await hub.measure()).conditions["no_rate"] == "too_soon"
    await hub.pass_traffic(290, 40_001, 0)
    assert rates(await hub.measure()) == (2e6, 0.0, 300.0)


async def test_our_own_tests_are_marked(
    router: Snmpd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A window with a full test is marked; packet trains are too small to matter.

    On the uplink the test of every office counts.
    """

    async def test(context: ProbeContext) -> Reading:
        return Reading({})

    stand_in(
        monkeypatch, "bandwidth", run=test, time_limit=lambda _: 9.0, heavy=True,
        needs_agent=lambda _: False, cost=lambda _: 0, reserve=lambda _: 0.0,
    )  # fmt: skip
    hub = Hub(router, tmp_path)
    for place in ("potka", HEADQUARTERS):
        await hub.measure(place)
    for path, mark in (("trains", None), ("jharnet", True), ("trains", None)):
        await hub.pass_traffic(200, 1000, 1000)
        await hub.runner.run("potka", "bandwidth", {"path": path})
        await hub.pass_traffic(100, 1000, 1000)
        for place in ("potka", HEADQUARTERS):
            assert (await hub.measure(place)).conditions.get("under_load") is mark


# --- what the uptime shows about an outage


class MonitoredHub(Hub):
    """A hub with an office monitor; the test sets which targets answer."""

    def __init__(self, router: Snmpd, directory: Path) -> None:
        super().__init__(router, directory)
        self.office_monitor = OfficeMonitor(
            self.current, self.clock, self.live, self.recorder, self.writer, self.runner
        )

    async def set_answers(self, answers: bool) -> None:
        """The router starts or stops answering echo requests."""
        role: Literal["router"] = "router"
        target, now = Target("potka", role, "127.0.0.1", measured=True), self.clock.now()
        self.office_monitor._note_reachability(Reachability(target, answers, now, now))
        await self.settled()

    async def settled(self) -> None:
        """Wait until the office monitor has finished its tasks."""
        while pending := list(self.office_monitor._pending):
            await asyncio.wait(pending, timeout=0.2)
            await self.clock.advance(1)


@pytest.mark.parametrize(
    ("uptime", "cause"), [(90_000.0, OfficeState.LINK_DOWN), (200.0, OfficeState.POWER_DOWN)]
)
async def test_the_routers_uptime_distinguishes_line_from_power(
    router: Snmpd, tmp_path: Path, uptime: float, cause: OfficeState
) -> None:
    """Ten minutes without an answer and no agent: if the router kept running, the line was down; if
    it restarted, the power was. The cause is known within a minute of the return."""
    hub = MonitoredHub(router, tmp_path)
    await hub.office_monitor.restore()
    hub.office_monitor._latency_monitor.uplink_is_up = lambda: True  # type: ignore[method-assign]
    await hub.set_answers(True)
    await hub.clock.advance(60)
    cut = hub.clock.now()
    await hub.set_answers(False)
    assert hub.live.offices["potka"].state is OfficeState.UNREACHABLE
    await hub.clock.advance(600)
    hub.uptime = uptime
    hub.set_row()
    back = hub.clock.now()
    await hub.set_answers(True)
    await hub.clock.advance(10)
    await hub.office_monitor._reviews.run_due()
    past = hub.live.offices["potka"].last_outage
    assert past is not None and past.cause is cause
    assert past.attributed_at - back < timedelta(seconds=60)
    assert abs(past.began - cut) < timedelta(seconds=2)
