"""Hub and agents of this version with those of the previous minor version, both ways.

    python -m tests.bench.previous_version [--quick] [--json FILE] [--record]

The previous version is checked out from this repository's history. Each pair runs every probe that
both know and hands in what the agent measured by itself. `--record` writes the frames of a session
between hub and agent of the previous version to `tests/cases/wire-0.1.json`, which the test suite
replays to both ends of this version.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from jharnet_monitor.security.tokens import write_secret
from tests.bench.marks import Row, finish, parser, within
from tests.faults.installation import TOKEN, Installation, free_port

ROOT = Path(__file__).resolve().parents[2]
PREVIOUS = "cb8e2f3"
"""The last commit of 0.1."""
RECORD = ROOT / "tests/cases/wire-0.1.json"
OFFICE = "o0"
RECORDED_SECONDS = 20.0
MADE_UP_BOOT = "4f1d0c52-0000-4000-8000-000000000001"
"""In the record, in place of the id of this machine."""
API = "the-token-of-the-api"


def check_out(into: Path) -> None:
    """The previous version's package."""
    packed = into / "package.tar"
    argv = ["git", "archive", "--output", str(packed), PREVIOUS, "jharnet_monitor"]
    subprocess.run(argv, cwd=ROOT, check=True)
    with tarfile.open(packed) as archive:
        archive.extractall(into, filter="data")


class Pair:
    """A hub and an agent, each as a process of the package in a directory."""

    def __init__(self, place: Path, hub: Path, agent: Path) -> None:
        self.place, self._hub, self._agent = place, hub, agent
        write_secret(place / "api", API)
        write_secret(place / "token", TOKEN)
        self.one = Installation(place, "sqlite:///monitor.db", 1)
        text = self.one.file.read_text("utf-8").replace("hub:\n", "hub:\n  api_token_file: api\n")
        self.one.file.write_text(text, "utf-8")
        self._running: list[subprocess.Popen[bytes]] = []

    def _start(self, package: Path, *arguments: str) -> None:
        with (self.place / f"{arguments[0]}.log").open("wb") as log:
            self._running.append(
                subprocess.Popen(
                    [sys.executable, "-m", "jharnet_monitor", *arguments],
                    cwd=self.place,
                    env={**os.environ, "PYTHONPATH": str(package)},
                    stdout=log,
                    stderr=log,
                )
            )

    @asynccontextmanager
    async def running(self, agents: str | None = None) -> AsyncIterator[aiohttp.ClientSession]:
        """Both run, the agent through the address `agents`; gives a client of the hub's API."""
        self._start(self._hub, "run", "--config", str(self.one.file))
        headers = {"Authorization": f"Bearer {API}"}
        try:
            async with aiohttp.ClientSession(self.one.http, headers=headers) as http:
                await self._until(http, connected=False)
                hub, spool = agents or self.one.agents, str(self.place / "spool")
                self._start(
                    self._agent, "agent", "--hub", hub, "--office", OFFICE,
                    "--token-file", "token", "--spool", spool,
                )  # fmt: skip
                await self._until(http, connected=True)
                yield http
        finally:
            for process in reversed(self._running):
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    await asyncio.to_thread(process.wait, 15)
                process.kill()

    async def _until(self, http: aiohttp.ClientSession, *, connected: bool) -> None:
        async with asyncio.timeout(90):
            while True:
                for process in self._running:
                    if process.poll() is not None:
                        logs = "\n".join(p.read_text()[-2000:] for p in self.place.glob("*.log"))
                        raise RuntimeError(logs)
                with contextlib.suppress(aiohttp.ClientError):
                    async with http.get("/api/v1/offices") as answer:
                        found = await answer.json()
                        if answer.status == 200 and _agent(found)["connected"] is connected:
                            return
                await asyncio.sleep(0.3)


def _agent(offices: Any) -> dict[str, Any]:
    listed = offices["offices"] if isinstance(offices, dict) else offices
    found: dict[str, Any] = listed[0]["agent"]
    return found


async def work_together(name: str, pair: Pair, *, quick: bool) -> list[Row]:
    """Run every probe, and look for what the agent measures by itself."""
    rows = []
    async with pair.running() as http:
        for probe in ("latency", "bandwidth") if quick else ("latency", "bandwidth", "conference"):
            path = f"/api/v1/offices/{OFFICE}/probes/{probe}"
            async with http.post(path, json={}) as answer:
                measured = await answer.json()
            outcome = measured.get("outcome"), measured.get("cause")
            rows.append(within(f"{name}: {probe} {outcome}", outcome[0] == "ok", 1, 1, ""))
        async with asyncio.timeout(100):
            while not (found := await _own(http)):
                await asyncio.sleep(1.0)
        rows.append(within(f"{name}: agent's own measurements", len(found), 1, 1e6, ""))
    return rows


async def _own(http: aiohttp.ClientSession) -> list[Any]:
    async with http.get(
        "/api/v1/measurements", params={"office": OFFICE, "limit": "200"}
    ) as answer:
        found = await answer.json()
    listed = found["measurements"] if isinstance(found, dict) else found
    return [m for m in listed if str(m["conditions"].get("path", "")).startswith("agent_")]


async def record(pair: Pair) -> list[dict[str, Any]]:
    """The frames of a session, each with who sent it."""
    frames: list[dict[str, Any]] = []

    async def relay(request: web.Request) -> web.StreamResponse:
        there = web.WebSocketResponse(max_msg_size=1 << 20)
        await there.prepare(request)
        headers = {"Authorization": request.headers["Authorization"]}
        async with (
            aiohttp.ClientSession(headers=headers) as http,
            http.ws_connect(pair.one.agents, params=request.query) as hub,
        ):
            up = asyncio.create_task(_pass(there, hub, "agent", frames))
            down = asyncio.create_task(_pass(hub, there, "hub", frames))
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(0.3)
            for task in (up, down):
                task.cancel()
        return there

    app, port = web.Application(), free_port()
    app.router.add_get("/agent", relay)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        async with pair.running(f"ws://127.0.0.1:{port}/agent"):
            await asyncio.sleep(RECORDED_SECONDS)
            while not any(frame["frame"]["type"] == "ack" for frame in frames):
                await asyncio.sleep(1.0)
    finally:
        await runner.cleanup()
    return frames


async def _pass(source: Any, target: Any, who: str, frames: list[dict[str, Any]]) -> None:
    async for message in source:
        if message.type is aiohttp.WSMsgType.TEXT:
            frames.append({"from": who, "frame": json.loads(message.data)})
            await target.send_str(message.data)


def main() -> int:
    """Print the table; exit code 0 if every mark is met."""
    options = parser(__doc__)
    options.add_argument("--record", action="store_true")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="jharnet-previous-") as scratch:
        old = Path(scratch) / "old"
        old.mkdir()
        check_out(old)
        if given.record:
            frames = asyncio.run(record(Pair(Path(scratch) / "pair", old, old)))
            text = json.dumps(frames, indent=1) + "\n"
            RECORD.write_text(text.replace(frames[0]["frame"]["boot_id"], MADE_UP_BOOT))
            print(f"{RECORD}: {len(frames)} frames")
            return 0
        rows: list[Row] = []
        for name, hub, agent in (
            ("this hub, previous agent", ROOT, old),
            ("previous hub, this agent", old, ROOT),
        ):
            pair = Pair(Path(scratch) / f"hub-{hub.name}", hub, agent)
            rows += asyncio.run(work_together(name, pair, quick=given.quick))
    return finish("Hub and agents of two versions", rows, given)


if __name__ == "__main__":
    sys.exit(main())
