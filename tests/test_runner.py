"""Turns, uplink limit and budget of heavy probes, and failures as measurements."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.hub.line_limiter import LineLimiter
from jharnet_monitor.hub.runner import Runner
from jharnet_monitor.live import Live
from jharnet_monitor.model import LONG_TESTS, Cause, Direction, Measurement, Outcome
from jharnet_monitor.probes.base import (
    ChannelClosed,
    Failed,
    NoData,
    ProbeContext,
    Reading,
)
from tests.support import OFFICES, make_config, stand_in

Run = Callable[[ProbeContext], Awaitable[Reading]]


class Bench:
    """A runner with one replaced probe, and everything it recorded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, run: Run, **probe: Any) -> None:
        self.recorded: list[Measurement] = []
        self.agent: Any = object()
        probe.setdefault("time_limit", lambda context: 60.0)
        probe.setdefault("heavy", True)
        probe.setdefault("needs_agent", lambda context: False)
        probe.setdefault("cost", lambda context: 0)
        probe.setdefault("reserve", lambda context: 0.0)
        stand_in(monkeypatch, "bandwidth", run=run, **probe)
        self.clock = ManualClock(datetime(2026, 11, 25, tzinfo=UTC))
        self.runner = Runner(
            CurrentConfig(make_config()),
            self.clock,
            lambda office: self.agent,
            self.spent,
            self.record,
        )

    def spent(self, office: str) -> int:
        return sum(m.bytes_spent for m in self.recorded if m.office == office)

    async def record(self, measurement: Measurement) -> None:
        self.recorded.append(measurement)


async def test_heavy_probes_take_turns_and_share_the_uplink(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of twelve runs at once, one at a time runs on an office, within half of the uplink."""
    active: Counter[str] = Counter()
    most_reserved = 0.0

    async def run(context: ProbeContext) -> Reading:
        nonlocal most_reserved
        active[context.office.id] += 1
        assert active[context.office.id] == 1
        most_reserved = max(most_reserved, bench.runner.uplink.reserved)
        await context.clock.sleep(10)
        active[context.office.id] -= 1
        return Reading({"bytes_spent": 1000})

    bench = Bench(monkeypatch, run, reserve=lambda context: 8e6)
    runs = [bench.runner.run(office, "bandwidth") for office in OFFICES for _ in range(4)]
    everything = asyncio.gather(*runs)
    await bench.clock.advance(100)
    results = await asyncio.wait_for(everything, 5)
    assert [m.outcome for m in results] == [Outcome.OK] * 12
    assert most_reserved == 16e6  # of 17: two of three offices at a time
    assert bench.runner.uplink.reserved == 0


async def test_the_budget_is_checked_before_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe whose estimated bytes exceed the budget does not run; the cause is recorded."""
    runs = 0

    async def run(context: ProbeContext) -> Reading:
        nonlocal runs
        runs += 1
        return Reading({"bytes_spent": 100e6})

    bench = Bench(monkeypatch, run, cost=lambda context: 100_000_000)
    results = [await bench.runner.run("potka", "bandwidth") for _ in range(4)]
    assert [m.outcome.value for m in results] == ["ok", "ok", "ok", "no_data"]
    assert results[-1].cause == Cause.BUDGET_SPENT
    assert runs == 3
    assert (await bench.runner.run("boram", "bandwidth")).outcome is Outcome.OK


async def hang(context: ProbeContext) -> Reading:
    """A probe that never ends."""
    await asyncio.sleep(3600)
    raise AssertionError


def raising(error: Exception) -> Run:
    """A probe that ends with an error."""

    async def run(context: ProbeContext) -> Reading:
        raise error

    return run


@pytest.mark.parametrize(
    ("run", "outcome", "cause", "spent"),
    [
        (raising(Failed(Cause.UDP_BLOCKED)), "failed", "udp_blocked", 0),
        (raising(NoData(Cause.HOST_OVERLOADED)), "no_data", "host_overloaded", 0),
        (raising(ChannelClosed("gone")), "no_data", "agent_lost", 5000),
        (raising(ZeroDivisionError()), "no_data", "internal_error", 5000),
        (hang, "failed", "timeout", 5000),
    ],
)
async def test_every_failure_becomes_a_measurement(
    monkeypatch: pytest.MonkeyPatch, run: Run, outcome: str, cause: str, spent: int
) -> None:
    """A probe that fails, hangs or raises gives a cause and no values, and frees its turn.

    If the bytes of an interrupted test are not known, the estimate is charged.
    """
    bench = Bench(monkeypatch, run, time_limit=lambda context: 0.05, cost=lambda context: 5000)
    measurement = await bench.runner.run("potka", "bandwidth")
    assert (measurement.outcome.value, measurement.cause) == (outcome, cause)
    assert measurement.bytes_spent == spent
    assert dict(measurement.values) == {}
    assert bench.recorded == [measurement]
    assert bench.runner.active_tests.running("potka") == ()
    assert bench.runner.uplink.reserved == 0


@pytest.mark.parametrize(("path", "filling"), [("jharnet", ("bandwidth",)), ("trains", ())])
async def test_packet_trains_run_and_do_not_fill_the_line(
    monkeypatch: pytest.MonkeyPatch, path: str, filling: tuple[str, ...]
) -> None:
    """What fills the line keeps alerts from judging loss and latency for a quarter of an hour."""
    found: list[tuple[tuple[str, ...], ...]] = []

    async def run(context: ProbeContext) -> Reading:
        tests = bench.runner.active_tests
        found.append((tests.running("potka"), tests.filling("potka"), tests.filling("boram")))
        return Reading({"bytes_spent": 1})

    bench = Bench(monkeypatch, run)
    await bench.runner.run("potka", "bandwidth", {"path": path})
    assert found == [(("bandwidth",), filling, ())]


async def test_no_agent_is_no_data_and_never_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe that needs an agent does not run without one."""
    bench = Bench(monkeypatch, raising(AssertionError()), needs_agent=lambda context: True)
    bench.agent = None
    measurement = await bench.runner.run("potka", "bandwidth")
    assert (measurement.outcome, measurement.cause) == (Outcome.NO_DATA, "no_agent")


async def test_a_cancelled_waiter_leaves_the_queue() -> None:
    """Cancelling a waiter lets the next one through, and nothing stays reserved."""
    limiter = LineLimiter(lambda: 10.0)

    async def hold(rate: float, seconds: float) -> None:
        async with limiter.reserve(rate):
            await asyncio.sleep(seconds)

    first = asyncio.create_task(hold(10, 0.05))
    await asyncio.sleep(0)
    second = asyncio.create_task(hold(10, 10))
    third = asyncio.create_task(hold(4, 0))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait_for(asyncio.gather(first, third), 5)
    assert limiter.reserved == 0


async def test_holder_and_waiter_may_be_cancelled_at_once() -> None:
    """Cancelled in the same turn of the event loop, both end and nothing stays reserved."""
    limiter = LineLimiter(lambda: 10.0)

    async def hold() -> None:
        async with limiter.reserve(10):
            await asyncio.sleep(60)

    holder, waiter = asyncio.create_task(hold()), asyncio.create_task(hold())
    await asyncio.sleep(0)
    holder.cancel()
    waiter.cancel()
    ends = await asyncio.gather(holder, waiter, return_exceptions=True)
    assert [type(end) for end in ends] == [asyncio.CancelledError] * 2
    assert limiter.reserved == 0


async def test_the_next_waiter_is_admitted_when_the_first_leaves() -> None:
    """The first waiter needs more than is left; when it is cancelled, the next one fits."""
    limiter = LineLimiter(lambda: 10.0)

    async def hold(rate: float) -> None:
        async with limiter.reserve(rate):
            await asyncio.sleep(0)

    async with limiter.reserve(6):
        large = asyncio.create_task(hold(10))
        await asyncio.sleep(0)
        small = asyncio.create_task(hold(4))
        await asyncio.sleep(0)
        large.cancel()
        await asyncio.wait_for(small, 5)


async def test_heavy_since_reports_when_a_heavy_probe_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is true during a heavy probe of the office, and for times before that ended."""

    async def run(context: ProbeContext) -> Reading:
        await context.clock.sleep(10)
        return Reading({})

    bench = Bench(monkeypatch, run)
    task = asyncio.create_task(bench.runner.run("potka", "bandwidth"))
    await bench.clock.advance(5)
    assert bench.runner.active_tests.was_loaded_since("potka", bench.clock.monotonic())
    assert not bench.runner.active_tests.was_loaded_since("boram", 0)
    await bench.clock.advance(10)
    await task
    assert bench.runner.active_tests.was_loaded_since("potka", 5.0)
    assert not bench.runner.active_tests.was_loaded_since("potka", 12.0)


async def test_a_run_sees_what_was_measured_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest `ok` runs of its office by series, as they were when it began; and the newest
    speed test with a long stream, also if a newer one had none."""
    live = Live(CurrentConfig(make_config()))
    seen: list[Mapping[str, Measurement]] = []

    async def run(context: ProbeContext) -> Reading:
        seen.append(context.recent)
        rate = {"upload_sustained_bits_per_second": 2e8} if len(seen) == 1 else {}
        return Reading({"bytes_spent": 1.0, **rate})

    async def record(measurement: Measurement) -> None:
        live.update(measurement)

    bench = Bench(monkeypatch, run)
    bench.runner = Runner(
        CurrentConfig(make_config()), bench.clock, lambda _: bench.agent, bench.spent, record,
        live.recent,
    )  # fmt: skip
    first, second, _ = [await bench.runner.run("potka", "bandwidth") for _ in range(3)]
    await bench.runner.run("boram", "bandwidth")
    assert [dict(one) for one in seen] == [
        {},
        {"bandwidth": first, LONG_TESTS[Direction.UP]: first},
        {"bandwidth": second, LONG_TESTS[Direction.UP]: first},
        {},
    ]
    assert live.recent("nowhere") == {}


UNDISTURBED: tuple[tuple[str, dict[str, str]], ...] = (
    ("path", {}),
    ("service", {"service": "e-office"}),
)


class Spans:
    """When runs of ten seconds began, by office and probe."""

    def __init__(self) -> None:
        self.began: dict[str, dict[str, list[float]]] = {}

    def of(self, probe: str) -> Run:
        """The run of a probe."""

        async def run(context: ProbeContext) -> Reading:
            runs = self.began.setdefault(context.office.id, {}).setdefault(probe, [])
            runs.append(context.clock.monotonic())
            await context.clock.sleep(10)
            return Reading({})

        return run


def shared_line(monkeypatch: pytest.MonkeyPatch, **probe: Any) -> tuple[Bench, Spans]:
    """A bench whose speed tests, calls, visits and traces are those of `Spans`."""
    spans = Spans()
    bench = Bench(monkeypatch, spans.of("bandwidth"), **probe)
    for name in ("conference", *(name for name, _ in UNDISTURBED)):
        stand_in(
            monkeypatch,
            name,
            run=spans.of(name),
            time_limit=lambda context: 60.0,
            needs_agent=lambda context: False,
            cost=lambda context: 0,
            reserve=lambda context: 0.0,
        )
    return bench, spans


async def test_visits_and_traces_never_share_the_line_with_a_test(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A speed test would count their packets as traffic of others; they wait for each other.

    No run says that a test disturbed it: what waited for a test lets the queue empty, too.
    """
    bench, spans = shared_line(monkeypatch)
    probes = ("path", {}), ("bandwidth", {}), *UNDISTURBED, ("conference", {})
    runs = [bench.runner.run(where, *probe) for where in ("potka", "boram") for probe in probes]
    everything = asyncio.gather(*runs)
    await bench.clock.advance(70)
    results = await asyncio.wait_for(everything, 5)
    assert [m.outcome for m in results] == [Outcome.OK] * 10
    expected = {"path": [0, 22], "bandwidth": [10], "service": [32], "conference": [42]}
    assert spans.began["potka"] == spans.began["boram"] == expected
    assert not any(m.conditions.get("under_load") for m in results)


async def test_a_trace_frees_the_line_before_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rounds take a minute with few packets: no test waits for them."""
    bench, spans = shared_line(monkeypatch)

    async def trace(context: ProbeContext) -> Reading:
        await context.clock.sleep(5)
        await context.free_line()
        return await spans.of("path")(context)

    stand_in(monkeypatch, "path", run=trace)
    everything = asyncio.gather(
        *(bench.runner.run("potka", name) for name in ("path", "bandwidth"))
    )
    await bench.clock.advance(30)
    traced, _ = await asyncio.wait_for(everything, 5)
    assert spans.began["potka"] == {"path": [5], "bandwidth": [5]}
    assert traced.conditions["under_load"] is True


async def test_a_trace_does_not_wait_for_a_test_that_waits_for_the_uplink(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a large district a test may wait for the uplink for many minutes; a trace need not."""
    bench, spans = shared_line(monkeypatch, reserve=lambda context: 1e9)
    runs = [bench.runner.run(office, "bandwidth") for office in ("boram", "potka")]
    await bench.clock.advance(1)
    everything = asyncio.gather(*runs)
    await bench.clock.advance(1)
    trace = asyncio.create_task(bench.runner.run("potka", "path"))
    await bench.clock.advance(40)
    await asyncio.wait_for(asyncio.gather(everything, trace), 5)
    assert spans.began == {
        "boram": {"bandwidth": [1]},
        "potka": {"path": [2], "bandwidth": [12]},
    }


async def test_a_drill_has_the_lines_of_its_offices(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for a visit, and until it is over no visit runs: not even between its phases.

    A test on request that has its turn already does not hold up the next phase.
    """
    bench, spans = shared_line(monkeypatch, reserve=lambda context: 1e9)
    runner = bench.runner
    visit = asyncio.create_task(runner.run("potka", *UNDISTURBED[1]))
    await bench.clock.advance(1)

    async def drill() -> None:
        async with runner.own_uplink(["potka", "boram"]):
            for _ in range(2):
                await runner.run_in_drill("potka", "conference", {})
                await bench.clock.sleep(1)

    held = asyncio.create_task(drill())
    await bench.clock.advance(2)
    on_request = asyncio.create_task(runner.run("potka", "bandwidth"))
    refused = await asyncio.wait_for(runner.run("boram", "path"), 5)
    await bench.clock.advance(60)
    await asyncio.wait_for(asyncio.gather(held, on_request, visit), 5)
    assert (refused.outcome, refused.cause) == (Outcome.NO_DATA, Cause.CONFERENCE_ON)
    assert spans.began == {"potka": {"service": [0], "conference": [10, 21], "bandwidth": [32]}}


async def test_a_visit_that_waited_does_not_delay_a_drill(monkeypatch: pytest.MonkeyPatch) -> None:
    """The drill came while it waited for a test, and is next."""
    bench, spans = shared_line(monkeypatch)
    test = asyncio.create_task(bench.runner.run("potka", "bandwidth"))
    await bench.clock.advance(1)
    visit = asyncio.create_task(bench.runner.run("potka", *UNDISTURBED[1]))
    await asyncio.sleep(0)

    async def drill() -> None:
        async with bench.runner.own_uplink(["potka"]):
            await bench.runner.run_in_drill("potka", "conference", {})

    held = asyncio.create_task(drill())
    await bench.clock.advance(30)
    await asyncio.wait_for(asyncio.gather(test, held), 5)
    assert (await visit).cause == Cause.CONFERENCE_ON
    assert spans.began == {"potka": {"bandwidth": [0], "conference": [10]}}


async def test_an_undisturbed_probe_gives_up_after_half_an_hour(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A line that is never free gives `no_data`; once it is free, the next run succeeds."""
    monkeypatch.setattr("jharnet_monitor.hub.runner.QUEUE_SECONDS", 0.05)
    bench, spans = shared_line(monkeypatch)
    test = asyncio.create_task(bench.runner.run("potka", "bandwidth"))
    await asyncio.sleep(0)
    refused = await asyncio.wait_for(bench.runner.run("potka", "path"), 5)
    assert (refused.outcome, refused.cause) == (Outcome.NO_DATA, Cause.AGENT_BUSY)
    await bench.clock.advance(20)
    trace = asyncio.create_task(bench.runner.run("potka", "path"))
    await bench.clock.advance(20)
    assert [m.outcome for m in await asyncio.gather(test, trace)] == [Outcome.OK] * 2
    assert spans.began == {"potka": {"bandwidth": [0], "path": [20]}}


async def test_a_visit_that_is_cancelled_while_it_waits_leaves_the_line_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As when the hub stops or its schedule is rebuilt."""
    bench, spans = shared_line(monkeypatch)
    test = asyncio.create_task(bench.runner.run("potka", "bandwidth"))
    await bench.clock.advance(1)
    visit = asyncio.create_task(bench.runner.run("potka", *UNDISTURBED[1]))
    await asyncio.sleep(0)
    visit.cancel()
    call = asyncio.create_task(bench.runner.run("potka", "conference"))
    await bench.clock.advance(30)
    await asyncio.wait_for(asyncio.gather(test, call), 5)
    assert spans.began == {"potka": {"bandwidth": [0], "conference": [10]}}
