"""The programs of the bandwidth benchmark, each a process in a namespace of the lab.

python -m tests.bench.bandwidth_subject hub DOWN UP      tests on request, one a line of stdin
python -m tests.bench.bandwidth_subject agent HUB        a real agent
python -m tests.bench.bandwidth_subject server           a speed-test server on port 8080
python -m tests.bench.bandwidth_subject peer HUB DIR     plain speedtest-cli, `download` or `upload`
python -m tests.bench.bandwidth_subject cross TARGET     1 Mbit/s of UDP, until killed
python -m tests.bench.bandwidth_subject sink [KIND]      receives it, so that no ICMP error is sent
python -m tests.bench.bandwidth_subject other KIND TARGET RATE    traffic of a kind, until killed
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from typing import Any

import speedtest
from aiohttp import web

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.lab.speedtest_server import SpeedtestServer, listen
from jharnet_monitor.model import Cause
from jharnet_monitor.probes.bandwidth.probe import BANDWIDTH
from jharnet_monitor.probes.bandwidth.tcp_connection import SO_MAX_PACING_RATE
from jharnet_monitor.probes.base import ChannelClosed, NoData, ProbeContext
from tests.bandwidth_support import (
    Result,
    agent_connection,
    agent_server,
    measure,
    running_agent,
    settings,
)

PORT, SPEEDTEST_PORT, CROSS_PORT = 9797, 8080, 5300
CROSS_RATE, CROSS_BYTES = 1e6, 1400


async def hub(down: str, up: str) -> None:
    """Run a test for each line of stdin: a path, and contracts in Mbit/s if these change.

    The result is printed as a line of JSON.
    """
    config = settings(f"{down} Mbit/s", f"{up} Mbit/s")
    async with agent_server("0.0.0.0", PORT) as (agents, _):  # noqa: S104 - a namespace
        agent = await agent_connection(agents)
        while words := (await asyncio.to_thread(sys.stdin.readline)).split():
            path, *contracts = words
            if contracts:
                config = settings(*(f"{rate} Mbit/s" for rate in contracts))
                agent = await agent_connection(agents)  # a bad line may have ended its session
            try:
                result = await measure(config, agent, path=path, sustained=None)
            except ChannelClosed as closed:  # the hub records it as `agent_lost`
                result = Result({}, {}, NoData(Cause.AGENT_LOST, str(closed)))
            error = str(result.error) if result.error else None
            requested = ProbeContext(
                config, config.offices[0], SystemClock(), agent, {"path": path}
            )
            answer = {
                "values": dict(result.values),
                "conditions": dict(result.conditions),
                "cost": BANDWIDTH.cost(requested),
                "error": error,
            }
            print(json.dumps(answer), flush=True)


async def agent(host: str) -> None:
    """Stay connected until killed."""
    async with running_agent(f"ws://{host}:{PORT}/agent"):
        await asyncio.Event().wait()


class Plain(speedtest.Speedtest):  # type: ignore[misc]
    """Unchanged speedtest-cli, except that it fetches no configuration from the Internet."""

    def get_config(self) -> dict[str, Any]:
        """The values of its public configuration."""
        self.config.update(
            client={"ip": "", "lat": "0", "lon": "0"},
            ignore_servers=[],
            sizes={
                "upload": [524288, 1048576, 7340032],
                "download": [350, 500, 750, 1000, 1500, 2000, 2500, 3000, 3500, 4000],
            },
            counts={"upload": 17, "download": 4},
            threads={"upload": 2, "download": 8},
            length={"upload": 10, "download": 10},
            upload_max=51,
        )
        self.lat_lon = (0.0, 0.0)
        return dict(self.config)


def peer(host: str, direction: str) -> None:
    """The rate that it reports, in bit/s of payload."""
    client = Plain()
    client._best.update(url=f"http://{host}:{SPEEDTEST_PORT}/speedtest/upload.php", latency=1)
    print(
        json.dumps({direction: client.download() if direction == "download" else client.upload()})
    )


def cross(target: str) -> None:
    """Send UDP at a constant rate."""
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.bind(("", CROSS_PORT))
    following = time.monotonic()
    while True:
        sender.sendto(bytes(CROSS_BYTES - 28), (target, CROSS_PORT))
        following += CROSS_BYTES * 8 / CROSS_RATE
        time.sleep(max(0.0, following - time.monotonic()))


def other(kind: str, target: str, rate: str) -> None:
    """Other traffic: `constant` or `on/off` (a second each) UDP at `rate` bit/s, `elastic` TCP."""
    if kind == "elastic":
        with socket.socket() as sender:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sender.bind(("", CROSS_PORT))
            sender.connect((target, CROSS_PORT + 1))
            sender.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, max(1, int(float(rate) / 8)))
            while True:
                sender.sendall(bytes(1 << 14))
    spacing = CROSS_BYTES * 8 / float(rate)
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.bind(("", CROSS_PORT))
    following = time.monotonic()
    while True:
        sender.sendto(bytes(CROSS_BYTES - 28), (target, CROSS_PORT + 1))
        following += spacing
        if kind == "on/off" and following % 2 < 1:
            following += 1
        time.sleep(max(0.0, following - time.monotonic()))


def sink(kind: str | None = None) -> None:
    """Receive the packets of the other side; those of `other` on the next port."""
    if kind == "elastic":
        with socket.create_server(("", CROSS_PORT + 1)) as server:
            taken, _ = server.accept()
            while taken.recv(1 << 16):
                pass
        return
    taker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    taker.bind(("", CROSS_PORT if kind is None else CROSS_PORT + 1))
    while True:
        taker.recv(CROSS_BYTES)


def main() -> None:
    """Run one of the programs."""
    role, *arguments = sys.argv[1:]
    if role == "hub":
        asyncio.run(hub(*arguments))
    elif role == "agent":
        asyncio.run(agent(*arguments))
    elif role == "server":
        app = SpeedtestServer().app()
        web.run_app(app, sock=listen("0.0.0.0", SPEEDTEST_PORT), print=None)  # noqa: S104
    elif role == "peer":
        peer(*arguments)
    elif role == "cross":
        cross(*arguments)
    elif role == "sink":
        sink(*arguments)
    elif role == "other":
        other(*arguments)


if __name__ == "__main__":
    main()
