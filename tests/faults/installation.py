"""A hub and agents as processes of their own, with load from many offices, for fault runs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import aiohttp
import yaml

from jharnet_monitor.model import Measurement, Outcome
from jharnet_monitor.security.tokens import hash_token, write_secret

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "a-token-of-the-fault-runs"
BATCH = 20
START_SECONDS = DRAIN_SECONDS = 300.0


def free_port() -> int:
    """A free port of loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Installation:
    """The configuration of a hub on loopback, and its process."""

    def __init__(
        self, directory: Path, database: str, offices: int = 8, logs: Path | None = None,
        **sections: Any,
    ) -> None:  # fmt: skip
        self.directory = directory
        self.logs = logs or directory
        self.database = database
        self.port = free_port()
        self.offices = [f"o{number}" for number in range(offices)]
        self.file = directory / "jharnet.yaml"
        self.epoch, self.speed = time.time(), 1.0
        self.process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)
        write_secret(directory / "token-hash", hash_token(TOKEN), replace=True)
        data: dict[str, Any] = {
            "district": {"id": "d", "name": "East Singhbhum", "name_hi": "पूर्वी सिंहभूम"},
            "hub": {"listen": f"127.0.0.1:{self.port}", "database": database, "tls": False,
                    "uplink": {"contracted": "34 Mbit/s"}},
            "probes": {"latency": {"every": "2s", "packets": 2}},
            "offices": [
                {"id": office, "name": office.title(), "name_hi": office,
                 "pc": f"127.0.1.{number + 1}", "link": {"contracted": "4 Mbit/s"},
                 "agent": {"token_hash_file": "token-hash"}}
                for number, office in enumerate(self.offices)
            ],
            **sections,
        }  # fmt: skip
        self.file.write_text(yaml.safe_dump(data), "utf-8")

    @property
    def http(self) -> str:
        """The hub's address for pages."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def agents(self) -> str:
        """The hub's address for agents."""
        return f"ws://127.0.0.1:{self.port}/agent"

    def start(self) -> None:
        """Start the hub; its log continues in `hub.log` among the logs."""
        arguments = ["hub", str(self.file), str(self.epoch), str(self.speed)]
        self.process = start_subject(arguments, self.logs / "hub.log")

    async def until_ready(self) -> float:
        """Wait until the hub is ready; returns the seconds since the call."""
        began = time.monotonic()
        async with aiohttp.ClientSession() as http:
            while True:
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with http.get(f"{self.http}/-/ready") as answer:
                        if answer.status == 200:
                            return time.monotonic() - began
                assert self.process is not None
                if self.process.poll() is not None or time.monotonic() - began > START_SECONDS:
                    log = (self.logs / "hub.log").read_text("utf-8")[-3000:]
                    raise RuntimeError(f"the hub did not start ({self.process.poll()}):\n{log}")
                await asyncio.sleep(0.02)

    def cpu_seconds(self) -> float:
        """CPU time of the hub's process so far (proc(5), stat)."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text("ascii").rpartition(")")[2]
        return sum(map(int, fields.split()[11:13])) / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        """Kill the hub, as a crash does."""
        end(self.process, signal.SIGKILL)

    async def stop(self) -> float:
        """Stop the hub in order; returns the seconds that it took."""
        began = time.monotonic()
        await asyncio.to_thread(end, self.process, signal.SIGTERM)
        return time.monotonic() - began

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the product on this installation."""
        return subprocess.run(
            [sys.executable, "-P", "-m", "jharnet_monitor", *arguments, "--config", str(self.file)],
            capture_output=True, text=True, check=False, env=environment(), timeout=600,
        )  # fmt: skip


def environment() -> dict[str, str]:
    """That of a program of the product, which is this checkout's."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def start_subject(arguments: list[str], log: Path, **options: Any) -> subprocess.Popen[bytes]:
    """Start a program of `subject`, whose standard error is appended to a log."""
    command = [sys.executable, "-m", "tests.faults.subject", *arguments]
    with log.open("ab") as errors:
        return subprocess.Popen(command, stderr=errors, cwd=ROOT, env=environment(), **options)


def end(process: subprocess.Popen[bytes] | None, number: signal.Signals) -> None:
    """Send a signal, and wait for the end."""
    if process is not None:
        process.send_signal(number)
        process.wait(60)


@dataclass
class Ledger:
    """What was acknowledged to each agent, as an observer noted it."""

    acknowledged: set[str] = field(default_factory=set)
    """Ids that the hub has acknowledged to an agent."""
    kept: set[str] = field(default_factory=set)
    """Ids that an agent's spool has kept, so that they must arrive."""
    noting: bool = True
    """False from the moment in which the power is cut: what comes later was not promised."""


class Swarm:
    """Agents of the test's own: each hands in measurements as fast as they are acknowledged.

    What is not acknowledged is handed in again after a reconnect, as an agent does.
    """

    def __init__(self, installation: Installation, ledger: Ledger, offices: list[str]) -> None:
        self._installation = installation
        self._ledger = ledger
        self._offices = offices
        self._tasks: list[asyncio.Task[None]] = []
        self.open: dict[str, list[Measurement]] = {office: [] for office in offices}
        self.pause = 0.0
        """Seconds between two batches of an agent."""
        self.lost = 0
        """Sessions that ended by themselves."""

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Hand in until the block ends."""
        self._tasks = [asyncio.create_task(self._agent(office)) for office in self._offices]
        try:
            yield
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _agent(self, office: str) -> None:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with aiohttp.ClientSession(headers=headers) as http:
            while True:
                with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError, _Lost):
                    address = self._installation.agents
                    async with http.ws_connect(address, params={"office": office}) as ws:
                        try:
                            await self._session(office, ws)
                        except (_Lost, OSError, TimeoutError):
                            self.lost += 1
                await asyncio.sleep(0.1)

    async def _session(self, office: str, ws: aiohttp.ClientWebSocketResponse) -> None:
        await ws.send_json({"type": "hello", "protocol": 1, "boot_id": f"boot-{office}",
                            "uptime_seconds": 1, "spooled": 0})  # fmt: skip
        while True:
            batch = self.open[office]
            if not batch:
                batch[:] = [measured(office) for _ in range(BATCH)]
            items = [one.to_json() for one in batch]
            await ws.send_json({"type": "measurements", "items": items})
            await self._acknowledgement(office, ws)
            await asyncio.sleep(self.pause)

    async def _acknowledgement(self, office: str, ws: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            message = await ws.receive(timeout=30)
            if message.type is not aiohttp.WSMsgType.TEXT:
                raise _Lost
            frame = message.json()
            if frame["type"] == "ack":
                if self._ledger.noting:
                    self._ledger.acknowledged.update(frame["ids"])
                    self.open[office].clear()
                return


class _Lost(Exception):
    """The session is over."""


def measured(office: str) -> Measurement:
    """A small measurement of an office's agent, with an id of its own."""
    return Measurement(
        office, "latency", datetime.now(UTC), 1.0, Outcome.OK, None, {"path": "agent_gateway"},
        {"sent": 10.0, "received": 10.0}, uuid.uuid4().hex,
    )  # fmt: skip


class AgentProcess:
    """An agent of the product that measures without pause, and reports what its spool has kept."""

    def __init__(self, one: Installation, ledger: Ledger, office: str, spool: Path) -> None:
        self._one, self._ledger, self._office, self._spool = one, ledger, office, spool
        self._process: subprocess.Popen[bytes] | None = None
        self._reading: asyncio.Task[None] | None = None

    def start(self, rate: float = 20.0) -> None:
        """Start it; it begins again with what its spool holds."""
        arguments = ["agent", self._one.agents, self._office, TOKEN, str(self._spool), str(rate)]
        log = self._one.logs / "agents.log"
        self._process = start_subject(arguments, log, stdout=subprocess.PIPE)
        self._reading = asyncio.create_task(self._read(self._process))

    async def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, process.stdout)
        while line := await reader.readline():
            if self._ledger.noting and line.endswith(b"\n"):
                self._ledger.kept.add(line.decode().strip())

    def kill(self) -> None:
        """Kill it, as a crash does."""
        end(self._process, signal.SIGKILL)

    async def stop(self) -> None:
        """Stop it in order."""
        await asyncio.to_thread(end, self._process, signal.SIGTERM)

    async def drain(self, remaining: Callable[[], int]) -> None:
        """Let it hand in everything that it has kept, without measuring more, for
        `DRAIN_SECONDS`."""
        await self.stop()
        self.start(rate=0.001)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                while cast(int, await asyncio.to_thread(remaining)):
                    await asyncio.sleep(0.5)
        await self.stop()
