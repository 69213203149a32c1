"""One direction of a bandwidth test: the rate, its interval, and what limited it. Pure.

Two tests are combined. A TCP stream shows what a new connection gets of the line, but loss, a
window or a long round trip may limit it. A paced stream of datagrams (`paced_stream`) fills the
line regardless of TCP; it is sent if the TCP stream leaves a doubt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import sqrt
from typing import Any

from jharnet_monitor.judge.line.paced_stream import PacedRate
from jharnet_monitor.judge.line.throughput import Estimate

PACE_REACHED = 0.97
"""A stream at this share of its pace was limited by the pace: the line carries at least that."""
MAX_WINDOW_SHARE = 0.3
"""A stream that the receiver's window limited for more of its time has not filled the line."""
MARKED_LOSS = 0.012
"""Loss above which a reading is marked, because it differs from the rate of the line by that
share."""
DOUBTED_LOSS = 0.04
"""If the loss may be larger than this, the share that TCP had to retransmit decides."""
POLICED = 1.12
"""The line itself is faster than a policer's rate by at least this factor."""
PROMISED = 0.04
"""A rate with a larger error (95 %, a share) is marked."""
SURE = 0.015
"""A TCP stream whose rate has at most this error needs no paced stream."""
LEAST_ERROR, SESSION_RATE = 0.008, 4e3
"""Least error of any rate: this share, plus the bit/s of the session during the test."""
UNEXPLAINED_LOSS, MAX_LOSS = 0.004, 0.04
"""Retransmitted share that leaves a doubt: without a full queue, and in any case."""
MAX_LOSS_ERROR = 0.02
"""The queue's part of a loss is unknown: a quarter is allowed for, at most this."""
MAX_LOSS_HIGH = 0.9
MIN_SEGMENTS = 30
"""With fewer segments the loss is unknown."""
LONG_SECONDS, JITTER_SECONDS = 0.3, 0.006
"""On longer lines slow start, and beyond this spread of round trips jitter, can look steady."""
DISAGREE = 0.03
"""Two streams that differ by more met different conditions, such as a spent burst or other
traffic."""
SHARED = 0.06
"""A TCP stream that filled the queue and got less than the paced stream by this share left the rest
to other traffic."""


class Limit(StrEnum):
    """What limited a reading, or its precision."""

    LOSS = "loss"
    HOST = "host"
    POLICER = "policer"
    SHAPER = "shaper"
    SHARED = "shared"
    JITTER = "jitter"
    TIME = "time"
    """The rate did not settle in the time of the test."""


@dataclass(frozen=True, slots=True)
class TcpStream:
    """What a TCP stream showed: rates in bit/s, times in seconds, `loss` and `window` as shares.

    `rate` is that at the receiver and `error` its error (95 %, a share). `queue` says whether a
    queue stood at its end; None where that is not known. `stalled` is the share of the time by
    which it may have been slower than the line because an end stood still.
    """

    rate: float
    error: float
    stable: bool
    loss: float
    window: float
    queue: bool | None
    pace: float
    segments: int = 0
    stalled: float = 0.0

    @classmethod
    def of(cls, found: Estimate, *, loss: float, **more: Any) -> TcpStream:
        """From the estimate of its rate, and the other fields."""
        error = max(found.uncertainty, LEAST_ERROR) + min(MAX_LOSS_ERROR, loss / 4)
        return cls(found.rate, error, found.stable, loss, **more)

    @property
    def ends(self) -> tuple[float, float]:
        """The interval of its rate."""
        error = self.error + least_error(self.rate) - LEAST_ERROR
        return self.rate * max(0.0, 1 - error), self.rate * (1 + error) / (1 - self.stalled)

    @property
    def most_loss(self) -> float | None:
        """Upper bound of the line's loss as a share, from the retransmissions."""
        if self.segments < MIN_SEGMENTS:
            return None
        return self.loss + 3 * sqrt(self.loss / self.segments) + 3 / self.segments

    @property
    def reached_pace(self) -> bool:
        """Whether its pace limited it."""
        return reaches_pace(self.rate, self.pace)

    @property
    def unexplained_loss(self) -> float:
        """Loss that no full queue explains, as a share."""
        return 0.0 if self.queue else self.loss


@dataclass(frozen=True, slots=True)
class RateReading:
    """A rate in bit/s with its interval (95 %); `high` is None where nothing bounds it.

    With `at_least` the rate is a lower bound.
    """

    rate: float
    low: float
    high: float | None
    limited_by: Limit | None = None
    at_least: bool = False


def least_error(rate: float) -> float:
    """The error (a share) that a rate in bit/s has at least."""
    return LEAST_ERROR + SESSION_RATE / max(rate, SESSION_RATE)


def reaches_pace(rate: float, pace: float) -> bool:
    """Whether the sender's pace, in bit/s like the rate, limited a stream."""
    return rate >= PACE_REACHED * pace


def bounded_by_pace(found: RateReading, pace: float) -> RateReading:
    """The reading of a stream whose sender kept to a pace in bit/s.

    A rate that reached the pace is a lower bound. One whose interval reaches it may have been
    limited by it: nothing bounds it above, and it is a lower bound if nothing else limited it.
    """
    reached = reaches_pace(found.rate, pace)
    if not reached and (found.high is None or found.high < pace):
        return found
    return replace(found, high=None, at_least=reached or found.limited_by is None)


def needs_paced_stream(tcp: TcpStream | None, idle_rtt: float, jitter: float) -> bool:
    """Whether a paced stream is needed as well."""
    if tcp is None:
        return True
    if tcp.reached_pace:
        return tcp.unexplained_loss > MARKED_LOSS
    return (
        not tcp.stable
        or tcp.error + tcp.stalled > SURE
        or tcp.unexplained_loss > UNEXPLAINED_LOSS
        or tcp.loss > MAX_LOSS
        or tcp.window > MAX_WINDOW_SHARE
        or idle_rtt > LONG_SECONDS
        or jitter > JITTER_SECONDS
    )


def by_tcp(tcp: TcpStream) -> RateReading:
    """The reading of a TCP stream alone."""
    found = RateReading(tcp.rate, *tcp.ends)
    if not tcp.reached_pace:
        if tcp.window > MAX_WINDOW_SHARE:
            return replace(found, high=None, limited_by=Limit.HOST)
        if tcp.unexplained_loss > UNEXPLAINED_LOSS:
            return replace(found, high=None, limited_by=Limit.LOSS)
        if not tcp.stable or tcp.error + tcp.stalled > PROMISED:
            found = replace(found, limited_by=Limit.TIME)
    return bounded_by_pace(found, tcp.pace)


def by_streams(streams: Sequence[TcpStream], *, by_proxy: bool = False) -> RateReading:
    """The reading of TCP streams one after the other, of which at least one was heard.

    The fastest speaks: TCP may fall short of the line, but nothing arrives faster than the line
    carries it; or one during which no end stood still, if its interval holds that rate. Where
    another differs from it, the interval covers both. A proxy, though, may pass on at once what it
    had kept: then the steadiest speaks.
    """
    rates = [stream.rate for stream in streams]
    if by_proxy:
        best = min(streams, key=lambda stream: stream.error + stream.stalled)
    else:
        calm = [one for one in streams if not one.stalled and one.ends[1] >= max(rates)]
        best = max(calm or streams, key=lambda stream: stream.rate)
    found = by_tcp(best)
    differs = min(rates) < (1 - DISAGREE) * max(rates)
    if not differs or found.high is None:
        return found
    low = min(stream.ends[0] for stream in streams)
    high = max(stream.ends[1] for stream in streams) if by_proxy else found.high
    return replace(found, low=low, high=high, limited_by=found.limited_by or Limit.TIME)


def reading(
    tcp: TcpStream | None, paced: PacedRate | None, capacity: float | None = None
) -> RateReading | None:
    """The reading of both streams; None if neither has a result. `capacity` is that of a packet
    train in bit/s, if there was one.
    """
    if paced is None:
        return None if tcp is None else by_tcp(tcp)
    if tcp is not None and _is_shared(tcp, paced, capacity):
        return _shared(tcp, paced, capacity)
    found = _filled(tcp, paced) if paced.filled else _unfilled(tcp, paced)
    if tcp is not None and _fell_short(tcp, paced):  # an end that stood still, or other traffic
        low = min(found.low, tcp.ends[0])
        found = replace(found, low=low, limited_by=found.limited_by or Limit.TIME)
    if paced.filled and _is_policed(paced, capacity):
        return replace(found, limited_by=Limit.POLICER)
    return found


def _filled(tcp: TcpStream | None, paced: PacedRate) -> RateReading:
    """The reading if the paced stream filled the line. What TCP got, the line has carried: a
    stalled sender leaves gaps in a paced stream.
    """
    found = RateReading(paced.rate, *_interval(paced), _limit(tcp, paced))
    if tcp is None or not tcp.stable or tcp.error > 2 * SURE or tcp.rate <= paced.rate:
        return found
    if tcp.rate <= (1 + DISAGREE) * paced.rate:  # no pause slowed down streams that agree
        high = max(found.high or 0.0, replace(tcp, stalled=0.0).ends[1])
        return replace(found, rate=tcp.rate, high=high)
    high, limit = max(found.high or 0.0, tcp.ends[1]), found.limited_by or Limit.TIME
    return replace(found, rate=tcp.rate, high=high, limited_by=limit)


def _interval(paced: PacedRate) -> tuple[float, float]:
    """The interval from what arrived to what the line carried, including lost packets."""
    error = max(paced.error, least_error(paced.rate))
    low = paced.rate * max(0.0, 1 - error - paced.swing)
    return low, paced.rate * (1 + error) / (1 - min(MAX_LOSS_HIGH, paced.loss_high))


def _limit(tcp: TcpStream | None, paced: PacedRate) -> Limit | None:
    doubted = paced.loss_high > DOUBTED_LOSS and tcp is not None
    if paced.loss > MARKED_LOSS or (doubted and tcp and tcp.unexplained_loss > MARKED_LOSS):
        return Limit.LOSS
    if paced.error > PROMISED:
        return Limit.JITTER if paced.jitter > JITTER_SECONDS else Limit.TIME
    return None


def _unfilled(tcp: TcpStream | None, paced: PacedRate) -> RateReading:
    """The reading if the paced stream did not fill the line either."""
    rate = max(paced.rate, tcp.rate if tcp else 0.0)
    low = min(rate, paced.rate) * max(0.0, 1 - max(paced.error, least_error(paced.rate)))
    limit = Limit.LOSS if paced.loss > MARKED_LOSS else None
    return RateReading(rate, low, None, limit, at_least=True)


def _is_shared(tcp: TcpStream, paced: PacedRate, capacity: float | None) -> bool:
    """Whether TCP filled the queue but got clearly less than the paced stream, or they disagree and
    both got clearly less than a packet train. TCP need not have filled a queue that is short.
    Neither holds where an end that stood still explains what TCP got less.
    """
    if paced.loss > MARKED_LOSS:
        return False
    if _fell_short(tcp, paced) and tcp.ends[1] < paced.rate * (1 - SHARED):
        return True
    without_pauses = tcp.rate / (1 - tcp.stalled)
    disagrees = (
        tcp.rate > (1 + DISAGREE) * paced.rate or without_pauses < (1 - DISAGREE) * paced.rate
    )
    best = max(tcp.rate, paced.rate)
    return disagrees and paced.queue_seconds > 0 and (capacity or 0.0) > (1 + SHARED) * best


def _fell_short(tcp: TcpStream, paced: PacedRate) -> bool:
    """Whether TCP filled the queue of a line without loss but got clearly less than it carries."""
    if not tcp.queue or not tcp.stable or paced.loss > MARKED_LOSS:
        return False
    return tcp.rate * (1 + tcp.error) < paced.rate * (1 - SHARED)


def _shared(tcp: TcpStream, paced: PacedRate, capacity: float | None) -> RateReading:
    """The rate left by other traffic; the interval allows for from none to twice that traffic.
    A TCP stream that did not settle may have been slow for other reasons.
    """
    line = max(capacity or 0.0, paced.rate, tcp.rate)
    rate = min(tcp.rate, paced.rate) if tcp.stable else paced.rate
    low, high = tcp.ends
    highest = max(high, line * (1 + max(paced.error, least_error(line))))
    return RateReading(rate, max(0.0, min(low, 2 * rate - line)), highest, Limit.SHARED)


def _is_policed(paced: PacedRate, capacity: float | None) -> bool:
    """Whether packets of a fast stream were dropped, and not because a queue was full."""
    return (
        capacity is not None
        and capacity > POLICED * paced.rate
        and not paced.queue_seconds
        and paced.loss <= MARKED_LOSS
    )
