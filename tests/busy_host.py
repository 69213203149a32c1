"""Repeats a measurement for which this machine was too busy.

The product gives no figure then, and says so (`host_overloaded`); a test that holds figures repeats
it, as a person would.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar
from unittest import mock

from jharnet_monitor.model import Cause, Measurement
from jharnet_monitor.probes.base import ProbeError
from jharnet_monitor.rtc.stats.call_stats import MAX_MEDIAN_LAG

if TYPE_CHECKING:
    from jharnet_monitor.lab import Lab

MAX_LATE_MS = 50
"""From this lateness of one packet on the emulator, which is the line, stood still."""
MAX_STALLED = 0.05
"""A smaller share of the time is one of the short pauses that a busy machine has in most tests."""
WAITS = (1.0, 3.0, 6.0, 10.0)
"""Seconds before each repetition: a hypervisor takes the CPU in phases. A machine that is too busy
five times in a row is too busy for the tests."""
REPETITIONS = len(WAITS)


class _Result(Protocol):
    @property
    def conditions(self) -> Mapping[str, Any]: ...
    @property
    def error(self) -> ProbeError | None: ...


Result = _Result | Measurement | Mapping[str, Any]
"""What a probe gave, or the record of it by the hub or its API."""
R = TypeVar("R", bound=Result)
T = TypeVar("T")
P = ParamSpec("P")


def overloaded(result: Result) -> bool:
    """Whether there is no figure for that reason."""
    if isinstance(result, Mapping):
        return bool(result["cause"] == Cause.HOST_OVERLOADED)
    if isinstance(result, Measurement):
        return result.cause == Cause.HOST_OVERLOADED
    return result.error is not None and result.error.cause is Cause.HOST_OVERLOADED


def stalled(conditions: Mapping[str, Any]) -> bool:
    """Whether an end of a speed test stood still so long that its rate is less certain."""
    names = ("download_stalled_ratio", "upload_stalled_ratio")
    return any(conditions.get(name, 0.0) > MAX_STALLED for name in names)


def was_late(conditions: Mapping[str, Any]) -> bool:
    """Whether this machine was too busy to tell a call's round trip, which is left out then."""
    names = ("hub_loop_lag_median_seconds", "agent_loop_lag_median_seconds")
    return any((conditions.get(name) or 0.0) > MAX_MEDIAN_LAG for name in names)


async def answered(measure: Callable[[], Awaitable[R]]) -> R:
    """What `measure` returns, repeated while this machine was too busy for any figure."""
    for wait in WAITS:
        result = await measure()
        if not overloaded(result):
            return result
        await asyncio.sleep(wait)
    return await measure()


def line_was_late(lab: Lab) -> bool:
    """Whether the emulator stood still since the counters were reset: the line was uneven then, as
    the product should say, though its settings are not."""
    return bool(lab.status()["lateness_ms"]["max"] > MAX_LATE_MS)


async def undisturbed(
    measure: Callable[[], Awaitable[R]], disturbed: Callable[[], bool] = lambda: False
) -> R:
    """What `measure` returns, repeated while this machine was too busy for all figures, or for
    certain ones, or `disturbed` the line, and where it says that another test loaded the line: one
    of the first tests of an office, for example, which begin a minute after its agent has
    connected."""
    for wait in WAITS:
        result = await measure()
        known = result["conditions"] if isinstance(result, Mapping) else result.conditions
        busy = overloaded(result) or was_late(known) or stalled(known)
        if not (busy or known.get("under_load") or disturbed()):
            return result
        await asyncio.sleep(wait)
    return await measure()


def repeated(measure: Callable[[], T], disturbed: Callable[[T], bool]) -> T:
    """What `measure` returns, repeated while that is `disturbed`; for one that holds its lab."""
    for wait in WAITS:
        result = measure()
        if not disturbed(result):
            return result
        time.sleep(wait)
    return measure()


def repeats(test: Callable[P, Awaitable[None]]) -> Callable[P, Awaitable[None]]:
    """Repeats a test that failed while a probe in this process was `host_overloaded`.

    For calls that are held together, as in a drill, of which none can be repeated alone.
    """

    @wraps(test)
    async def run(*args: P.args, **options: P.kwargs) -> None:
        for wait in WAITS:
            busy: list[str] = []
            begin = ProbeError.__init__

            def noting(self: ProbeError, cause: Cause, *rest: Any, **named: Any) -> None:
                if cause is Cause.HOST_OVERLOADED:
                    busy.append(str(rest))  # noqa: B023 - only called within this round
                begin(self, cause, *rest, **named)  # noqa: B023

            try:
                with mock.patch.object(ProbeError, "__init__", noting):
                    return await test(*args, **options)
            except (AssertionError, TimeoutError):
                if not busy:
                    raise
            await asyncio.sleep(wait)
        return await test(*args, **options)

    return run
