"""The tasks of the join page in a real Chromium: which run together, and what their end means."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import Browser

from jharnet_monitor.model import Cause, Outcome
from jharnet_monitor.probes.base import ChannelClosed
from tests.test_join import Door, browser, door, join, open_link

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

BREAK = """(step) => {
  RTCPeerConnection.prototype[step] = () => { throw new Error("not today"); };
}"""


async def test_small_tasks_run_together_and_large_ones_do_not(door: Door, browser: Browser) -> None:
    """Two measurements by datagrams at the same time both have a result; a second speed test is
    refused, with the reason."""
    await join(await open_link(browser, door.link))
    runs = [door.hub.run_probe("potka", "latency", {"path": "page"}) for _ in range(2)]
    for result in await asyncio.gather(*runs):
        assert (result.outcome, result.cause) == (Outcome.OK, None), result.conditions
        assert result.values["received"] > 0
    connection = door.hub.agents.get("potka")
    assert connection is not None
    first, second = [await connection.open("bandwidth", {}) for _ in range(2)]
    with pytest.raises(ChannelClosed, match="busy with another bandwidth"):
        await asyncio.wait_for(second.receive(), 30)
    await first.close()


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
