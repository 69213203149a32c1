"""The hub of `tests.bench.scale` as a process of its own, with an agent for every office."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import numpy as np

from jharnet_monitor.model import CountedIds, Route
from jharnet_monitor.security.tokens import hash_token, write_secret
from jharnet_monitor.wire.protocol import HEARTBEAT_SECONDS
from tests.bench.report import proportional_kilobytes
from tests.bench.store import Line
from tests.exporters_support import free_port
from tests.faults.installation import TOKEN, environment

START_SECONDS = 600.0
SUBDIVISION = 11
"""Offices of a subdivision; the hub of a division uses one for each of its districts."""
MINUTE = 60.0


class ScaleHub:
    """A hub of `offices` on loopback with a database that exists already."""

    def __init__(self, directory: Path, offices: Sequence[str]) -> None:
        self.directory = directory
        self.offices = offices
        self.port = free_port()
        self.config = directory / "jharnet.yaml"
        self.process: subprocess.Popen[bytes] | None = None
        write_secret(directory / "token-hash", hash_token(TOKEN), replace=True)
        settings = {
            "district": {"id": "division", "name": "Division", "name_hi": "प्रमंडल"},
            "hub": {"listen": f"127.0.0.1:{self.port}", "tls": False,
                    "database": f"sqlite:///{directory / 'monitor.db'}",
                    "uplink": {"contracted": "1 Gbit/s"}},
            "offices": [
                {"id": office, "name": office.title(), "name_hi": f"कार्यालय {n + 1}",
                 "subdivision": f"District {n // SUBDIVISION + 1}",
                 "router": f"127.1.{n // 250}.{n % 250 + 1}",
                 "link": {"contracted": "4 Mbit/s", "sla": "99.5%"},
                 "agent": {"token_hash_file": "token-hash"}}
                for n, office in enumerate(offices)
            ],
        }  # fmt: skip
        self.config.write_text(json.dumps(settings, ensure_ascii=False), "utf-8")

    @property
    def http(self) -> str:
        """The address of its pages."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> float:
        """Start it; returns the seconds until it is ready."""
        began = time.monotonic()
        self.process = self._started()
        async with aiohttp.ClientSession() as http:
            while time.monotonic() - began < START_SECONDS and self.process.poll() is None:
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with http.get(f"{self.http}/-/ready") as answer:
                        if answer.status == 200:
                            return time.monotonic() - began
                await asyncio.sleep(0.02)
        log_text = (self.directory / "hub.log").read_text("utf-8", "replace")
        raise RuntimeError(f"the hub did not start:\n{log_text[-3000:]}")

    def _started(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "jharnet_monitor", "run", "--config", str(self.config)]
        with (self.directory / "hub.log").open("wb") as log:
            return subprocess.Popen(
                command, stderr=log, stdout=log, cwd=self.directory, env=environment()
            )

    def stop(self) -> None:
        """Stop it and wait until it has ended."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(60)

    def cpu_seconds(self) -> float:
        """CPU time of its process so far (proc(5), stat)."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text("ascii").rpartition(")")[2]
        return sum(map(int, fields.split()[11:13])) / os.sysconf("SC_CLK_TCK")

    def megabytes(self) -> float:
        """Its memory; pages that others share with it count in part (PSS)."""
        assert self.process is not None
        return proportional_kilobytes(self.process.pid) / 1024


@asynccontextmanager
async def agents(hub: ScaleHub) -> AsyncIterator[None]:
    """An agent for every office: heartbeats, and two measurements a minute, at the true rate.

    It refuses speed tests and calls, so their CPU time is not in the figures.
    """
    tasks = [
        asyncio.create_task(_agent(hub, office, number))
        for number, office in enumerate(hub.offices)
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _agent(hub: ScaleHub, office: str, number: int) -> None:
    await asyncio.sleep(number % 50 / 10)  # so that they do not all connect at the same moment
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession(headers=headers) as http:
        while True:
            address = f"ws://127.0.0.1:{hub.port}/agent"
            with contextlib.suppress(aiohttp.ClientError, OSError):
                async with http.ws_connect(address, params={"office": office}) as socket:
                    await _session(socket, office, number)
            await asyncio.sleep(1)


async def _session(socket: aiohttp.ClientWebSocketResponse, office: str, number: int) -> None:
    began = time.monotonic()
    vitals = {"boot_id": f"boot-{office}", "spooled": 0}
    hello = {"type": "hello", "protocol": 1, "features": [], **vitals, "uptime_seconds": 4000.0}
    await socket.send_json(hello)
    working = [
        asyncio.create_task(_beat(socket, vitals, began)),
        asyncio.create_task(_measure(socket, office, number)),
    ]
    try:
        async for message in socket:
            frame = message.json()
            if frame["type"] == "open":
                refusal = {"type": "closed", "id": frame["id"], "reason": "a bench's agent"}
                await socket.send_json(refusal)
    finally:
        for task in working:
            task.cancel()


async def _beat(
    socket: aiohttp.ClientWebSocketResponse, vitals: dict[str, object], began: float
) -> None:
    while True:
        uptime = round(4000 + time.monotonic() - began, 1)
        now = round(time.time(), 3)
        await socket.send_json(
            {"type": "heartbeat", **vitals, "uptime_seconds": uptime, "now": now}
        )
        await asyncio.sleep(HEARTBEAT_SECONDS)


async def _measure(socket: aiohttp.ClientWebSocketResponse, office: str, number: int) -> None:
    dice, ids = np.random.default_rng(number), CountedIds(f"{office}_{uuid.uuid4().hex[:8]}")
    lines = [Line(Route.AGENT_HUB, 0.012, 2.5e-4, dice, ids),
             Line(Route.AGENT_GATEWAY, 6e-4, 6e-5, dice, ids)]  # fmt: skip
    await asyncio.sleep(number * 7 % MINUTE)
    while True:
        now = datetime.now(UTC)
        made = [replace(line.minute(office, now, 4000), id=uuid.uuid4().hex) for line in lines]
        items = [one.to_json() for one in made]
        await socket.send_json({"type": "measurements", "items": items})
        await asyncio.sleep(MINUTE)
