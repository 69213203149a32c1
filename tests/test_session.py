"""Agents and hub over a real WebSocket on loopback: access, channels, stored measurements."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from jharnet_monitor.agent import daemon
from jharnet_monitor.agent.daemon import Agent, RefusedError
from jharnet_monitor.agent.settings import AgentSettings
from jharnet_monitor.clock import SystemClock
from jharnet_monitor.hub.agent_connection import AgentConnection
from jharnet_monitor.hub.agent_server import AgentEvents, AgentServer
from jharnet_monitor.model import Measurement, Outcome, Route
from jharnet_monitor.probes.base import AgentContext, Channel, ChannelClosed, NoData
from jharnet_monitor.wire.intake import Vitals
from jharnet_monitor.wire.protocol import MAX_QUEUED
from tests.support import running

TOKENS = {"potka": "potka-token", "boram": "boram-token"}


class RecordedEvents(AgentEvents):
    """Records the events of agents, and stores measurements by id as the real store does."""

    def __init__(self) -> None:
        self.joins: list[tuple[str, Vitals]] = []
        self.leaves: list[tuple[str, bool]] = []
        self.stored: dict[str, Measurement] = {}
        self.joined_event = asyncio.Event()

    async def agent_connected(self, office: str, vitals: Vitals) -> None:
        self.joins.append((office, vitals))
        self.joined_event.set()

    async def agent_disconnected(self, office: str, goodbye: bool) -> None:
        self.leaves.append((office, goodbye))

    async def agent_measured(self, office: str, measurements: list[Measurement]) -> None:
        self.stored.update({m.id: m for m in measurements})

    def ids(self) -> list[str]:
        """Ids of the measurements that a test made, without those of the agent itself."""
        return sorted(m.id for m in self.stored.values() if len(m.id) < 5)


class Endpoint:
    """The hub's agent endpoint on loopback."""

    def __init__(self) -> None:
        self.events = RecordedEvents()
        self.agents = AgentServer(
            lambda office, token: TOKENS.get(office) == token, self.events, SystemClock()
        )
        self.port = 0

    @asynccontextmanager
    async def open(self, port: int = 0) -> AsyncIterator[Endpoint]:
        """Listen until the block ends; `port` 0 takes a free one."""
        app = web.Application()
        app.router.add_get("/agent", self.agents.handle_socket)
        app.router.add_route("*", "/agent/transfer/{key}", self.agents.handle_transfer)
        runner = web.AppRunner(app, shutdown_timeout=0.5)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        try:
            yield self
        finally:
            await self.agents.close()
            await runner.cleanup()

    @property
    def url(self) -> str:
        """The address for agents."""
        return f"ws://127.0.0.1:{self.port}/agent"

    async def session(self, office: str) -> AgentConnection:
        """Wait for the office's session."""
        async with asyncio.timeout(10):
            while (session := self.agents.get(office)) is None:
                await asyncio.sleep(0.02)
        return session


def make_agent(
    endpoint: Endpoint, spool: Path, office: str = "potka", token: str | None = None
) -> Agent:
    """An agent, by default with its office's token."""
    settings = AgentSettings(endpoint.url, office, token or TOKENS.get(office, "?"), spool)
    return Agent(settings, SystemClock())


def measurement(
    name: str,
    office: str = "potka",
    probe: str = "latency",
    path: str = "agent_hub",
    at: datetime | None = None,
) -> Measurement:
    """A small measurement with a given id, of this moment: the hub refuses one a year old."""
    values = {"sent": 20.0, "received": 20.0, "loss_ratio": 0.0} if probe == "latency" else {}
    moment, conditions = at or datetime.now(UTC), {"path": path}
    return Measurement(office, probe, moment, 2.0, Outcome.OK, None, conditions, values, name)


async def handed_in(agent: Agent) -> None:
    """Wait until the hub has all that the agent recorded."""
    async with asyncio.timeout(20):
        while await agent._in_spool(len, agent.spool):  # what was recorded reaches it in a thread
            await asyncio.sleep(0.02)


async def echo(channel: Channel, params: Mapping[str, Any], context: AgentContext) -> None:
    """A task that returns every message, with its params."""
    while True:
        message = await channel.receive()
        await channel.send({"echo": message, "params": dict(params), "office": context.office})


async def fetch(channel: Channel, params: Mapping[str, Any], context: AgentContext) -> None:
    """A task that fetches a transfer of the hub twice."""
    url = f"{context.hub}{params['path']}"
    answers = []
    for _ in range(2):
        async with context.http.get(url, params={"office": context.office}) as answer:
            answers.append([answer.status, await answer.text()])
    await channel.send({"answers": answers})


async def flood(channel: Channel, params: Mapping[str, Any], context: AgentContext) -> None:
    """A task that sends more messages than may be queued."""
    for n in range(MAX_QUEUED + 500):
        await channel.send({"n": n})
    await asyncio.sleep(60)


@pytest.fixture(autouse=True)
def agent_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The agents of these tests have three small tasks."""
    monkeypatch.setattr(daemon, "AGENT_TASKS", {"echo": echo, "fetch": fetch, "flood": flood})


async def test_an_agent_with_a_wrong_token_is_refused(tmp_path: Path) -> None:
    """An agent with a wrong token, or with another office's, ends with one line."""
    async with Endpoint().open() as endpoint:
        for token in ("wrong", TOKENS["boram"]):
            agent = make_agent(endpoint, tmp_path, token=token)
            with pytest.raises(RefusedError, match="refused this agent for office potka"):
                await asyncio.wait_for(agent.run(), 10)
        with pytest.raises(RefusedError):
            await make_agent(endpoint, tmp_path, office="nowhere").run()
        assert endpoint.events.joins == []


async def test_an_agent_whose_line_was_cut_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It was refused while its token was changed, and ended: its only session had ended with an
    error, as most do, and was not counted."""

    async def silence(*_: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(daemon, "receive", silence)
    monkeypatch.setattr(daemon, "FIRST_RETRY_SECONDS", 0.01)
    async with Endpoint().open() as endpoint:
        task = asyncio.create_task(make_agent(endpoint, tmp_path).run())
        await asyncio.wait_for(endpoint.events.joined_event.wait(), 10)
        monkeypatch.setitem(TOKENS, "potka", "another")
        async with asyncio.timeout(10):
            while "refused this agent for office potka" not in caplog.text and not task.done():
                await asyncio.sleep(0.02)
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(("lasted", "most"), [(60.0, 1.0), (1.0, 15.0)])
async def test_after_a_session_that_lasted_the_next_try_comes_soon(
    lasted: float, most: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each session that a cut line ended the agent waited longer, up to 15 s, for ever."""
    agent, pauses = make_agent(Endpoint(), tmp_path), list[float]()

    async def lost(_: object) -> None:
        agent._connected_at = agent._clock.monotonic() - lasted
        raise ChannelClosed("session lost")

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 6:
            agent._stopping.set()

    monkeypatch.setattr(agent, "_session", lost)
    monkeypatch.setattr(agent, "_pause", pause)
    await agent._stay_connected()
    assert most / 2 <= max(pauses) <= most
    agent.spool.close()


async def test_a_channel_carries_messages_in_both_directions(tmp_path: Path) -> None:
    """A task answers on its channel; unknown tasks are refused; closing ends both sides."""
    async with Endpoint().open() as endpoint, running(make_agent(endpoint, tmp_path)):
        session = await endpoint.session("potka")
        channel = await session.open("echo", {"n": 1})
        await channel.send({"hello": "नमस्ते"})
        answer = await asyncio.wait_for(channel.receive(), 5)
        assert answer == {"echo": {"hello": "नमस्ते"}, "params": {"n": 1}, "office": "potka"}
        await channel.close()
        with pytest.raises(ChannelClosed):
            await channel.send({})
        with pytest.raises(NoData, match="agent_too_old"):
            await session.open("dance", {})


async def test_a_transfer_works_once_and_only_for_its_office(tmp_path: Path) -> None:
    """Only the first request of the office is answered; others get 404, a wrong token 401."""

    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(text="bulk")

    async with Endpoint().open() as endpoint, running(make_agent(endpoint, tmp_path)):
        session = await endpoint.session("potka")
        channel = await session.open("fetch", {"path": session.serve_transfer(handler)})
        answers = (await asyncio.wait_for(channel.receive(), 5))["answers"]
        assert answers[0] == [200, "bulk"]
        assert answers[1][0] == 404
        path = session.serve_transfer(handler)
        base = endpoint.url.removesuffix("/agent").replace("ws:", "http:")
        for office, token, status in (
            ("boram", TOKENS["boram"], 404),
            ("potka", "wrong", 401),
        ):
            headers = {"Authorization": f"Bearer {token}"}
            async with (
                aiohttp.ClientSession(headers=headers) as http,
                http.get(base + path, params={"office": office}) as answer,
            ):
                assert answer.status == status


async def test_spooled_measurements_are_sent_once(tmp_path: Path) -> None:
    """Measurements made while the hub is away arrive later, even after the agent's restart."""
    endpoint = Endpoint()
    async with endpoint.open():
        port = endpoint.port
    offline = make_agent(endpoint, tmp_path)
    async with running(offline):
        for name in ("a", "b", "c"):
            offline.record(measurement(name))
        await asyncio.sleep(0.1)
    async with endpoint.open(port), running(make_agent(endpoint, tmp_path)) as agent:
        await handed_in(agent)
        assert endpoint.events.ids() == ["a", "b", "c"]
        agent.record(measurement("d"))
        async with asyncio.timeout(5):
            while "d" not in endpoint.events.stored:
                await asyncio.sleep(0.02)


async def test_an_unreadable_spooled_row_does_not_block_others(tmp_path: Path) -> None:
    """A row of another agent version is dropped, and later rows are sent."""
    async with Endpoint().open() as endpoint:
        agent = make_agent(endpoint, tmp_path)
        agent.spool.put(replace(measurement("strange"), values={"flux": 1.0}))
        agent.spool.put(measurement("mine"))
        async with running(agent):
            await handed_in(agent)
        assert endpoint.events.ids() == ["mine"]


@pytest.mark.root
async def test_an_agent_measures_its_own_view_of_the_link(tmp_path: Path) -> None:
    """Echo requests to the hub become measurements with route and boot id."""
    async with Endpoint().open() as endpoint:
        async with running(make_agent(endpoint, tmp_path)):
            await endpoint.session("potka")
            await asyncio.sleep(2.5)
        async with running(make_agent(endpoint, tmp_path)) as agent:
            await handed_in(agent)
    own = [m for m in endpoint.events.stored.values() if m.route is Route.AGENT_HUB]
    assert {m.outcome for m in own} == {Outcome.OK}
    assert sum(m.values["sent"] for m in own) == sum(m.values["received"] for m in own) >= 2
    assert {len(m.conditions["boot_id"]) for m in own} == {36}
    assert any(m.conditions.get("stopped") for m in own)


async def test_an_agent_cannot_send_measurements_of_another_office(tmp_path: Path) -> None:
    """A measurement of another office is refused; the agent's own is stored."""
    async with Endpoint().open() as endpoint, running(make_agent(endpoint, tmp_path)) as agent:
        agent.record(measurement("mine"))
        agent.record(measurement("forged", office="boram"))
        await handed_in(agent)
        assert endpoint.events.ids() == ["mine"]


@pytest.mark.parametrize(
    ("probe", "path"),
    [("bandwidth", "jharnet"), ("bandwidth", "trains"), ("latency", "jharnet"),
     ("conference", "jharnet"), ("utilisation", "agent_hub")],
)  # fmt: skip
async def test_an_agent_cannot_send_what_the_hub_measures(
    tmp_path: Path, probe: str, path: str
) -> None:
    """A forged speed, grade or latency of the hub is refused."""
    async with Endpoint().open() as endpoint, running(make_agent(endpoint, tmp_path)) as agent:
        agent.record(measurement("forged", probe=probe, path=path))
        agent.record(measurement("mine"))
        await handed_in(agent)
        assert endpoint.events.ids() == ["mine"]


async def test_a_clean_stop_sends_a_goodbye(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The hub can distinguish it from a lost connection; the agent does not log an ended
    session."""
    caplog.set_level("INFO", "jharnet_monitor.agent.daemon")
    async with Endpoint().open() as endpoint:
        async with running(make_agent(endpoint, tmp_path)):
            await endpoint.session("potka")
        await _until(lambda: bool(endpoint.events.leaves))
        assert "connected to the hub" in caplog.text and "ended by the hub" not in caplog.text
        task = asyncio.create_task(make_agent(endpoint, tmp_path).run())
        await endpoint.session("potka")
        task.cancel()
        await _until(lambda: len(endpoint.events.leaves) == 2)
        assert endpoint.events.leaves == [("potka", True), ("potka", False)]


@pytest.mark.parametrize(
    "frames",
    [
        ["not json"],
        ['{"no":"type"}'],
        ['{"type":"hello","protocol":99}'],
        ['{"type":"hello","protocol":1}'],
        ["HELLO", '{"type":"measurements","items":"all"}'],
        ["HELLO", json.dumps({"type": "measurements", "items": [{}] * 201})],
        ["HELLO", '{"type":"dance"}'],
        ["HELLO", '{"type":"heartbeat","boot_id":5}'],
    ],
    ids=lambda frames: frames[-1][:40],
)
async def test_a_protocol_error_ends_only_the_session(frames: list[str]) -> None:
    """After an invalid message the session is closed, and the hub accepts the next one."""
    hello = {"type": "hello", "protocol": 1, "boot_id": "b", "uptime_seconds": 1, "spooled": 0}
    async with Endpoint().open() as endpoint:
        headers = {"Authorization": f"Bearer {TOKENS['potka']}"}
        async with aiohttp.ClientSession(headers=headers) as http:
            async with http.ws_connect(endpoint.url, params={"office": "potka"}) as socket:
                for frame in frames:
                    await socket.send_str(json.dumps(hello) if frame == "HELLO" else frame)
                await _drain(socket)
                assert socket.close_code == 1002
            async with http.ws_connect(endpoint.url, params={"office": "potka"}) as socket:
                await socket.send_str(json.dumps(hello))
                welcome = await asyncio.wait_for(socket.receive_json(), 5)
                assert welcome["type"] == "welcome"


async def test_too_many_messages_end_only_their_channel(tmp_path: Path) -> None:
    """A full queue ends its channel; messages before that can still be read."""
    async with Endpoint().open() as endpoint, running(make_agent(endpoint, tmp_path)):
        session = await endpoint.session("potka")
        channel = await session.open("flood", {})
        with pytest.raises(ChannelClosed):
            async with asyncio.timeout(20):
                while True:  # nobody reads until the hub closes the channel
                    await channel.send({})
                    await asyncio.sleep(0.02)
        for n in range(MAX_QUEUED):
            assert (await channel.receive())["n"] == n
        with pytest.raises(ChannelClosed, match="too many"):
            await channel.receive()
        again = await session.open("echo", {})
        await again.send({"still": "here"})
        assert (await asyncio.wait_for(again.receive(), 5))["echo"] == {"still": "here"}


async def _drain(socket: aiohttp.ClientWebSocketResponse) -> None:
    async with asyncio.timeout(10):
        async for _ in socket:
            pass


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.02)
