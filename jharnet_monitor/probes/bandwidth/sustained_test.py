"""The long test: the sustained rate of the line, and the token bucket that misleads a short test.
Operators sell a rate by policing or shaping a faster line with a token bucket. A test that ends
before the bucket is spent measures the faster line. This test lasts long enough to spend a bucket
of two seconds of the contracted rate.
"""

from __future__ import annotations

from math import inf
from typing import Any

from jharnet_monitor.judge.line.paced_stream import (
    bucket,
    full_queue,
    tail_is_settled,
    tail_rate,
)
from jharnet_monitor.judge.line.reading import PROMISED, Limit, least_error, reaches_pace
from jharnet_monitor.model import Direction
from jharnet_monitor.probes.bandwidth.paced_test import PATIENCE_ROUND_TRIPS, PATIENCE_SECONDS
from jharnet_monitor.probes.bandwidth.plan import (
    HEADROOM,
    SUSTAINED_SECONDS,
    SUSTAINING,
    Limits,
    Plan,
)
from jharnet_monitor.probes.bandwidth.udp_hub import Streamed, UdpChannel
from jharnet_monitor.probes.bandwidth.udp_stream import StreamPhase, StreamPlan, datagram_bytes
from jharnet_monitor.probes.base import ProbeContext

LIGHT_SECONDS, LIGHT_SHARE = 0.5, 0.5
"""The start of the stream, which does not affect bucket or queue."""
MAX_LATE_SHARE = 0.3
"""A sender that did not keep up for a larger share of the time may not have spent the bucket."""
ABOVE = 1.35
"""A line whose rate is known is filled at this multiple of it."""
FASTER = 1.03
"""A rate above the contract by this factor may be a burst."""
BUCKET_SECONDS = 2.0
"""The largest bucket, in seconds of its rate, that the test must detect."""
WEEK_SECONDS, DAY_SECONDS = 7 * 86400.0, 86400.0
MEMORY, TRIES = "sustained", "sustained_tries"
"""Keys of a probe's memory: the last result, and when a long test was last begun."""


class SustainedTest:
    """Runs after the short test, in the directions in which it is due."""

    def __init__(
        self,
        context: ProbeContext,
        udp: UdpChannel,
        values: dict[str, float],
        conditions: dict[str, Any],
    ) -> None:
        """`values` and `conditions` are those of the short test; results are added to them."""
        self._context, self._udp = context, udp
        self._values, self._conditions = values, conditions
        self._memory: dict[Direction, tuple[float, str | None]]
        self._memory = context.memory.setdefault(MEMORY, {})
        self._tries: dict[Direction, float] = context.memory.setdefault(TRIES, {})

    async def run(self, plan: Plan) -> None:
        """Measure each direction that is due, if the day's remaining bytes allow it."""
        for direction in Direction:
            limits = plan.limits(direction)
            if self._is_due(direction, limits):
                if self._udp.bytes_down + self._udp.bytes_up + limits.sustained_bytes > (
                    self._context.bytes_left - plan.cost
                ):
                    self._conditions[f"{direction.transfer}_sustained_skipped"] = "budget"
                    continue
                self._context.memory[SUSTAINING] = self._context.options
                self._tries[direction] = self._context.clock.monotonic()
                await self._measure(direction, limits)
            else:
                self._remember_limit(direction)

    def _is_due(self, direction: Direction, limits: Limits) -> bool:
        """Whether it was requested, none was made yet, a week has passed, or the short test was
        inconclusive. No short test shows a bucket that outlasts it, so a line without any long test
        may be slower than what is read. One that failed has spent its bytes, too: unless requested,
        none follows another within a day.
        """
        wanted = self._context.options.get("sustained")
        last, _ = self._memory.get(direction, (-inf, None))
        now = self._context.clock.monotonic()
        age = now - last
        name = direction.transfer
        faster = self._values[f"{name}_bits_per_second"] > FASTER * limits.rate / HEADROOM
        open_ended = (
            faster
            or self._conditions.get(f"{name}_at_least")
            or self._conditions.get(f"{name}_limited_by") in (Limit.POLICER, Limit.TIME)
        )
        if wanted in ("always", "never"):
            return bool(wanted == "always")
        if now - self._tries.get(direction, -inf) < DAY_SECONDS:
            return False
        return bool(open_ended) or age == inf or (wanted == "due" and age >= WEEK_SECONDS)

    def _remember_limit(self, direction: Direction) -> None:
        """Mark a short test of a line that is known to be policed or shaped."""
        _, limit = self._memory.get(direction, (-inf, None))
        if limit is not None:
            self._set_limit(direction.transfer, limit)

    def _set_limit(self, name: str, limit: str) -> None:
        self._conditions["limited_by"] = self._conditions[f"{name}_limited_by"] = limit

    async def _measure(self, direction: Direction, limits: Limits) -> None:
        """Set the results of a long stream; none if it cannot be sent or reported."""
        rate = self._values[f"{direction.transfer}_bits_per_second"]
        at_least = self._conditions.get(f"{direction.transfer}_at_least")
        full = limits.rate if at_least else min(limits.rate, ABOVE * rate)
        light = LIGHT_SHARE * min(rate, limits.rate / HEADROOM)
        phases = StreamPhase(light, LIGHT_SECONDS), StreamPhase(full, SUSTAINED_SECONDS)
        plan = StreamPlan(phases, datagram_bytes(full))
        patience = PATIENCE_SECONDS + PATIENCE_ROUND_TRIPS * self._values["idle_rtt_seconds"]
        try:
            streamed = await self._udp.stream(direction, plan, patience)
        except (TimeoutError, ValueError):
            streamed = None
        if streamed is None or streamed.late > MAX_LATE_SHARE:
            why = "no_answer" if streamed is None else "host_overloaded"
            self._conditions[f"{direction.transfer}_sustained_skipped"] = why
            return
        self._set_values(direction, plan, streamed)

    def _interval(self, direction: Direction, rate: float, error: float) -> tuple[float, float]:
        """The interval of the sustained rate, from its error and the short test's interval."""
        name = f"{direction.transfer}_bits_per_second"
        short = self._values[name]
        low = min(1 - error, self._values[f"{name}_low"] / short)
        high = max(1 + error, self._values.get(f"{name}_high", short) / short)
        return rate * max(0.0, low), rate * high

    def _set_values(self, direction: Direction, plan: StreamPlan, streamed: Streamed) -> None:
        name, quantity = direction.transfer, f"{direction.transfer}_sustained_bits_per_second"
        rows, full = streamed.rows, plan.phases[1].rate
        found = bucket(rows, plan.ip_bytes, LIGHT_SECONDS)
        rate, error = tail_rate(rows, plan.ip_bytes, LIGHT_SECONDS)
        if rate <= 0:
            self._conditions[f"{name}_sustained_skipped"] = "no_answer"
            return
        error = max(error, least_error(rate)) + streamed.late  # unsent data were not carried either
        low, high = self._interval(direction, rate, error)
        settled = tail_is_settled([r for r in rows if r.sent >= LIGHT_SECONDS], plan.ip_bytes)
        self._values |= {quantity: rate, f"{quantity}_low": low}
        if reaches_pace(rate, full) or not settled:
            hidden = SUSTAINED_SECONDS / (SUSTAINED_SECONDS + BUCKET_SECONDS)
            self._values[f"{quantity}_low"] = min(low, rate * hidden)
            self._conditions[f"{name}_sustained_at_least"] = True
        else:
            self._values[f"{quantity}_high"] = high
            depth = full_queue(rows, LIGHT_SECONDS)
            if depth is not None:
                self._conditions[f"{name}_queue_seconds"] = round(depth, 4)
        self._compare(name, rate)
        limit = None
        if found is not None:
            limit = Limit.SHAPER.value if found.shaped else Limit.POLICER.value
            self._set_limit(name, limit)
            self._conditions[f"{name}_bucket_bytes"] = round(found.size)
        self._memory[direction] = (self._context.clock.monotonic(), limit)

    def _compare(self, name: str, sustained: float) -> None:
        """Extend the short test's interval by that of the long one, and mark a rate that the long
        test does not confirm. A burst's rate does not last; and a paced stream that gets more than
        TCP takes it from other traffic.
        """
        quantity = f"{name}_bits_per_second"
        rate = self._values[quantity]
        low = self._values[f"{name}_sustained_bits_per_second_low"]
        high = self._values.get(f"{name}_sustained_bits_per_second_high")
        self._values[f"{quantity}_low"] = min(self._values[f"{quantity}_low"], low)
        shared = sustained > (1 + PROMISED) * rate
        if shared and high is None:
            self._values.pop(f"{quantity}_high", None)
        elif shared and f"{quantity}_high" in self._values:
            self._values[f"{quantity}_high"] = max(self._values[f"{quantity}_high"], high or 0.0)
        names = f"{name}_limited_by", f"{name}_at_least"
        if any(self._conditions.get(mark) for mark in names):
            return
        if shared:
            self._set_limit(name, Limit.SHARED)
        elif low < (1 - 2 * PROMISED) * rate:
            self._set_limit(name, Limit.TIME)
