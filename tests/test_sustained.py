"""The long test: when it is due, and what it changes of the short one's reading."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.hub.runner import Runner
from jharnet_monitor.model import Direction, Measurement
from jharnet_monitor.probes import PROBES
from jharnet_monitor.probes.bandwidth.plan import Plan
from jharnet_monitor.probes.bandwidth.sustained_test import SustainedTest
from jharnet_monitor.probes.bandwidth.udp_hub import Streamed, UdpChannel
from jharnet_monitor.probes.bandwidth.udp_stream import StreamPlan
from jharnet_monitor.probes.base import ChannelClosed, ProbeContext, Reading
from tests.bandwidth_support import settings
from tests.stream_support import rows_over
from tests.support import stand_in

NOW = datetime(2026, 11, 26, 5, tzinfo=UTC)


class LineChannel(UdpChannel):
    """Datagrams over an emulated line instead of a network."""

    def __init__(self, line: Mapping[str, Any]) -> None:
        self._line = line
        self.bytes_down = self.bytes_up = 0
        self.streams = 0

    async def stream(self, direction: Direction, plan: StreamPlan, patience: float) -> Streamed:
        """The rows of the stream, whose sender keeps up; no answer without a line."""
        self.streams += 1
        if not self._line:
            raise TimeoutError
        return Streamed(rows_over(self._line, plan), 0.0)


class Bench:
    """Long tests of a line of which the short one read `rate` Mbit/s both ways."""

    def __init__(self, line: Mapping[str, Any], **options: Any) -> None:
        config = settings("10 Mbit/s", "10 Mbit/s")
        self.clock = ManualClock(NOW)
        self.context = ProbeContext(config, config.offices[0], self.clock, None, options)
        self.channel = LineChannel(line)
        self.values: dict[str, float] = {}
        self.conditions: dict[str, Any] = {}

    async def after(self, rate: float) -> None:
        """A short test has read `rate` Mbit/s to 1 %, and the long one follows if it is due."""
        self.values = {"idle_rtt_seconds": 0.05}
        self.conditions = {}
        for way in Direction:
            name = f"{way.transfer}_bits_per_second"
            self.values |= {name: rate * 1e6, f"{name}_low": rate * 0.99e6,
                            f"{name}_high": rate * 1.01e6}  # fmt: skip
        long = SustainedTest(self.context, self.channel, self.values, self.conditions)
        await long.run(Plan.of(self.context).for_rtt(0.05))

    @property
    def interval(self) -> tuple[float, float | None]:
        """The download's, in Mbit/s."""
        high = self.values.get("download_bits_per_second_high")
        return self.values["download_bits_per_second_low"] / 1e6, high and high / 1e6


LINE = {"rate": "4 Mbit/s", "delay": "20ms", "queue": "200ms"}


async def test_a_line_without_any_long_test_gets_one() -> None:
    """After the first test by hand too; the next one of that day stays short."""
    bench = Bench(LINE)
    await bench.after(4.0)
    assert bench.channel.streams == 2
    await bench.after(4.0)
    assert bench.channel.streams == 2


async def test_never_means_never() -> None:
    """Even if there was none."""
    bench = Bench(LINE, sustained="never")
    await bench.after(4.0)
    assert not bench.channel.streams


async def test_a_rate_that_the_long_test_confirms_is_unmarked() -> None:
    """Its interval stays narrow."""
    bench = Bench(LINE)
    await bench.after(4.0)
    low, high = bench.interval
    assert "limited_by" not in bench.conditions
    assert bench.conditions["download_queue_seconds"] == pytest.approx(0.2, abs=0.01)
    assert low >= 3.88
    assert high == pytest.approx(4.04)


async def test_a_bucket_that_outlasts_the_short_test() -> None:
    """The short test read the burst; its interval contains the sustained rate, and it is marked."""
    bench = Bench({**LINE, "rate": "8 Mbit/s", "bucket": {"rate": "4 Mbit/s", "size": "1.5s"}})
    await bench.after(8.0)
    low, high = bench.interval
    assert bench.conditions["download_limited_by"] == "policer"
    assert high is not None
    assert low <= 4.0 <= high
    assert bench.values["download_sustained_bits_per_second"] == pytest.approx(4e6, rel=0.02)


async def test_what_the_long_test_exceeds_is_shared() -> None:
    """TCP left a part of the line to other traffic, from which a paced stream takes it."""
    bench = Bench(LINE)
    await bench.after(3.4)
    low, high = bench.interval
    assert bench.conditions["limited_by"] == bench.conditions["download_limited_by"] == "shared"
    assert low <= 3.4
    assert high is not None
    assert high >= 4.0


class LostChannel(LineChannel):
    """The agent's session is lost in the long test."""

    async def stream(self, direction: Direction, plan: StreamPlan, patience: float) -> Streamed:
        """Break off."""
        raise ChannelClosed("session lost")


async def test_a_long_test_that_breaks_off_is_charged_and_no_later_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was not charged, and every later test had its price, until one had succeeded."""
    bench, recorded = Bench(LINE), list[Measurement]()

    async def run(context: ProbeContext) -> Reading:
        bench.context, bench.channel = context, LostChannel(LINE)
        await bench.after(4.0)
        raise AssertionError

    async def record(measurement: Measurement) -> None:
        recorded.append(measurement)

    stand_in(monkeypatch, "bandwidth", run=run, needs_agent=lambda context: False)
    runner = Runner(CurrentConfig(settings("10 Mbit/s", "10 Mbit/s")), bench.clock,
                    lambda office: None, lambda office: 0, record)  # fmt: skip
    office = runner.config.offices[0].id
    before = runner.context(office, "bandwidth", {"sustained": "due"})
    plan, cost = Plan.of(before), PROBES["bandwidth"].cost
    await runner.run(office, "bandwidth", {"sustained": "due"})
    [lost] = recorded
    assert (lost.cause, lost.bytes_spent) == ("agent_lost", plan.cost + plan.sustained_cost)
    for options in ({"sustained": "due"}, {"sustained": "never"}, {}):
        assert cost(runner.context(office, "bandwidth", options)) == plan.cost


@pytest.mark.parametrize("rate", [4.0, 11.0], ids=["below the contract", "above it"])
async def test_a_long_test_without_an_answer_is_not_repeated_at_every_test(rate: float) -> None:
    """Each try costs the line ten seconds; the timetable tries again after a day. So it does where
    the short test got more than the contract, which asks for a long one as well.
    """
    bench = Bench({}, sustained="due")
    await bench.after(rate)
    assert bench.conditions["download_sustained_skipped"] == "no_answer"
    await bench.after(rate)
    assert bench.channel.streams == 2
    await bench.clock.advance(86_401)
    await bench.after(rate)
    assert bench.channel.streams == 4


async def test_a_long_test_that_breaks_off_is_not_repeated_at_every_test_either() -> None:
    """What loses the agent's session once may do so each time."""
    bench = Bench(LINE, sustained="due")
    bench.channel = LostChannel(LINE)
    for _ in Direction:
        with pytest.raises(ChannelClosed):
            await bench.after(4.0)
    await bench.after(4.0)
    assert "download_sustained_skipped" not in bench.conditions
