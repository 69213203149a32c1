"""Turns observations of a call into a line model with its uncertainty. Pure."""

from __future__ import annotations

from jharnet_monitor.judge.twin.line import DirectionModel, LineModel
from jharnet_monitor.judge.twin.observed_line import ObservedLine

CLEAR_RATE = 4e6
"""bit/s assumed without a bottleneck: more than the reference client ever sends."""
_NOISE = 0.005
"""Seconds of jitter that a host causes itself."""
_PACKET_BITS = 700 * 8
"""Bits of a packet ahead of others: the jitter of its transmission time is not the line's."""
_DEFAULT_QUEUE = 0.2
"""Seconds of queue where none overflowed."""
_RATE_DOUBT, _MOST_DOUBT, _QUEUE_DOUBT, _NO_QUEUE_DOUBT = 0.03, 0.3, 0.25, 1.0
"""Uncertainties, as standard deviations of logarithms; the last one of a queue's depth that was not
met: lines have 30 to 1500 ms."""
_FEW_LOST = 3
"""Fewer lost packets in a call may be chance and count as no loss."""


_ADAPTED_BEST, _ADAPTED_SHARE, _ADAPTED_DOUBT = 1.35e6, 0.85, 0.1
"""bit/s at which an adapting sender needs no more; below it, the share of the line's rate that it
uses, and the uncertainty of that."""


def line_of(down: ObservedLine, up: ObservedLine, round_trip: float) -> LineModel:
    """The line of a call whose median round trip was `round_trip` seconds, queues included."""
    round_trip = max(0.3 * round_trip, round_trip - _own_queue(down) - _own_queue(up))
    # An interruption affects both directions; a gap of one direction is a burst of losses.
    gaps = [(way.gone, way.every) for way in (down, up) if way.gone is not None]
    gone, every = min(gaps, key=lambda gap: gap[0], default=(0.0, 0.0))
    return LineModel(_way(down, round_trip), _way(up, round_trip), gone, every if gone else 0.0)


def _own_queue(observed: ObservedLine) -> float:
    """Seconds of the median round trip that the call's own queue took."""
    if observed.usual_queue is not None:
        return max(0.0, observed.usual_queue - observed.jitter)
    return 0.5 * observed.longest_queue if observed.available is not None else 0.0


def observed_by_counts(
    capacity: float | None, arrived: float, adapts: bool, lost: int, packets: int, burst: float,
    jitter: float, line: ObservedLine | None,
) -> ObservedLine:  # fmt: skip
    """The observation for an end that reports no arrivals, or whose sender adapts.

    `capacity` and `arrived` are in bit/s. A browser fills the line only as far as its congestion
    control allows; if that is less than its maximum, the line is assumed to limit it.
    """
    rate = capacity
    if rate is None and line is not None:
        rate = line.rate
    if rate is None and adapts and arrived < _ADAPTED_BEST:
        rate = arrived / _ADAPTED_SHARE
    return ObservedLine(
        rate=rate, at_least=arrived, available=rate, spread=_ADAPTED_DOUBT if adapts else 0.0,
        queue=None if line is None else line.queue,
        longest_queue=0.0 if line is None else line.longest_queue,
        policed=False, bucket=None, jitter=jitter if line is None else line.jitter,
        loss=lost / packets if packets else 0.0, burst=max(1.0, burst), lost=lost, packets=packets,
        gone=None if line is None else line.gone, transfer_on=0.0, transfer_off=0.0,
        every=0.0 if line is None else line.every,
        usual_queue=None if line is None else line.usual_queue,
    )  # fmt: skip


def _way(observed: ObservedLine, round_trip: float) -> DirectionModel:
    others = observed.others or 0.0
    rate = CLEAR_RATE if observed.rate is None else observed.rate
    if observed.transfer_on:
        rate = max(
            rate, observed.at_least
        )  # what came through beside others is not the line's rate
    queue, depth_known = _DEFAULT_QUEUE, observed.queue is not None
    if observed.queue is not None:
        queue = observed.queue
    elif observed.rate is not None:
        queue = max(_DEFAULT_QUEUE, observed.longest_queue)
    # Independent causes of jitter add up by their squares.
    serial = 0.0 if observed.policed else 0.5 * _PACKET_BITS / rate
    jitter = max(0.0, observed.jitter**2 - _NOISE**2 - serial**2) ** 0.5
    delay = round_trip / 2
    lost = observed.lost if observed.lost >= _FEW_LOST else 0
    return DirectionModel(
        rate=rate,
        queue=max(0.02, queue),
        bucket=(observed.bucket or 0.05) if observed.policed else 0.0,
        delay=delay,
        jitter=min(jitter, delay),
        loss=observed.loss if lost else 0.0,
        burst=max(1.0, observed.burst) if lost else 1.0,
        others=others,
        transfer_on=observed.transfer_on,
        transfer_off=observed.transfer_off,
        rate_doubt=0.0
        if observed.rate is None
        else min(_MOST_DOUBT, max(_RATE_DOUBT, observed.spread)),
        queue_doubt=_QUEUE_DOUBT if depth_known else _NO_QUEUE_DOUBT,
        loss_doubt=min(0.5, (max(1.0, observed.burst) / lost) ** 0.5) if lost else 0.0,
    )
