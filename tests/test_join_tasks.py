"""The tasks of the join page in a real Chromium: which run together, and what their end means."""

from __future__ import annotations

import asyncio
import signal
from itertools import pairwise

import psutil
import pytest
from playwright.async_api import Browser

from jharnet_monitor.model import Cause, Outcome
from jharnet_monitor.probes.base import ChannelClosed
from jharnet_monitor.probes.latency import page as latency_page
from jharnet_monitor.web.render import STATIC
from tests.join_support import Door, browser, door, join, open_link
from tests.page_support import KEEP_BUSY, LET_REST

__all__ = ["browser", "door"]

pytestmark = pytest.mark.browser

NUMBER_TWICE = """async (module) => {
  const { Session } = await import(module);
  const sockets = [], channels = [], ends = [];
  window.WebSocket = class {
    static OPEN = 1;
    readyState = 1;
    constructor() { sockets.push(this); }
    say(frame) { this.onmessage({ data: JSON.stringify(frame) }); }
    send() {}
    close() {}
  };
  const opened = [];
  const open = (channel, task) => {
    opened.push(task);
    channels.push(channel);
    return new Promise((done) => ends.push(done));
  };
  const on = new Proxy({}, { get: (_, name) => (name === "open" ? open : () => 0) });
  const session = new Session({ office: "potka", token: "t", bootId: "b", features: [] }, on);
  const soon = () => new Promise((resolve) => setTimeout(resolve));
  const begin = async (...tasks) => {
    session.connect();
    sockets.at(-1).say({ type: "welcome" });
    tasks.forEach((task, n) => sockets.at(-1).say({ type: "open", id: n + 1, task, params: {} }));
    await soon();
  };
  await begin("conference");
  session.lost(0);
  await begin("visit", "conference");
  const before = opened.length;
  ends[0]();
  await soon();
  sockets[1].say({ type: "closed", id: 1, why: "over" });
  const ended = channels.map((channel) => channel.ended);
  session.lost(0);
  let left = false;
  const leaving = session.leave().then(() => (left = true));
  await soon();
  const early = left;
  ends.forEach((end) => end());
  await leaving;
  return { ended, opened, before, early };
}"""

STAMPS = """async () => {
  const worker = new Worker(document.getElementById("join").dataset.worker, { type: "module" });
  const stamps = [[], []];
  worker.onmessage = ({ data }) => data.stamp && stamps[data.stamp - 1].push(data.at);
  const after = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  for (const number of [1, 2]) worker.postMessage({ stamps: number });
  const patience = Date.now() + 30000;
  do await after(2000); while (stamps[0].length < 25 && Date.now() < patience);
  worker.postMessage({ last: 1 });
  await after(500);
  worker.terminate();
  return stamps;
}"""
DATAGRAMS = "join-datagrams.js"
REPORT = "await Promise.race([lateness.end(), channel.over])"
"""What a page reports at the end of a series of datagrams, in that module."""
BREAK = """(step) => {
  RTCPeerConnection.prototype[step] = () => { throw new Error("not today"); };
}"""


async def test_small_tasks_run_together_and_large_ones_do_not(door: Door, browser: Browser) -> None:
    """Two measurements by datagrams at the same time both have a result; a second speed test is
    refused, with the reason."""
    await join(await open_link(browser, door.link))
    runs = [door.undisturbed("latency", {"path": "page"}) for _ in range(2)]
    for result in await asyncio.gather(*runs):
        assert (result.outcome, result.cause) == (Outcome.OK, None), result.conditions
        assert result.values["received"] > 0
    connection = door.hub.agents.get("potka")
    assert connection is not None
    first, second = [await connection.open("bandwidth", {}) for _ in range(2)]
    with pytest.raises(ChannelClosed, match="busy with another bandwidth"):
        await asyncio.wait_for(second.receive(), 30)
    await first.close()


async def test_the_worker_posts_the_time_at_random_and_ends(door: Door, browser: Browser) -> None:
    """A page that works at a fixed interval is then neither met nor missed each time. After the
    last message no more come, and another series goes on."""
    page = await open_link(browser, door.link)
    [ended, others] = await page.evaluate(STAMPS)
    gaps = [after - before for before, after in pairwise(ended)]
    assert len(gaps) > 20 and min(gaps[:-1]) < 40 and max(gaps) > 60, gaps
    assert others[-1] > ended[-1] + 200


async def test_a_busy_page_gives_no_round_trip(door: Door, browser: Browser) -> None:
    """Its thread computes during five sixths of the time, which would be in the round trips of the
    datagrams and in those of its own heartbeats. Once it rests, both are given again."""
    page = await open_link(browser, door.link)
    await join(page)
    await page.evaluate(KEEP_BUSY)
    busy = await door.hub.run_probe("potka", "latency", {"path": "page"})
    assert (busy.outcome, busy.cause) == (Outcome.NO_DATA, Cause.HOST_OVERLOADED), busy
    assert busy.conditions["agent_loop_lag_p75_seconds"] > 0.02, busy.conditions
    assert not busy.values
    await lose_session(door)
    await page.evaluate(LET_REST)
    await lose_session(door)  # that minute is half of each
    rested = await door.undisturbed("latency", {"path": "page"})
    assert (rested.outcome, rested.cause) == (Outcome.OK, None), rested
    assert 0 < rested.values["rtt_p50_seconds"] < 0.02
    for end in ("hub", "agent"):
        quartile = rested.conditions[f"{end}_loop_lag_p75_seconds"]
        assert 0 <= quartile <= rested.conditions[f"{end}_loop_lag_seconds"], end
    await lose_session(door)
    first, *_, last = door.measured_by_page()
    assert (first.outcome, first.values["received"] > 0) == (Outcome.OK, True), first
    assert "rtt_p50_seconds" not in first.values, first
    assert first.conditions["agent_loop_lag_p75_seconds"] > 0.02, first
    late = last.conditions["agent_loop_lag_p75_seconds"] > latency_page.MAX_LAG_P75
    assert late or 0 < last.values["rtt_p50_seconds"] < 0.02, last


async def lose_session(door: Door) -> None:
    """End the page's session after a heartbeat, so that it hands in what it has measured, and wait
    until the hub has that."""
    connection = door.hub.agents.get("potka")
    assert connection is not None
    rows = len(door.measured_by_page())
    seen = connection.last_frame_at
    await asyncio.sleep(2.5)
    await door.until(lambda: connection.last_frame_at > seen, 30)
    await connection.socket.close(code=1001)
    await door.until(lambda: len(door.measured_by_page()) > rows, 30)


async def test_a_browser_that_stood_still_is_no_loss(door: Door, browser: Browser) -> None:
    """The whole of it, and its worker, for longer than the hub waits for a datagram."""
    await join(await open_link(browser, door.link))
    series = {"path": "page", "packets": 40, "seconds": 8}
    run = asyncio.create_task(door.hub.run_probe("potka", "latency", series))
    await asyncio.sleep(3)
    for number, seconds in ((signal.SIGSTOP, 3), (signal.SIGCONT, 0)):
        for process in psutil.Process().children(recursive=True):
            if "chrom" in process.name():
                process.send_signal(number)
        await asyncio.sleep(seconds)
    result = await asyncio.wait_for(run, 60)
    assert (result.outcome, result.cause) == (Outcome.NO_DATA, Cause.HOST_OVERLOADED), result
    assert result.conditions["agent_loop_lag_seconds"] > 2, result.conditions
    assert not result.values


@pytest.mark.parametrize(
    ("report", "cause"),
    [
        ("{ loop_lag: 0.001, loop_lag_p75: -1 }", Cause.BAD_REPORT),
        ("{ loop_lag: '1', loop_lag_p75: 0.001 }", Cause.BAD_REPORT),
        ("null", Cause.BAD_REPORT),
        ("await new Promise(() => {})", Cause.AGENT_LOST),
    ],
)
async def test_a_page_that_does_not_say_how_late_it_was(
    door: Door, browser: Browser, monkeypatch: pytest.MonkeyPatch, report: str, cause: Cause
) -> None:
    """Its report is nonsense, or missing: there is no figure, for it may have been busy."""
    if cause is Cause.AGENT_LOST:
        monkeypatch.setattr(latency_page, "LAG_SECONDS", 1.0)
    module = STATIC.joinpath(DATAGRAMS).read_text("utf-8")
    assert module.count(REPORT) == 1
    changed = {DATAGRAMS: module.replace(REPORT, report)}
    await join(await open_link(browser, door.link, instead=changed))
    result = await door.hub.run_probe("potka", "latency", {"path": "page", "packets": 3})
    assert (result.outcome, result.cause) == (Outcome.NO_DATA, cause), result
    assert not result.values


async def test_a_page_from_before_an_update_is_measured(door: Door, browser: Browser) -> None:
    """A tab that has been open since then cannot say how late it is: the figures are given, and no
    lag of it."""
    module = STATIC.joinpath(DATAGRAMS).read_text("utf-8")
    assert module.count(", reports_lag: true") == 1
    old = {DATAGRAMS: module.replace(", reports_lag: true", "")}
    await join(await open_link(browser, door.link, instead=old))
    result = await door.undisturbed("latency", {"path": "page"})
    assert (result.outcome, result.cause) == (Outcome.OK, None), result
    assert 0 < result.values["rtt_p50_seconds"] < 0.5, "it may be late"
    assert [name for name in result.conditions if name.startswith("agent_loop_lag")] == []


async def test_a_result_that_does_not_come_is_not_awaited_for_ever(
    door: Door, browser: Browser
) -> None:
    """The page asks for it after each test. A browser has few connections to one hub, and tests
    need them. Without a service worker, which a browser refuses where the certificate is unknown.
    """
    script = STATIC.joinpath("join.js").read_text("utf-8")
    for now, then in (("RENEW_PATIENCE = 45000", "RENEW_PATIENCE = 500"),
                      ("navigator.serviceWorker?", "null?")):  # fmt: skip
        assert script.count(now) == 1
        script = script.replace(now, then)
    page = await open_link(browser, door.link, instead={"join.js": script})
    await join(page)
    await page.route("**/join/potka", lambda _: None)  # it is never answered
    connection = door.hub.agents.get("potka")
    assert connection is not None
    async with page.expect_event("requestfailed", timeout=30_000) as given_up:
        await (await connection.open("bandwidth", {})).close()
    request = await given_up.value
    assert (request.resource_type, request.failure) == ("fetch", "net::ERR_ABORTED"), request


async def test_a_page_that_is_closed_is_no_loss(door: Door, browser: Browser) -> None:
    """In the middle of a series of datagrams: it is not known why some are missing."""
    page = await open_link(browser, door.link)
    await join(page)
    series = {"path": "page", "packets": 40, "seconds": 20}
    run = asyncio.create_task(door.hub.run_probe("potka", "latency", series))
    await page.wait_for_timeout(4000)
    await page.goto("about:blank")
    result = await asyncio.wait_for(run, 60)
    assert (result.outcome, result.cause) == (Outcome.NO_DATA, Cause.AGENT_LOST), result
    assert not result.values


@pytest.mark.parametrize("step", ["createDataChannel", "setRemoteDescription"])
async def test_a_page_without_a_data_channel_says_why(
    door: Door, browser: Browser, step: str
) -> None:
    """Before its offer and after our answer: UDP is not said to be blocked, and the reason is in
    the measurement."""
    page = await open_link(browser, door.link)
    await join(page)
    await page.evaluate(BREAK, step)
    result = await door.hub.run_probe("potka", "latency", {"path": "page"})
    assert (result.outcome, result.cause) == (Outcome.NO_DATA, Cause.AGENT_LOST), result
    assert result.conditions["detail"] == "failed: not today"


async def test_a_task_that_ends_late_leaves_the_next_session_alone(
    door: Door, browser: Browser
) -> None:
    """Each session numbers its channels from 1: the new one's still gets its messages when the old
    one of that number ends. A call waits until the one of the session before has ended, and so does
    a page that leaves."""
    page = await open_link(browser, door.link)
    module = str(await page.locator("script[src*='join']").first.get_attribute("src"))
    found = await page.evaluate(NUMBER_TWICE, module.replace("join.js", "join-session.js"))
    assert found["ended"] == ["the session was lost", "over", ""]
    assert (found["opened"], found["before"]) == (["conference", "visit", "conference"], 2)
    assert found["early"] is False
