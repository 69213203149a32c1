"""Repeats a measurement for which this machine was too busy.

The product gives no figure then, and says so (`host_overloaded`); a test that holds figures repeats
it, as a person would.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeVar

from jharnet_monitor.model import Cause, Measurement
from jharnet_monitor.probes.base import ProbeError
from jharnet_monitor.rtc.stats.call_stats import MAX_MEDIAN_LAG

REPETITIONS = 4
"""A machine that is too busy five times in a row is too busy for the tests."""


class _Result(Protocol):
    @property
    def conditions(self) -> Mapping[str, Any]: ...
    @property
    def error(self) -> ProbeError | None: ...


Result = _Result | Measurement | Mapping[str, Any]
"""What a probe gave, or the record of it by the hub or its API."""
R = TypeVar("R", bound=Result)
T = TypeVar("T")


def overloaded(result: Result) -> bool:
    """Whether there is no figure for that reason."""
    if isinstance(result, Mapping):
        return bool(result["cause"] == Cause.HOST_OVERLOADED)
    if isinstance(result, Measurement):
        return result.cause == Cause.HOST_OVERLOADED
    return result.error is not None and result.error.cause is Cause.HOST_OVERLOADED


def was_late(conditions: Mapping[str, Any]) -> bool:
    """Whether this machine was too busy to tell a call's round trip, which is left out then."""
    names = ("hub_loop_lag_median_seconds", "agent_loop_lag_median_seconds")
    return any((conditions.get(name) or 0.0) > MAX_MEDIAN_LAG for name in names)


def any_overloaded(results: Mapping[Any, Result]) -> bool:
    """Whether that is true of one of several."""
    return any(overloaded(result) for result in results.values())


async def undisturbed(measure: Callable[[], Awaitable[R]]) -> R:
    """What `measure` returns, repeated while this machine was too busy for all figures."""
    for _ in range(REPETITIONS):
        result = await measure()
        known = result["conditions"] if isinstance(result, Mapping) else result.conditions
        if not overloaded(result) and not was_late(known):
            return result
    return await measure()


def repeated(measure: Callable[[], T], disturbed: Callable[[T], bool]) -> T:
    """What `measure` returns, repeated while that is `disturbed`; for one that holds its lab."""
    for _ in range(REPETITIONS):
        result = measure()
        if not disturbed(result):
            return result
    return measure()
