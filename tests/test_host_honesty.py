"""What our own computers do to a measurement is never held against a line."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from jharnet_monitor.agent import daemon
from jharnet_monitor.hub import agent_server
from jharnet_monitor.judge.conference.grade import Criteria
from jharnet_monitor.model import Cause
from jharnet_monitor.probes.base import NoData
from jharnet_monitor.probes.conference.result import CallSides, reading
from jharnet_monitor.profiles import rung
from jharnet_monitor.rtc.stats import host_load
from jharnet_monitor.rtc.stats.host_load import HostLoadMonitor
from tests.support import running
from tests.test_receive import received, send_stats
from tests.test_session import Door, make_agent
from tests.test_states import Bench


def judged(**ours: Any) -> Any:
    """The reading of a call whose hub sent so, or why there is none."""
    sent = send_stats(**ours)
    theirs = send_stats()
    sides = CallSides(sent, theirs, received(sent), received(theirs))
    try:
        return reading(rung("720p"), sides, Criteria(), {})
    except NoData as error:
        return error


SLOW = {"stepped_down": True, "capacity": 500_000.0, "stepped_after": 3.0}


def test_a_busy_host_blames_no_line() -> None:
    """USERS 2: with three busy loops of 8 s beside the hub eight lines were blamed for their speed,
    on a page to be signed. Without the disturbance the same call is the line's."""
    assert judged(**SLOW).values["grade"] < 4
    spoiled = judged(**SLOW, disturbed_seconds=8)
    assert isinstance(spoiled, NoData)
    assert spoiled.cause is Cause.HOST_OVERLOADED
    assert spoiled.values == {}
    assert "the hub got too little of its CPU for 8 s" in spoiled.detail
    assert spoiled.conditions["limited_by"] == "host"


def test_an_old_agent_that_does_not_tell_is_judged_as_before() -> None:
    """The fields are new: an agent of an older version does not send them."""
    assert judged(**{**SLOW, "stepped_after": None}).values["grade"] < 4


@pytest.mark.parametrize(
    ("waited", "stolen", "disturbed"),
    [(0.0, 0.0, False), (0.3, 0.0, False), (0.7, 0.0, True), (0.0, 0.2, True)],
)
async def test_waiting_for_the_cpu_is_seen(
    monkeypatch: pytest.MonkeyPatch, waited: float, stolen: float, disturbed: bool
) -> None:
    """CPU taken by other programs, or by other virtual machines, delays packets without a stall of
    the event loop."""
    began = time.monotonic()
    monkeypatch.setattr(host_load, "_waited", lambda: waited * (time.monotonic() - began))
    monkeypatch.setattr(host_load, "_stolen", lambda: stolen * (time.monotonic() - began))
    monitor = HostLoadMonitor()
    task = asyncio.create_task(monitor.run())
    await asyncio.sleep(1.3)
    task.cancel()
    assert bool(monitor.load().disturbed) is disturbed


@pytest.mark.parametrize("seconds", [0.4, 1.0, 3.0])
async def test_a_blocked_loop_is_seen(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """By its stall within the second, however long the call is."""
    monkeypatch.setattr(host_load, "_waited", lambda: 0.0)
    monitor = HostLoadMonitor()
    task = asyncio.create_task(monitor.run())
    await asyncio.sleep(0.1)
    time.sleep(seconds)  # noqa: ASYNC251 - it blocks the loop on purpose
    await asyncio.sleep(1.2)
    task.cancel()
    assert monitor.load().disturbed >= max(1, int(seconds))


async def test_a_hub_that_was_stopped_ends_no_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a pause of the hub its agents' frames are still to be read: they had not left."""
    monkeypatch.setattr(agent_server, "SILENCE_SECONDS", 0.6)
    monkeypatch.setattr(daemon, "SILENCE_SECONDS", 0.6)
    monkeypatch.setattr(daemon, "HEARTBEAT_SECONDS", 0.1)
    async with Door().open() as door, running(make_agent(door, tmp_path)):
        session = await door.session("potka")
        for _ in range(3):
            await asyncio.sleep(0.3)
            time.sleep(2.0)  # noqa: ASYNC251 - it blocks the loop on purpose
        await asyncio.sleep(0.5)
        assert door.agents.get("potka") is session
        assert not door.heard.leaves


def test_a_hub_that_was_stopped_takes_no_agent_for_silent() -> None:
    """An agent that alone proves its line was `unreachable` after a pause of 8 s."""
    bench = Bench()
    bench.seen.seen_before = True
    bench.seen.heard_at = bench.clock.monotonic()
    bench.router(False)
    bench.seen.pc = False
    bench.states.look()
    assert bench.state(1) == "up"
    bench.clock._pass(8)
    bench.states.look()
    assert bench.state() == "up"
    for _ in range(4):  # and nothing is heard of it in the seconds after it either
        bench.clock._pass(1)
        bench.states.look()
    assert bench.state() == "unreachable"
