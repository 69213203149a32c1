"""One run of the Internet test at the agent, or at headquarters for its uplink.

`probes.bandwidth.internet_method` selects the method: speedtest-cli (Ookla), a file over HTTP,
LibreSpeed or iperf3. Counts of a foreign server are never used against an agent.

It uses a public server, or the one that `probes.bandwidth.internet_server` names. Where that server
counts the bytes of each run (`lab.speedtest_server` does), the hub rejects a result that reports
more bytes than the server counted.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Mapping
from typing import Any

from jharnet_monitor.model import Cause
from jharnet_monitor.probes.bandwidth.plan import HEADROOM
from jharnet_monitor.probes.base import AgentContext, Channel, NoData, ProbeContext, Reading
from jharnet_monitor.probes.internet.plan import DIRECTION_SECONDS, max_bytes, rates
from jharnet_monitor.probes.internet.result import reading
from jharnet_monitor.worker_process import ask_process

WORKER = "jharnet_monitor.probes.internet.worker"
WORKER_SECONDS = 70.0
"""Time limit of the worker process."""
ONE_THREAD_RATE, FOUR_THREADS_RATE = 20e6, 300e6
"""One connection fills a line of up to this many bit/s; more would only fill its queue. Above the
second, the pictures of four connections (32 MB each) would last for less than three seconds."""


def make_request(
    server: str | None, planned: tuple[float, float], method: str = "ookla"
) -> dict[str, Any]:
    """The request to a worker, for the planned download and upload rates in bit/s."""
    return {
        "method": method,
        "server": _address(server) if method == "ookla" else server,
        "run": secrets.token_urlsafe(12),
        "rate": {"download": planned[0] * HEADROOM, "upload": planned[1] * HEADROOM},
        "threads": _threads(max(planned)),
        "seconds": DIRECTION_SECONDS,
        "bytes": {"download": max_bytes(planned[0]), "upload": max_bytes(planned[1])},
    }


def _threads(rate: float) -> int:
    """How many connections test a line of `rate` bit/s."""
    if rate <= ONE_THREAD_RATE:
        return 1
    return 4 if rate <= FOUR_THREADS_RATE else 8


def _address(server: str | None) -> str | None:
    """The configured server in the form of speedtest-cli: the address of its `upload.php`."""
    if server is None or server.rsplit("/", 1)[-1].startswith("upload."):
        return server
    return server.rstrip("/") + "/speedtest/upload.php"


async def run(context: ProbeContext) -> Reading:
    """Measure at the agent, or on this machine at headquarters; raises `Failed` or `NoData`."""
    settings = context.config.probes.bandwidth
    request = make_request(settings.internet_server, rates(context), settings.internet_method)
    if context.at_headquarters:
        return await reading(request, await run_worker(request))
    if context.agent is None:
        raise NoData(Cause.NO_AGENT)
    channel = await context.agent.open("internet", request)
    try:
        result = await channel.receive()
    finally:
        await channel.close()
    return await reading(request, result)


async def agent_task(channel: Channel, params: Mapping[str, Any], context: AgentContext) -> None:
    """The agent's half: run the request in `params` and send the result."""
    if sys.platform == "win32" and params.get("method") != "iperf3":
        detail = "Windows does not count the bytes of a connection as Linux does"
        await channel.send({"error": {"cause": Cause.NOT_ON_WINDOWS.value, "detail": detail}})
        return
    keys = ("method", "server", "run", "rate", "threads", "seconds", "bytes")
    await channel.send(await run_worker({key: params.get(key) for key in keys}))


async def run_worker(request: Mapping[str, Any]) -> dict[str, Any]:
    """Run the request in a process of its own, which is killed after `WORKER_SECONDS`."""
    try:
        result = await ask_process(WORKER, dict(request), WORKER_SECONDS)
    except TimeoutError:
        return {"error": {"cause": Cause.TIMEOUT.value, "detail": "the speed test did not end"}}
    except ValueError:
        return {"error": {"cause": Cause.INTERNAL_ERROR.value, "detail": "no result"}}
    return result if isinstance(result, dict) else {}
