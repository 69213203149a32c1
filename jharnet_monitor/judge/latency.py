"""Latency quantities of a run of echo requests: loss, round-trip time, jitter, delay variation.

All times are round-trip times in seconds. Without replies there is no delay, and without requests
no loss: such values are absent, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

_DECIMALS = 6


def percentile(ordered: Sequence[float], share: float) -> float:
    """The `share` quantile (0 to 1) of an ascending sequence, interpolated linearly.

    Type 7 of Hyndman and Fan 1996, the default of NumPy and Excel.

    >>> percentile([1.0, 2.0, 3.0, 4.0], 0.5)
    2.5
    >>> percentile([7.0], 0.95)
    7.0
    """
    position = share * (len(ordered) - 1)
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def jitter(rtts: Sequence[float]) -> float:
    """Interarrival jitter in seconds (RFC 3550, section 6.4.1), of replies in order of arrival.

    J += (|D| - J)/16, where D is the difference between consecutive replies. Round-trip times take
    the place of one-way transit times, so that the variation of both directions is included. J
    starts from 0, which would make it 30 % too low after 20 replies; it is divided by the weight
    that all D have had by then.

    >>> round(jitter([0.040, 0.056, 0.040]), 6)
    0.016
    """
    result, rest = 0.0, 1.0
    for before, after in pairwise(rtts):
        result += (abs(after - before) - result) / 16
        rest *= 15 / 16
    return result / (1 - rest) if rest < 1 else 0.0


def delay_variation(rtts: Sequence[float]) -> float:
    """Packet delay variation (RFC 5481, section 4.2): the 95th percentile of RTT - minimum RTT.

    >>> round(delay_variation([0.040] * 19 + [0.140]), 6)
    0.005
    """
    ordered = sorted(rtts)
    return percentile(ordered, 0.95) - ordered[0]


def summarise(rtts: Sequence[float], sent: int, received: int) -> dict[str, float]:
    """The latency quantities of one run, by name.

    `rtts` are the round-trip times in order of arrival. There may be fewer than `received`: a reply
    counts even if its time cannot be trusted. Times are in whole microseconds, which is finer than
    any host stamps packets. Raises `ValueError` if `received` exceeds `sent`.

    >>> values = summarise([0.040, 0.042, 0.041], sent=4, received=3)
    >>> values["loss_ratio"], values["rtt_min_seconds"], values["rtt_p50_seconds"]
    (0.25, 0.04, 0.041)
    >>> summarise([], sent=20, received=0)
    {'sent': 20.0, 'received': 0.0, 'loss_ratio': 1.0}
    >>> summarise([], sent=0, received=0)
    {'sent': 0.0, 'received': 0.0}
    """
    if received > sent:
        raise ValueError(f"{received} replies to {sent} requests: duplicates must not be counted")
    values: dict[str, float] = {"sent": float(sent), "received": float(received)}
    if sent:
        values["loss_ratio"] = (sent - received) / sent
    if rtts:
        ordered = sorted(rtts)
        times = {
            "rtt_min_seconds": ordered[0],
            "rtt_p50_seconds": percentile(ordered, 0.5),
            "rtt_p95_seconds": percentile(ordered, 0.95),
            "rtt_max_seconds": ordered[-1],
        }
        if len(rtts) > 1:
            times |= {"jitter_seconds": jitter(rtts), "pdv_seconds": delay_variation(rtts)}
        values |= {name: round(time, _DECIMALS) for name, time in times.items()}
    return values
