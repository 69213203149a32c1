"""Latency over the lab's links: counts match the emulator's, and outages are detected in time."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import median
from typing import Any, TypeVar

import pytest

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.lab import HEADQUARTERS, UPLINK, Lab
from jharnet_monitor.probes import PROBES, ProbeContext, Reading
from jharnet_monitor.probes.latency.monitor import LatencyMonitor
from jharnet_monitor.probes.latency.target import Reachability
from tests.lab_support import needs_lab
from tests.latency_support import settings_for

pytestmark = [pytest.mark.root, needs_lab]

T = TypeVar("T")
LINE = {"down": {"delay": "25ms", "loss": "10%"}, "up": {"delay": "15ms"}}


OFFICES = {"potka": LINE, "boram": {"down": {"delay": "5ms"}, "up": {"delay": "5ms"}}}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """One office with a lossy line and one with a good one."""
    with Lab.start({"seed": 5, "offices": OFFICES}, "jhnl") as running:
        yield running


@pytest.fixture
def other_lab() -> Iterator[Lab]:
    """The same offices elsewhere, for a fault at the same time."""
    with Lab.start({"seed": 5, "offices": OFFICES}, "jhnm") as running:
        yield running


def at_headquarters(lab: Lab, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine on its own event loop, with its sockets in headquarters' network."""

    def body() -> T:
        with lab.inside(HEADQUARTERS):
            return asyncio.run(work())

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(body).result()


def test_counts_and_times_match_the_emulator(lab: Lab) -> None:
    """The same packets sent and received, and the same median RTT to 2 ms."""
    config = settings_for({"router": lab.addresses("potka").router}, timeout="1s")
    context = ProbeContext(config, config.offices[0], SystemClock(), None, {"packets": 50})

    async def probe() -> Reading:
        return await PROBES["latency"].run(context)

    reading = at_headquarters(lab, probe)
    packets = [p for p in lab.echo_packets() if p.echo_id == reading.conditions["icmp_id"]]
    router = lab.addresses("potka").router
    requests = {p.sequence: p.arrived for p in packets if p.target == router}
    replies = {p.sequence: p.left for p in packets if p.source == router and p.left is not None}
    assert reading.values["sent"] == len(requests) == 50
    assert reading.values["received"] == len(replies) < 50
    truth = median(left - requests[sequence] for sequence, left in replies.items())
    assert reading.values["rtt_p50_seconds"] == pytest.approx(truth, abs=0.002)


class Watch:
    """A monitor of a lab's offices and uplink, and the changes that it reported."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.changes: list[Reachability] = []
        config = settings_for(
            *({"router": lab.addresses(office).router} for office in OFFICES),
            gateway=lab.addresses(HEADQUARTERS).router,
        )
        self.monitor = LatencyMonitor(
            config, SystemClock(), on_summary=lambda summary: None,
            on_reachability=self.changes.append,
        )  # fmt: skip

    def reported(self, office: str | None, answers: bool) -> bool:
        """Whether this change was reported."""
        return any((c.target.office, c.answers) == (office, answers) for c in self.changes)

    async def run(self, fault: Callable[[Watch], Coroutine[Any, Any, None]]) -> None:
        """Let a fault happen once all is known to be up."""
        running = asyncio.create_task(self.monitor.run())
        await until(lambda: len(self.changes) == 3)
        assert self.monitor.uplink_is_up() is True
        self.changes.clear()
        await fault(self)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        await self.monitor.flush()


async def until(true: Callable[[], bool]) -> float:
    """Wait for a condition, at most 15 s; returns the seconds that it took."""
    started = time.monotonic()
    while not true() and time.monotonic() - started < 15:
        await asyncio.sleep(0.05)
    return time.monotonic() - started


async def line_cut(watch: Watch) -> None:
    """Of one office."""
    await asyncio.to_thread(watch.lab.cut, "potka", "link")
    assert await until(lambda: watch.reported("o0", False)) < 10
    assert watch.monitor.uplink_is_up() is True and not watch.reported("o1", False)
    await asyncio.to_thread(watch.lab.restore, "potka", "link")
    assert await until(lambda: watch.reported("o0", True)) < 10


async def uplink_cut(watch: Watch) -> None:
    """It is known to be down before an office is."""
    await asyncio.to_thread(watch.lab.cut, UPLINK)
    assert await until(lambda: watch.monitor.uplink_is_up() is False) < 10
    assert not watch.reported("o0", False) and not watch.reported("o1", False)
    await asyncio.to_thread(watch.lab.restore, UPLINK)
    assert await until(lambda: watch.monitor.uplink_is_up() is True) < 10


def test_outages_are_detected_within_ten_seconds(lab: Lab, other_lab: Lab) -> None:
    """Of an office's link, and at the same time of the uplink elsewhere; they are distinguished."""
    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(at_headquarters, place, partial(Watch(place).run, fault))
            for place, fault in ((lab, line_cut), (other_lab, uplink_cut))
        ]
    for run in runs:
        run.result()
