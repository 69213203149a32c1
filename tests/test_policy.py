"""The policy: which tests do not run, and why, and which are repeated before they count."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from math import inf
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.config import Config
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.hub.policy import Policy
from jharnet_monitor.hub.runner import Runner
from jharnet_monitor.live import Live
from jharnet_monitor.metrics.offices import OFFICE_FAMILIES
from jharnet_monitor.metrics.reading import read_families
from jharnet_monitor.model import HEADQUARTERS, Cause, Measurement, OfficeState, Outcome
from jharnet_monitor.probes import Failed, ProbeContext, Reading
from tests.support import make_config, stand_in

MORNING = datetime(2026, 11, 25, 5, 0, tzinfo=UTC)
"""Half past ten on a Wednesday, in India."""
IST = ZoneInfo("Asia/Kolkata")
SECONDS = 10.0
INTERNET = {"path": "internet"}


def _reserve(context: ProbeContext) -> float:
    return inf if context.at_headquarters else 5e6


class Hub:
    """A policy with everything below it, and probes whose results the test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, start: datetime = MORNING, **sections: Any):
        self.config: Config = make_config(**sections)
        self.clock = ManualClock(start)
        current = CurrentConfig(self.config)
        self.live = Live(current)
        self.recorded: list[Measurement] = []
        self.rates: list[float | Exception] = []
        self.cost = 1_000_000
        stand_in(monkeypatch, "bandwidth", run=self._test, cost=self._cost, reserve=_reserve)
        stand_in(monkeypatch, "conference", run=self._call, cost=lambda _: 0, reserve=lambda _: 0.0)
        stand_in(monkeypatch, "latency", run=self._call)
        agent: Any = object()
        self.runner = Runner(current, self.clock, lambda _: agent, self.spent, self._record)
        self.policy = Policy(current, self.clock, self.live, self.runner, self.spent)

    def _cost(self, context: ProbeContext) -> int:
        return 1000 if context.options.get("path") == "trains" else self.cost

    async def _test(self, context: ProbeContext) -> Reading:
        await self.clock.sleep(SECONDS)
        result = self.rates.pop(0) if self.rates else 4e6
        if isinstance(result, Exception):
            raise result
        rates = dict.fromkeys(("download_bits_per_second", "upload_bits_per_second"), result)
        return Reading({**rates, "bytes_spent": 0.6 * self._cost(context)})

    async def _call(self, context: ProbeContext) -> Reading:
        await self.clock.sleep(SECONDS)
        return Reading({})

    def spent(self, office: str) -> int:
        day = self.clock.now().date()
        mine = (m for m in self.recorded if m.office == office and m.started_at.date() == day)
        return sum(m.bytes_spent for m in mine)

    async def _record(self, measurement: Measurement) -> None:
        self.recorded.append(measurement)
        self.live.update(measurement)

    async def run_scheduled(self, office: str = "potka", **options: Any) -> Measurement:
        """Run a scheduled test."""
        running = asyncio.create_task(self.policy.run_scheduled(office, "bandwidth", options))
        await self.clock.advance(SECONDS)
        return await asyncio.wait_for(running, 5)

    def metrics(self, name: str) -> Mapping[tuple[str, ...], float]:
        """The samples of one metric, by their labels."""
        readings, _ = read_families(self.live, self.clock.now(), OFFICE_FAMILIES)
        [found] = [r for r in readings if r.family.name == name]
        return {labels: value for _, labels, value in found.rows}


async def test_an_undisturbed_test_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an obstacle and with the contracted rate there is one measurement, which counts."""
    hub = Hub(monkeypatch)
    measurement = await hub.run_scheduled()
    await hub.clock.advance(600)
    assert measurement.outcome is Outcome.OK
    assert measurement.is_conclusive
    assert hub.recorded == [measurement]


@pytest.mark.parametrize("path", ["jharnet", "trains", "internet"])
async def test_no_scheduled_test_runs_during_a_drill(
    monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """Scheduled tests of an office and of headquarters are recorded as `is_conference_on`."""
    hub = Hub(monkeypatch)
    async with hub.runner.own_uplink():
        due = await hub.run_scheduled(path=path)
        away = await asyncio.wait_for(
            hub.policy.run_scheduled(HEADQUARTERS, "bandwidth", INTERNET), 5
        )
    assert [m.cause for m in (due, away)] == [Cause.CONFERENCE_ON] * 2
    assert [m.outcome for m in hub.recorded] == [Outcome.NO_DATA] * 2
    assert (due.route, due.bytes_spent) == (path, 0)
    assert (await hub.run_scheduled()).outcome is Outcome.OK


async def test_no_scheduled_test_runs_during_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call blocks scheduled tests of its office, but not those of another."""
    hub = Hub(monkeypatch)
    call = asyncio.create_task(hub.policy.run_on_request("potka", "conference", {}))
    await hub.clock.advance(1)
    busy = await asyncio.wait_for(hub.policy.run_scheduled("potka", "bandwidth", {}), 5)
    free = await hub.run_scheduled("boram")
    await call
    assert (busy.outcome, busy.cause) == (Outcome.NO_DATA, Cause.CONFERENCE_ON)
    assert free.outcome is Outcome.OK


async def test_a_waiting_test_is_blocked_when_a_conference_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A test whose turn comes after a planned conference began does not run."""
    conferences = [{"days": "wed", "from": "10:31", "to": "12:00"}]
    hub = Hub(monkeypatch, district={"conferences": conferences})
    first = asyncio.create_task(hub.policy.run_scheduled("potka", "bandwidth", {}))
    second = asyncio.create_task(
        hub.policy.run_scheduled("potka", "bandwidth", {"path": "internet"})
    )
    await hub.clock.advance(5)
    hub.clock.step(60)
    await hub.clock.advance(SECONDS)
    assert (await asyncio.wait_for(first, 5)).outcome is Outcome.OK
    assert (await asyncio.wait_for(second, 5)).cause == Cause.CONFERENCE_ON


async def test_a_line_that_is_down_is_not_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the office or headquarters' line is down, the cause is recorded; a request still runs."""
    hub = Hub(monkeypatch)
    hub.live.offices["potka"].state = OfficeState.UNREACHABLE
    assert (await hub.run_scheduled("potka")).cause == Cause.UNREACHABLE
    assert (await hub.run_scheduled("boram")).outcome is Outcome.OK
    hub.live.uplink_up = False
    assert (await hub.run_scheduled("boram")).cause == Cause.UPLINK_DOWN
    assert (
        await hub.policy.run_scheduled(HEADQUARTERS, "bandwidth", INTERNET)
    ).cause == Cause.UPLINK_DOWN
    requested = asyncio.create_task(hub.policy.run_on_request("boram", "bandwidth", {}))
    await hub.clock.advance(SECONDS)
    assert (await requested).outcome is Outcome.OK, "a test on request runs anyway"


@pytest.mark.parametrize("second", [4e6, 3e6])
async def test_a_low_speed_is_measured_twice(
    monkeypatch: pytest.MonkeyPatch, second: float
) -> None:
    """A test below 80 % of the contract is repeated once, a minute later; both are recorded, and
    only the second is in the metrics."""
    hub = Hub(monkeypatch)
    hub.rates = [3e6, second]
    first = await hub.run_scheduled()
    assert (first.outcome, first.conditions["retest"], first.is_conclusive) == (
        Outcome.OK,
        "due",
        False,
    )
    assert not hub.metrics("bandwidth_bytes_per_second")
    await hub.clock.advance(55)
    assert len(hub.recorded) == 1
    await hub.clock.advance(5 + SECONDS)
    assert len(hub.recorded) == 2
    retest = hub.recorded[1]
    assert retest.conditions["retest_of"] == first.id
    assert retest.is_conclusive
    assert (retest.started_at - first.started_at).total_seconds() == 60 + SECONDS
    shown = hub.metrics("bandwidth_bytes_per_second")
    assert shown["potka", "jharnet", "down"] == second / 8
    assert hub.spent("potka") == 2 * 600_000
    await hub.clock.advance(600)
    assert len(hub.recorded) == 2


async def test_a_blocked_retest_is_recorded_with_its_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a drill blocks the retest, the first test does not count either."""
    hub = Hub(monkeypatch)
    hub.rates = [3e6]
    await hub.run_scheduled()
    async with hub.runner.own_uplink():
        await hub.clock.advance(60)
    assert [m.cause for m in hub.recorded] == [None, Cause.CONFERENCE_ON]
    assert not hub.metrics("bandwidth_bytes_per_second")


async def test_a_failed_retest_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A retest that the network interrupted is the newest result."""
    hub = Hub(monkeypatch)
    hub.rates = [3e6, Failed(Cause.INTERRUPTED)]
    await hub.run_scheduled()
    await hub.clock.advance(60 + SECONDS)
    assert hub.metrics("probe_success")["potka", "bandwidth", "jharnet"] == 0


async def test_without_retests_the_first_test_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """With `retest_after: null` a low speed counts at once."""
    hub = Hub(monkeypatch, probes={"bandwidth": {"retest_after": None}})
    hub.rates = [3e6]
    assert (await hub.run_scheduled()).is_conclusive
    await hub.clock.advance(600)
    assert len(hub.recorded) == 1


async def test_stop_cancels_retests(monkeypatch: pytest.MonkeyPatch) -> None:
    """After `stop` nothing is measured any more."""
    hub = Hub(monkeypatch)
    hub.rates = [3e6]
    await hub.run_scheduled()
    await hub.policy.stop()
    await hub.clock.advance(600)
    assert len(hub.recorded) == 1


async def test_a_small_budget_is_reserved_for_busy_hour_and_night(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With bytes for two pairs of tests a day and a test every hour, one pair runs in the busy hour
    and one after closing time."""
    midnight = datetime(2026, 11, 24, 18, 30, tzinfo=UTC)
    hub = Hub(monkeypatch, midnight, budget="3 MB")
    hub.spent = lambda office: sum(m.bytes_spent for m in hub.recorded)  # type: ignore[method-assign]
    hub.policy._spent_today = hub.spent
    for _ in range(24):
        await hub.run_scheduled()
        await hub.clock.advance(3600 - SECONDS)
    ok = [m.started_at for m in hub.recorded if m.outcome is Outcome.OK]
    assert [at.astimezone(IST).hour for at in ok] == [12, 18]
    assert all(m.cause == Cause.BUDGET_SPENT for m in hub.recorded if m.outcome is not Outcome.OK)


async def test_headquarters_has_its_own_series(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its test has the uplink to itself, is recorded under its own id and has its own metrics."""
    hub = Hub(monkeypatch)
    hub.rates = [4e6, 30e6]
    office = asyncio.create_task(hub.policy.run_scheduled("potka", "bandwidth", {}))
    await hub.clock.advance(1)
    own = asyncio.create_task(hub.policy.run_scheduled(HEADQUARTERS, "bandwidth", INTERNET))
    await hub.clock.advance(SECONDS - 1)
    assert (await office).outcome is Outcome.OK
    late = asyncio.create_task(hub.policy.run_scheduled("boram", "bandwidth", {}))
    await hub.clock.advance(SECONDS)
    measurement = await asyncio.wait_for(own, 5)
    assert (measurement.office, measurement.route) == (HEADQUARTERS, "internet")
    await hub.clock.advance(SECONDS)
    starts = [m.started_at for m in (office.result(), measurement, await late)]
    assert [(at - starts[0]).total_seconds() for at in starts] == [0, SECONDS, 2 * SECONDS]
    assert hub.metrics("uplink_internet_bytes_per_second") == {
        ("down",): 30e6 / 8, ("up",): 30e6 / 8,
    }  # fmt: skip
    assert hub.metrics("uplink_internet_success") == {(): 1}
    assert set(hub.metrics("office_info")) == {
        labels for labels in hub.metrics("office_info") if labels[0] != HEADQUARTERS
    }


async def test_latency_during_a_test_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Latency during a test of its office, of headquarters, or a drill is `under_load`; during a
    test of another office it is not."""
    hub = Hub(monkeypatch)

    async def together(office: str) -> bool:
        running = asyncio.create_task(hub.policy.run_on_request(office, "latency", {}))
        await hub.clock.advance(SECONDS)
        return bool((await running).conditions.get("under_load"))

    assert not await together("potka")
    test = asyncio.create_task(hub.policy.run_scheduled("potka", "bandwidth", {}))
    await hub.clock.advance(SECONDS / 2)
    assert not await together("boram")
    await test
    test = asyncio.create_task(hub.policy.run_scheduled("potka", "bandwidth", {}))
    await hub.clock.advance(SECONDS / 2)
    assert await together("potka")
    await test
    test = asyncio.create_task(hub.policy.run_scheduled(HEADQUARTERS, "bandwidth", INTERNET))
    await hub.clock.advance(SECONDS / 2)
    assert await together("boram")
    await test
    async with hub.runner.own_uplink():
        assert await together("boram")
    await hub.clock.advance(1)
    assert not await together("boram")
