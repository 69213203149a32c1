"""The hub's half of a paced stream that clears the doubts of a TCP stream."""

from __future__ import annotations

from jharnet_monitor.judge.line.paced_stream import PacedRate, paced_rate
from jharnet_monitor.judge.line.reading import JITTER_SECONDS, UNEXPLAINED_LOSS, TcpStream
from jharnet_monitor.model import Cause, Direction
from jharnet_monitor.probes.bandwidth.plan import Limits
from jharnet_monitor.probes.bandwidth.udp_hub import UdpChannel
from jharnet_monitor.probes.bandwidth.udp_stream import StreamPhase, StreamPlan, datagram_bytes
from jharnet_monitor.probes.base import NoData

PATIENCE_SECONDS, PATIENCE_ROUND_TRIPS = 12.0, 10.0
"""Extra time for data queued on the line, and for a report that may have to be sent again."""
LIGHT, FULL = 0.7, 1.4
"""Rates of the two phases, as multiples of the rate that is expected."""
STEP, MAX_ROUNDS = 4.0, 4
"""A stream that did not fill the line is repeated, faster by this factor."""
FULL_SECONDS, MAX_FULL_SECONDS, FULL_PACKETS = 1.0, 2.5, 80
LIGHT_SECONDS, LIGHT_PACKETS = 0.5, 25
LOSSY_SECONDS = 1.0
"""Both phases are longer by this where packets are lost: the share needs more of them."""
JITTER_EXTRA_SECONDS = 0.6
MAX_LATE_SHARE = 0.1


class PacedTest:
    """Sends streams until one fills the line, or the pace of the test is reached."""

    def __init__(self, udp: UdpChannel, idle_rtt: float, jitter: float) -> None:
        """`idle_rtt` and the spread of the idle round trips, `jitter`, are in seconds."""
        self._udp, self._idle_rtt, self._jitter = udp, idle_rtt, jitter

    async def run(
        self,
        direction: Direction,
        limits: Limits,
        tcp: TcpStream | None,
        capacity: float | None,
    ) -> PacedRate | None:
        """The rate that the stream shows; None if it shows none. `capacity` is that of a train.
        Raises `NoData` if a host did not keep up.
        """
        known = [rate for rate in (tcp and tcp.rate, capacity) if rate]
        expected = max(known, default=limits.rate / FULL)
        light = LIGHT * min(known, default=limits.rate / FULL)
        lossy = tcp is None or tcp.loss > UNEXPLAINED_LOSS
        most_loss = None if tcp is None else tcp.most_loss
        found, left = None, limits.paced_bytes
        for _ in range(MAX_ROUNDS):
            full = min(limits.rate, FULL * expected)
            plan = self._plan(min(light, full), full, lossy=lossy).within(left)
            left -= plan.bytes
            found = await self._stream(direction, plan, most_loss) or found
            if found is None or found.filled or full >= limits.rate:
                break
            light, expected = LIGHT * found.rate, STEP * expected
        return found

    def _plan(self, light: float, full: float, *, lossy: bool) -> StreamPlan:
        size = datagram_bytes(full / FULL)
        packet = 8 * size * FULL / full
        more = LOSSY_SECONDS if lossy else 0.0
        longer = JITTER_EXTRA_SECONDS if self._jitter > JITTER_SECONDS else 0.0
        light_seconds = max(LIGHT_SECONDS + more, min(2.0, LIGHT_PACKETS * packet / LIGHT))
        full_seconds = FULL_SECONDS + more + longer
        full_seconds = max(full_seconds, min(MAX_FULL_SECONDS, FULL_PACKETS * packet))
        return StreamPlan(
            (StreamPhase(light, light_seconds), StreamPhase(full, full_seconds)), size
        )

    async def _stream(
        self, direction: Direction, plan: StreamPlan, most_loss: float | None
    ) -> PacedRate | None:
        patience = PATIENCE_SECONDS + PATIENCE_ROUND_TRIPS * self._idle_rtt
        try:
            streamed = await self._udp.stream(direction, plan, patience)
        except TimeoutError:
            return None
        except ValueError as error:
            raise NoData(Cause.BAD_REPORT, str(error)) from None
        if streamed is None:
            return None
        if streamed.late > MAX_LATE_SHARE:
            raise NoData(
                Cause.HOST_OVERLOADED,
                f"the sender did not keep up for {streamed.late:.0%} of the {direction.transfer}",
            )
        return paced_rate(streamed.rows, plan.ip_bytes, plan.phases[0].seconds, most_loss)
