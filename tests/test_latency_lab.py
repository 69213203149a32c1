"""Latency over the lab's links: counts match the emulator's, and outages are detected in time."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
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


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """One office with a lossy line and one with a good one."""
    good = {"down": {"delay": "5ms"}, "up": {"delay": "5ms"}}
    with Lab.start({"seed": 5, "offices": {"potka": LINE, "boram": good}}, "jhnl") as running:
        yield running


def at_headquarters(lab: Lab, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine on its own event loop, with its sockets in headquarters' network."""

    def body() -> T:
        with lab.inside(HEADQUARTERS):
            return asyncio.run(work())

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(body).result()


def test_counts_and_times_match_the_emulator(lab: Lab) -> None:
    """The same packets sent and received, and the same median RTT to 1 ms."""
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
    assert reading.values["rtt_p50_seconds"] == pytest.approx(truth, abs=0.001)


def test_outages_are_detected_within_ten_seconds(lab: Lab) -> None:
    """Of one office's link, then of the uplink; the two are distinguished."""
    potka, boram = lab.addresses("potka"), lab.addresses("boram")
    config = settings_for(
        {"router": potka.router},
        {"router": boram.router},
        gateway=lab.addresses(HEADQUARTERS).router,
    )
    changes: list[Reachability] = []

    def reported(office: str | None, answers: bool) -> bool:
        return any((c.target.office, c.answers) == (office, answers) for c in changes)

    async def until(true: Callable[[], bool]) -> float:
        started = time.monotonic()
        while not true() and time.monotonic() - started < 15:
            await asyncio.sleep(0.1)
        return time.monotonic() - started

    async def watch() -> None:
        monitor = LatencyMonitor(
            config, SystemClock(), on_summary=lambda summary: None, on_reachability=changes.append
        )
        running = asyncio.create_task(monitor.run())
        await until(lambda: len(changes) == 3)
        assert monitor.uplink_is_up() is True
        changes.clear()
        await asyncio.to_thread(lab.cut, "potka", "link")
        assert await until(lambda: reported("o0", False)) < 10
        assert monitor.uplink_is_up() is True and not reported("o1", False)
        await asyncio.to_thread(lab.restore, "potka", "link")
        assert await until(lambda: reported("o0", True)) < 10
        await asyncio.to_thread(lab.cut, UPLINK)
        assert await until(lambda: monitor.uplink_is_up() is False) < 10
        assert not reported("o1", False), "the uplink is known to be down before an office is"
        await asyncio.to_thread(lab.restore, UPLINK)
        assert await until(lambda: monitor.uplink_is_up() is True) < 10
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        await monitor.flush()

    at_headquarters(lab, watch)
