"""Makes a reading of the result of a speed test, and checks it as far as possible."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import aiohttp

from jharnet_monitor.judge.line.reading import (
    MAX_WINDOW_SHARE,
    Limit,
    RateReading,
    TcpStream,
    by_tcp,
    least_error,
    reaches_pace,
)
from jharnet_monitor.judge.line.throughput import WINDOW_SECONDS, Estimate
from jharnet_monitor.model import Cause, Direction, Route
from jharnet_monitor.probes.bandwidth.throughput_test import QUEUE_FACTOR, QUEUE_SECONDS
from jharnet_monitor.probes.base import Failed, NoData, ProbeError, Reading
from jharnet_monitor.probes.internet import COUNTS_HEADER
from jharnet_monitor.probes.internet.plan import OVERHEAD_BYTES

MIN_SECONDS = 0.9 * WINDOW_SECONDS
"""A rate is measured over at least one window, so it takes the bytes of about one window."""
TOLERANCE = 0.1
"""How much more payload, relatively, a client may report than the server has counted."""
MAX_RATE = 1e11

_FAILURES = (
    Cause.OFFLINE,
    Cause.BLOCKED,
    Cause.THROTTLED,
    Cause.SERVER_ERROR,
    Cause.TLS_ERROR,
    Cause.INTERRUPTED,
    Cause.TIMEOUT,
)

_NOT_MEASURED = (Cause.HOST_OVERLOADED, Cause.NOT_ON_WINDOWS, Cause.NOT_CONFIGURED)


async def reading(request: Mapping[str, Any], result: Mapping[str, Any]) -> Reading:
    """The reading of the result that a worker gave to a request.

    Raises `Failed`, or `NoData` (`bad_report`) for a result that cannot be right.
    """
    spent = _count(result.get("bytes_down")) + _count(result.get("bytes_up"))
    conditions: dict[str, Any] = {"path": Route.INTERNET.value}
    if isinstance(result.get("server"), str):
        conditions["server"] = result["server"][:200]
    values: dict[str, float] = {}
    if spent:
        values["bytes_spent"] = float(spent)
    try:
        idle_rtt = _positive(result.get("idle_rtt"), 60)
        if idle_rtt is not None:
            values["idle_rtt_seconds"] = idle_rtt
        for direction in Direction:
            part = result.get(direction.transfer)
            if isinstance(part, Mapping):
                _add_direction(direction, part, values, conditions)
        _raise_error(request, result)
        _check_bytes_spent(values, spent)
        await _check_with_server(request, result, conditions)
    except ProbeError as error:
        if error.cause is Cause.BAD_REPORT:
            values = {}
        if error.cause is Cause.BAD_REPORT or _ended_uncounted(result, error):
            conditions |= {"bytes_spent": sum(request["bytes"].values()), "bytes_estimated": True}
        raise type(error)(
            error.cause, error.detail, values=values, conditions=conditions
        ) from error
    return Reading(values, conditions)


def _ended_uncounted(result: Mapping[str, Any], error: ProbeError) -> bool:
    """Whether the worker may have sent data before it ended without a count, as one that was
    killed."""
    return "bytes_down" not in result and error.cause is not Cause.NOT_ON_WINDOWS


def _add_direction(
    direction: Direction,
    part: Mapping[str, Any],
    values: dict[str, float],
    conditions: dict[str, Any],
) -> None:
    name = direction.transfer
    rate = _positive(part.get("rate"), MAX_RATE)
    if rate is None:
        raise NoData(Cause.BAD_REPORT, f"no rate for the {name}")
    uncertainty = _positive(part.get("uncertainty"), 10)
    if uncertainty is not None:
        conditions[f"{name}_uncertainty"] = round(max(uncertainty, least_error(rate)), 4)
    loaded_rtt = _positive(part.get("loaded_rtt"), 60)
    queue = _queue_stood(values.get("idle_rtt_seconds"), loaded_rtt)
    found = _rate_reading(rate, uncertainty, part, queue)
    values[f"{name}_bits_per_second"] = found.rate
    values[f"{name}_bits_per_second_low"] = found.low
    if found.high is not None:
        values[f"{name}_bits_per_second_high"] = found.high
    if found.at_least:
        conditions[f"{name}_at_least"] = True
    if found.limited_by is not None:
        conditions[f"{name}_limited_by"] = conditions["limited_by"] = found.limited_by.value
    if loaded_rtt is not None:
        values[f"{name}_loaded_rtt_seconds"] = loaded_rtt
    conditions[f"{name}_ended"] = str(part.get("ended"))[:20]


def _queue_stood(idle_rtt: float | None, loaded_rtt: float | None) -> bool | None:
    """Whether a queue stood during a transfer, from RTTs in seconds; None if one is unknown."""
    if idle_rtt is None or loaded_rtt is None:
        return None
    return loaded_rtt > QUEUE_FACTOR * idle_rtt + QUEUE_SECONDS


def _rate_reading(
    rate: float, uncertainty: float | None, part: Mapping[str, Any], queue: bool | None
) -> RateReading:
    """The reading of a rate in bit/s with its error, a share, if that is known."""
    pace = _positive(part.get("pace"), MAX_RATE) or math.inf
    if uncertainty is None:
        reached = reaches_pace(rate, pace)
        return RateReading(rate, 0.0, None, None if reached else Limit.TIME, at_least=reached)
    stream = TcpStream.of(
        Estimate(rate, uncertainty, part.get("stable") is not False, 0.0, 0.0),
        loss=_share(part.get("loss")),
        window=0.0,
        queue=queue,
        pace=pace,
    )
    found = by_tcp(stream)
    if _share(part.get("window")) > MAX_WINDOW_SHARE:  # the server's: no computer of ours
        return replace(found, high=None, at_least=True)
    return found


def _raise_error(request: Mapping[str, Any], result: Mapping[str, Any]) -> None:
    """Raise the error that the worker reported, or `NoData` if a direction is missing."""
    error = result.get("error")
    if isinstance(error, Mapping):
        detail = str(error.get("detail", ""))[:200]
        for cause in _FAILURES:
            if error.get("cause") == cause.value:
                raise Failed(cause, detail)
        for cause in _NOT_MEASURED:
            if error.get("cause") == cause.value:
                raise NoData(cause, detail)
        raise NoData(Cause.INTERNAL_ERROR, detail)
    needed = (Direction.DOWN,) if request.get("method") == "http" else Direction
    if not all(isinstance(result.get(each.transfer), Mapping) for each in needed):
        raise NoData(Cause.BAD_REPORT, "neither both directions nor an error")


def _check_bytes_spent(values: Mapping[str, float], spent: int) -> None:
    """Raise `NoData` if the reported bytes are fewer than measuring these rates takes."""
    names = (f"{direction.transfer}_bits_per_second" for direction in Direction)
    total = sum(values.get(name, 0.0) for name in names)
    if spent < MIN_SECONDS * total / 8:
        raise NoData(Cause.BAD_REPORT, f"{spent} bytes are too few for the reported rates")


async def _check_with_server(
    request: Mapping[str, Any], result: Mapping[str, Any], conditions: dict[str, Any]
) -> None:
    """Compare with the counts of a server that counts; raises `NoData` if it counted less.

    The address is the configured one: the hub never connects to an address that an agent reports.
    """
    if request["server"] is None or request.get("method", "ookla") != "ookla":
        return
    try:
        counts = await _server_counts(request["server"].rpartition("/")[0], request["run"])
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return
    if counts is None:
        return
    for direction, key in ((Direction.UP, "received"), (Direction.DOWN, "sent")):
        name = direction.transfer
        counted, reported = _count(counts.get(key)), _count(result[name].get("payload"))
        if reported > counted * (1 + TOLERANCE) + OVERHEAD_BYTES:
            raise NoData(
                Cause.BAD_REPORT, f"{name}: {reported} bytes reported, {counted} at the server"
            )
    conditions["held_against_server"] = True


async def _server_counts(folder: str, run: str) -> Mapping[str, Any] | None:
    """What the server below `folder` counted for a run; empty if it does not know the run.

    None if the server does not count runs (only ours does) or gives no counts. Raises
    `aiohttp.ClientError`, `TimeoutError` or `ValueError` if it does not answer properly.
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


def _positive(value: Any, limit: float) -> float | None:
    """The value if it is a number above 0 and below `limit`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value) if 0 < value < limit else None


def _share(value: Any) -> float:
    """The value if it is a share, else 0: older agents report none."""
    return min(1.0, _positive(value, 2) or 0.0)
