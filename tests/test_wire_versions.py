"""This version with hub and agent of the previous minor version, by a session recorded there.

`tests/bench/previous_version.py` made the record, and runs both pairs for real.
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from jharnet_monitor.agent import self_monitor
from jharnet_monitor.agent.daemon import Agent
from jharnet_monitor.agent.settings import AgentSettings
from jharnet_monitor.clock import SystemClock
from jharnet_monitor.model import Measurement, Outcome
from jharnet_monitor.wire.intake import BROWSER, read_measurement
from tests.test_session import TOKENS, Endpoint

FRAMES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "cases/wire-0.1.json").read_text("utf-8")
)
OFFICE = "potka"


def frames(who: str) -> list[dict[str, Any]]:
    """What one end sent, as if the office were ours and the measurements of today."""
    found = [frame["frame"] for frame in FRAMES if frame["from"] == who]
    now = datetime.now(UTC).isoformat()
    for frame in found:
        for item in frame.get("items", ()):
            item |= {"office": OFFICE, "started_at": now}
    return found


async def test_an_agent_of_the_previous_version() -> None:
    """It is admitted, what it measured is stored and acknowledged, it says goodbye; a probe that
    it does not know is refused by name, not by a broken session."""
    async with Endpoint().open() as hub, aiohttp.ClientSession() as http:
        headers = {"Authorization": f"Bearer {TOKENS[OFFICE]}"}
        socket = await http.ws_connect(hub.url, params={"office": OFFICE}, headers=headers)
        sent = frames("agent")
        assert sent[0]["version"] == "0.1.0" and sent[-1]["type"] == "goodbye"
        for frame in sent[:-1]:
            await socket.send_json(frame)
        ids = [item["id"] for frame in sent for item in frame.get("items", ())]
        answers: list[dict[str, Any]] = []
        while not answers or answers[-1]["type"] != "ack":
            answers.append(await socket.receive_json(timeout=5))
        assert answers[0]["type"] == "welcome" and answers[-1] == {
            "type": "ack", "ids": ids, "refused": [],
        }  # fmt: skip
        assert set(ids) == set(hub.events.stored) and ids
        session = await hub.session(OFFICE)
        assert session.kind != BROWSER and "update" not in session.features
        await socket.send_json(sent[-1])
        await socket.close()
        async with asyncio.timeout(5):
            while not hub.events.leaves:
                await asyncio.sleep(0.01)
        assert hub.events.leaves == [(OFFICE, True)]


async def test_a_hub_of_the_previous_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This agent says what that hub needs, understands its answers, and hands everything in."""
    monkeypatch.setattr(self_monitor, "EVERY_SECONDS", 600.0)
    welcome, beat, ack = (
        next(f for f in frames("hub") if f["type"] == kind) for kind in ("welcome", "beat", "ack")
    )
    heard: list[dict[str, Any]] = []

    async def old_hub(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            frame = json.loads(message.data)
            heard.append(frame)
            if frame["type"] == "hello":
                await socket.send_json(welcome)
            elif frame["type"] == "heartbeat":
                await socket.send_json(beat)
            elif frame["type"] == "measurements":
                ids = [item["id"] for item in frame["items"]]
                await socket.send_json({**ack, "ids": ids})
        return socket

    app = web.Application()
    app.router.add_get("/agent", old_hub)
    runner = web.AppRunner(app, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    address = f"ws://127.0.0.1:{runner.addresses[0][1]}/agent"
    key = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
    settings = AgentSettings(
        address, OFFICE, "t", tmp_path / "spool", release_key=key, updates=tmp_path / "updates"
    )
    agent = Agent(settings, SystemClock())
    agent.record(
        Measurement(OFFICE, "latency", datetime.now(UTC), 1.0, Outcome.OK, None,
                    {"path": "agent_hub"}, {"sent": 1.0, "received": 1.0}, "mine")
    )  # fmt: skip
    running = asyncio.create_task(agent.run())
    async with asyncio.timeout(10):
        while not any(frame["type"] == "measurements" for frame in heard) or len(agent.spool):
            await asyncio.sleep(0.05)
    agent.stop()
    await running
    await runner.cleanup()
    hello, old = heard[0], frames("agent")[0]
    assert {key: type(hello[key]) for key in old} == {
        key: type(value) for key, value in old.items()
    }
    assert hello["protocol"] == old["protocol"] and set(old["features"]) <= set(hello["features"])
    assert heard[-1]["type"] == "goodbye"
    handed_in = [item for frame in heard for item in frame.get("items", ())]
    assert "mine" in {item["id"] for item in handed_in}
    old_item = next(item for f in frames("agent") for item in f.get("items", ()))
    assert set(old_item) == set(handed_in[0])
    assert read_measurement(handed_in[0], OFFICE, datetime.now(UTC)).id == handed_in[0]["id"]
