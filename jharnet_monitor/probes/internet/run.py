"""The path to the Internet: speedtest-cli at the agent, or at headquarters for its own uplink.

Against a public server, or the one that `probes.bandwidth.internet_server` names. Where that server
counts the bytes of each run (`lab.speedtest_server` does), the hub asks for its counts and rejects
a result that claims more.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import secrets
import sys
from collections.abc import Mapping
from typing import Any

import aiohttp

from jharnet_monitor.judge.line.throughput import WINDOW_SECONDS
from jharnet_monitor.model import Cause, Direction, Route
from jharnet_monitor.probes.bandwidth.plan import HEADROOM
from jharnet_monitor.probes.base import (
    AgentContext,
    Channel,
    Failed,
    NoData,
    ProbeContext,
    ProbeError,
    Reading,
)
from jharnet_monitor.probes.internet import COUNTS_HEADER
from jharnet_monitor.probes.internet.plan import (
    DIRECTION_SECONDS,
    OVERHEAD_BYTES,
    most_bytes,
    rates,
)

PROCESS_SECONDS = 70.0
ONE_THREAD_RATE, MORE_THREADS = 20e6, 4
"""A narrow line is filled by one connection; several only flood its queue."""
LEAST_SECONDS = 0.9 * WINDOW_SECONDS
"""No rate is told before a window has been seen of it."""
MARGIN = 0.1
"""How much more a client may claim to have got through than the server says arrived."""
MAX_RATE = 1e11

_FAILURES = (
    Cause.OFFLINE,
    Cause.BLOCKED,
    Cause.THROTTLED,
    Cause.SERVER_ERROR,
    Cause.TLS_ERROR,
    Cause.INTERRUPTED,
)


def order(server: str | None, planned: tuple[float, float]) -> dict[str, Any]:
    """What the process at the measuring end is told."""
    return {
        "server": _address(server),
        "run": secrets.token_urlsafe(12),
        "rate": {"download": planned[0] * HEADROOM, "upload": planned[1] * HEADROOM},
        "threads": 1 if max(planned) <= ONE_THREAD_RATE else MORE_THREADS,
        "seconds": DIRECTION_SECONDS,
        "bytes": {"download": most_bytes(planned[0]), "upload": most_bytes(planned[1])},
    }


def _address(server: str | None) -> str | None:
    """The configured server as speedtest-cli wants it: the address of its `upload.php`."""
    if server is None or server.rsplit("/", 1)[-1].startswith("upload."):
        return server
    return server.rstrip("/") + "/speedtest/upload.php"


async def run(context: ProbeContext) -> Reading:
    """Let the agent measure, or this machine at headquarters; raises `Failed` or `NoData`."""
    if context.at_headquarters:
        asked = order(context.config.probes.bandwidth.internet_server, rates(context))
        return await judge(asked, await perform(asked))
    if context.agent is None:
        raise NoData(Cause.NO_AGENT)
    asked = order(context.config.probes.bandwidth.internet_server, rates(context))
    channel = await context.agent.open("internet", asked)
    try:
        result = await channel.receive()
    finally:
        await channel.close()
    return await judge(asked, result)


async def agent_task(channel: Channel, params: Mapping[str, Any], context: AgentContext) -> None:
    """The agent's half: one order, one result."""
    asked = {
        key: params.get(key) for key in ("server", "run", "rate", "threads", "seconds", "bytes")
    }
    await channel.send(await perform(asked))


async def perform(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Run the order in a process of its own, which ends in time whatever it does."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "jharnet_monitor.probes.internet.worker",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(PROCESS_SECONDS):
            output, _ = await process.communicate(json.dumps(dict(asked)).encode())
        result = json.loads(output)
    except TimeoutError:
        return {"error": {"cause": Cause.TIMEOUT.value, "detail": "the speed test did not end"}}
    except ValueError:
        return {"error": {"cause": Cause.INTERNAL_ERROR.value, "detail": "no result"}}
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return result if isinstance(result, dict) else {}


async def judge(asked: Mapping[str, Any], result: Mapping[str, Any]) -> Reading:
    """A reading from a client's result; raises `Failed`, or `NoData` for what cannot be so."""
    spent = _count(result.get("bytes_down")) + _count(result.get("bytes_up"))
    conditions: dict[str, Any] = {"path": Route.INTERNET.value}
    if isinstance(result.get("server"), str):
        conditions["server"] = result["server"][:200]
    values: dict[str, float] = {}
    if spent:
        values["bytes_spent"] = float(spent)
    try:
        idle = _positive(result.get("idle_rtt"), 60)
        if idle is not None:
            values["idle_rtt_seconds"] = idle
        for direction in Direction:
            part = result.get(direction.transfer)
            if isinstance(part, Mapping):
                _take(direction, part, values, conditions)
        _raise_error(result)
        _check_books(values, spent)
        await _hold_against_server(asked, result, conditions)
    except ProbeError as error:
        if error.cause is Cause.BAD_REPORT:  # of what is not believed the bytes are not, either
            values = {}
            conditions |= {"bytes_spent": sum(asked["bytes"].values()), "bytes_estimated": True}
        raise type(error)(
            error.cause, error.detail, values=values, conditions=conditions
        ) from error
    return Reading(values, conditions)


def _take(
    direction: Direction,
    part: Mapping[str, Any],
    values: dict[str, float],
    conditions: dict[str, Any],
) -> None:
    name = direction.transfer
    rate = _positive(part.get("rate"), MAX_RATE)
    if rate is None:
        raise NoData(Cause.BAD_REPORT, f"no rate for the {name}")
    values[f"{name}_bits_per_second"] = rate
    uncertainty = _positive(part.get("uncertainty"), 10)
    if uncertainty is not None:
        conditions[f"{name}_uncertainty"] = round(uncertainty, 4)
    loaded = _positive(part.get("loaded_rtt"), 60)
    if loaded is not None:
        values[f"{name}_loaded_rtt_seconds"] = loaded
    conditions[f"{name}_ended"] = str(part.get("ended"))[:20]


def _raise_error(result: Mapping[str, Any]) -> None:
    error = result.get("error")
    if isinstance(error, Mapping):
        detail = str(error.get("detail", ""))[:200]
        for cause in _FAILURES:
            if error.get("cause") == cause.value:
                raise Failed(cause, detail)
        if error.get("cause") == Cause.TIMEOUT.value:
            raise Failed(Cause.TIMEOUT, detail)
        if error.get("cause") == Cause.HOST_OVERLOADED.value:
            raise NoData(Cause.HOST_OVERLOADED, detail)
        raise NoData(Cause.INTERNAL_ERROR, detail)
    if not all(isinstance(result.get(each.transfer), Mapping) for each in Direction):
        raise NoData(Cause.BAD_REPORT, "neither both directions nor an error")


def _check_books(values: Mapping[str, float], spent: int) -> None:
    """Raise `NoData` where fewer bytes are owned up to than those rates take to be measured."""
    total = sum(rate for name, rate in values.items() if name.endswith("_bits_per_second"))
    if spent < LEAST_SECONDS * total / 8:
        raise NoData(Cause.BAD_REPORT, f"{spent} bytes are too few for what was measured")


async def _hold_against_server(
    asked: Mapping[str, Any], result: Mapping[str, Any], conditions: dict[str, Any]
) -> None:
    """Where the server counts runs, ask it; raises `NoData` when it saw less than was claimed.

    The address is the configured one: an agent does not tell the hub where to look.
    """
    if asked["server"] is None:
        return
    try:
        counts = await _server_counts(asked["server"].rpartition("/")[0], asked["run"])
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return
    if counts is None:
        return
    for direction, key in ((Direction.UP, "received"), (Direction.DOWN, "sent")):
        name = direction.transfer
        seen, claimed = _count(counts.get(key)), _count(result[name].get("payload"))
        if claimed > seen * (1 + MARGIN) + OVERHEAD_BYTES:
            raise NoData(Cause.BAD_REPORT, f"{name}: {claimed} bytes claimed, {seen} at the server")
    conditions["held_against_server"] = True


async def _server_counts(folder: str, run: str) -> Mapping[str, Any] | None:
    """What the server below `folder` counted of a run, empty where it never saw it.

    None where the server does not count runs (any server but ours) or gives no counts. Raises
    `aiohttp.ClientError`, `TimeoutError` or `ValueError` where it cannot be asked.
    """
    timeout = aiohttp.ClientTimeout(total=5)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        async with http.get(f"{folder}/latency.txt") as answer:
            if COUNTS_HEADER not in answer.headers:
                return None
        async with http.get(f"{folder}/run-{run}/counts.json") as answer:
            if answer.status == 404:
                return {}
            counts = await answer.json() if answer.status == 200 else None
            return counts if isinstance(counts, Mapping) else None


def _count(value: Any) -> int:
    ok = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 50
    return int(value) if ok else 0


def _positive(value: Any, most: float) -> float | None:
    """The value, if it is a number between 0 and `most`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value) if 0 < value < most else None
