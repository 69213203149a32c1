"""A running lab: it does to packets what is configured, and cuts work."""

from __future__ import annotations

import signal
import socket
import sys
import time
from collections.abc import Iterator

import pytest

from jharnet_monitor.errors import UserError
from jharnet_monitor.lab import BOOT_ID_VARIABLE, HEADQUARTERS, UPLINK, Lab
from tests.lab_support import (
    Arrivals,
    Prober,
    Stream,
    needs_lab,
    receive,
    simultaneous_streams,
    udp_socket,
    wait_until,
)

pytestmark = [pytest.mark.root, needs_lab]

PREFIX = "jhnt"
SPEC = {
    "seed": 11,
    "congestion_control": "reno",
    "uplink": {"down": {"rate": "34 Mbit/s"}, "up": {"rate": "34 Mbit/s"}},
    "offices": {
        "potka": {"down": {"delay": "15ms"}, "up": {"delay": "10ms"}},
        "boram": {},
    },
}


@pytest.fixture(scope="module")
def shared() -> Iterator[Lab]:
    """One lab for all tests that undo their changes."""
    with Lab.start(SPEC, PREFIX) as lab:
        yield lab


@pytest.fixture
def lab(shared: Lab) -> Iterator[Lab]:
    """The shared lab, with links as in `SPEC`, nothing cut and counters at 0."""
    shared.reset()
    yield shared
    for where, link in shared.status()["links"].items():
        for what in link["cuts"]:
            shared.restore(where, what)
    for direction, delay in (("down", "15ms"), ("up", "10ms")):
        for setting in (f"delay={delay}", "jitter=0ms", "loss=0%", "rate=null", "queue=200ms"):
            key, _, value = setting.partition("=")
            shared.set("potka", f"{direction}.{key}", value)


def answers(lab: Lab, address: str) -> bool:
    """Whether headquarters gets an echo reply from the address within two seconds."""
    prober = Prober(lab)
    return bool(prober.probe([address], rounds=1, gap=0.0, wait=2.0))


def flood(lab: Lab, rate: float, packets: int, size: int = 1400) -> Arrivals:
    """Send UDP from headquarters to Potka's PC at `rate` bit/s; returns what arrived."""
    target = udp_socket(lab, "potka")
    address = (lab.addresses("potka").pc, target.getsockname()[1])
    stream = Stream(udp_socket(lab, HEADQUARTERS), address, rate, size)
    with simultaneous_streams([stream], (packets - 0.5) * stream.gap) as sender:
        return receive(target, silence=1.0, sender=sender)


# Settings


def test_all_addresses_answer(lab: Lab) -> None:
    """Routers, PCs, gateway and extra addresses answer over IPv4 and IPv6, from both sides."""
    potka, boram, hq = (lab.addresses(w) for w in ("potka", "boram", HEADQUARTERS))
    for target in (potka.pc, potka.router6, boram.pc6, "10.16.4.99", hq.router, hq.router6):
        lab.run(HEADQUARTERS, ["ping", "-c", "1", "-W", "2", target])
    for target in (hq.pc, hq.pc6, hq.router, boram.pc, potka.router):
        lab.run("potka", ["ping", "-c", "1", "-W", "2", target])


def test_delay_can_be_changed_while_running(lab: Lab) -> None:
    """The round trip is the sum of both delays; a change applies from the next packet on."""
    prober, target = Prober(lab), lab.addresses("potka").router
    before = sorted(echo.rtt for echo in prober.probe([target], 40, 0.01, 2.0))
    lab.set("potka", "up.delay", "60ms")
    after = sorted(echo.rtt for echo in prober.probe([target], 40, 0.01, 2.0))
    assert len(before) == len(after) == 40
    assert before[0] >= 0.0248 and after[0] >= 0.0748
    # the quickest, as a busy machine delays the others
    assert before[0] == pytest.approx(0.025, abs=0.003)
    assert after[0] == pytest.approx(0.075, abs=0.003)
    assert lab.settings("potka", "up").delay == pytest.approx(0.06)


def test_rate(lab: Lab) -> None:
    """A flood arrives at the link's rate; the queue drops and counts the rest."""
    lab.set("potka", "down.rate", "8 Mbit/s")
    arrivals = flood(lab, 12e6, packets=1500)
    (flow,) = (f for f in lab.flows() if f["protocol"] == "udp")
    assert arrivals.median_rate(200) == pytest.approx(8e6, rel=0.01)
    assert flow["packets_in"] == 1500
    assert flow["packets_out"] == len(arrivals.moments)
    assert flow["dropped_queue"] == 1500 - len(arrivals.moments)
    # The delay and a full queue; on a busy machine the emulator sends some packets later.
    late = lab.status()["lateness_ms"]["p99"]
    assert 210 < flow["sojourn_p95_ms"] < 220 + late
    assert lab.status()["links"]["potka"]["down"]["queue_max_ms"] <= 200


@pytest.mark.parametrize(("loss", "mean"), [("3%", 0.03), ("{mean: 5%, burst: 4}", 0.05)])
def test_loss(lab: Lab, loss: str, mean: float) -> None:
    """The receiver misses exactly the packets that the emulator counts as lost. The kernel has
    dropped none of them before the emulator, as it may while that is late."""
    lab.set("potka", "down.loss", loss)
    before = lab.status()["interface_drops"]
    arrivals = flood(lab, 6e6, packets=3000, size=200)
    down = lab.status()["links"]["potka"]["down"]
    assert down["packets_in"] == 3000
    assert down["dropped_loss"] == 3000 - len(arrivals.moments)
    assert down["loss_ratio"] == pytest.approx(mean, abs=0.02)
    assert lab.status()["interface_drops"] == before


def test_flows_are_counted_separately(lab: Lab) -> None:
    """Each direction of an echo flow has its own counters, and each packet a log record."""
    prober, target = Prober(lab), lab.addresses("potka").router
    prober.probe([target], 10, 0.01, 0.3)
    flows = {(f["from"], f["to"]): f for f in lab.flows() if f["echo_id"] == prober.echo_id}
    assert set(flows) == {(HEADQUARTERS, "potka"), ("potka", HEADQUARTERS)}
    assert all(f["packets_out"] == 10 for f in flows.values())
    late = lab.status()["lateness_ms"]["p99"]
    assert 14 < flows[HEADQUARTERS, "potka"]["sojourn_p50_ms"] < 18 + late
    records = [p for p in lab.echo_packets() if p.echo_id == prober.echo_id]
    assert sorted((p.source, p.sequence) for p in records) == sorted(
        (source, n) for source in (target, "10.8.0.2") for n in range(10)
    )
    assert all(p.left and p.left >= p.arrived + 0.0099 for p in records)


def test_congestion_control_is_per_namespace(lab: Lab) -> None:
    """Inside the lab its congestion control applies, not the machine's."""
    for where in (HEADQUARTERS, "potka"):
        with lab.inside(where), socket.socket() as tcp:
            assert tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)[:5] == b"reno\0"


# Cuts


def test_link_cut(lab: Lab) -> None:
    """Packets are counted as cut, the LAN behind the link still works, and `restore` ends it."""
    lab.cut("potka", "link")
    here = lab.addresses("potka")
    assert not answers(lab, here.router)
    assert answers(lab, lab.addresses("boram").router)
    lab.run("potka", ["ping", "-c", "1", "-W", "2", here.router])
    assert lab.status()["links"]["potka"]["down"]["dropped_cut"] == 1
    with pytest.raises(UserError, match="already"):
        lab.cut("potka", "link")
    lab.restore("potka", "link")
    assert answers(lab, here.pc)


def test_lan_cut(lab: Lab) -> None:
    """The router answers, nothing behind it does, and programs keep running."""
    program = lab.popen("potka", ["sleep", "60"])
    lab.cut("potka", "lan")
    here = lab.addresses("potka")
    assert answers(lab, here.router)
    assert not answers(lab, here.pc)
    assert program.poll() is None
    lab.restore("potka", "lan")
    wait_until(lambda: answers(lab, here.pc))
    lab.run(HEADQUARTERS, ["ping", "-c", "1", "-W", "2", here.pc6])
    program.kill()
    program.wait()


def test_power_cut_kills_programs_and_changes_boot_id(lab: Lab) -> None:
    """All programs of the office, and no others, are killed; the PC gets another boot id."""
    show = [
        sys.executable,
        "-c",
        f"import os; print(open(os.environ['{BOOT_ID_VARIABLE}']).read())",
    ]
    before = lab.run("potka", show).stdout.strip()
    victim, other = lab.popen("potka", ["sleep", "60"]), lab.popen("boram", ["sleep", "60"])
    lab.cut("potka", "power")
    assert victim.wait(5) == -signal.SIGKILL
    assert other.poll() is None
    assert not answers(lab, lab.addresses("potka").router)
    with pytest.raises(UserError, match="no power"):
        lab.popen("potka", ["true"])
    lab.restore("potka", "power")
    assert answers(lab, lab.addresses("potka").pc)
    after = lab.run("potka", show).stdout.strip()
    assert after == lab.boot_id("potka") != before
    other.kill()
    other.wait()


def test_uplink_cut(lab: Lab) -> None:
    """Headquarters reaches nothing, not even its gateway; offices still reach each other."""
    lab.cut(UPLINK)
    for target in (lab.addresses("potka").router, lab.addresses(HEADQUARTERS).router):
        assert not answers(lab, target)
    lab.run("potka", ["ping", "-c", "1", "-W", "2", lab.addresses("boram").pc])
    lab.restore(UPLINK)
    assert answers(lab, lab.addresses(HEADQUARTERS).router)


def test_blackouts() -> None:
    """A link is interrupted in both directions at the configured times, repeatedly."""
    blackouts = [{"at": "300ms", "for": "300ms", "every": "600ms"}]
    spec = {"offices": {"potka": {"blackouts": blackouts}}}
    with Lab.start(spec, "jhntb") as lab:
        states: list[bool] = []
        for _ in range(40):
            link = lab.status()["links"]["potka"]
            assert link["up"]["passing"] == link["down"]["passing"]
            if not states or states[-1] != link["down"]["passing"]:
                states.append(link["down"]["passing"])
            time.sleep(0.05)
        assert len(states) >= 5  # alternating
