"""The rate of a bulk transfer: when it is stable, the estimate, and its uncertainty. Pure.

A transfer is a series of `Sample`s: cumulative IP bytes that arrived at the receiver, by its
monotonic clock. It begins with TCP slow start, which is no evidence about the line. The transfer
may stop as soon as two consecutive windows agree; their common slope is the estimate.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf, sqrt
from operator import attrgetter
from statistics import fmean, stdev

WINDOW_SECONDS = 0.5
WINDOW_ROUND_TRIPS = 1.2
"""A window is longer than a round trip: within one round trip, slow start can look steady."""
AGREEMENT = 0.03
"""Two windows agree if their rates differ by at most this share of the larger one."""
MAX_UNCERTAINTY = 0.1
"""Windows of a rate more uncertain than this (a share of the rate) agree only by chance."""
MIN_COUNTED_SHARE = 0.8
"""Share of the bytes of a window that a second counter must have counted."""
SUBWINDOWS = 20
"""Number of equal parts of a window in which the end of slow start is looked for."""

MAX_CORRELATION = 0.97
"""So few samples cannot distinguish larger lag-1 correlations from a bend."""

LATE_SECONDS = 0.05
"""Where a program wakes up later than this, its computer did not keep up in the meantime."""
PAUSE_SECONDS = 0.005
"""A shorter pause of a computer does not slow down a TCP stream. In a longer one the line can run
empty, where BBR has only two round trips of data under way."""

MSS, MTU = 1448, 1500
"""Bytes of TCP payload in a full packet with timestamps, and bytes of that packet at the IP
level."""


@dataclass(frozen=True, slots=True)
class Sample:
    """`ip_bytes` in total had arrived at `seconds` on the receiver's monotonic clock."""

    seconds: float
    ip_bytes: float


_time, _bytes = attrgetter("seconds"), attrgetter("ip_bytes")


@dataclass(frozen=True, slots=True)
class Estimate:
    """IP rate in bit/s of the window from `start` to `end` (seconds).

    The true mean rate of that window is within `rate · (1 ± uncertainty)` with 95 % confidence.
    `stable` is False if no windows agreed; the rate is then that of the last two windows.
    """

    rate: float
    uncertainty: float
    stable: bool
    start: float
    end: float


def slope(samples: Sequence[Sample]) -> float:
    """Rate in bit/s by least squares, which is robust against bursts at the ends of the window.

    0 for fewer than three samples, or if all have the same time.
    """
    if len(samples) < 3:
        return 0.0
    mean_t = fmean(s.seconds for s in samples)
    mean_b = fmean(s.ip_bytes for s in samples)
    spread = sum((s.seconds - mean_t) ** 2 for s in samples)
    if spread <= 0:
        return 0.0
    common = sum((s.seconds - mean_t) * (s.ip_bytes - mean_b) for s in samples)
    return 8 * common / spread


def fit(samples: Sequence[Sample]) -> tuple[float, float]:
    """Slope in bit/s, and its error (95 %) as a share of it.

    The error is that of least squares, enlarged for correlated residuals (lag-1 autocorrelation):
    packets that arrive evenly give a small one, bursts and bends a large one.
    """
    rate, n = slope(samples), len(samples)
    if rate <= 0 or n < 4:
        return rate, inf
    mean_t = fmean(s.seconds for s in samples)
    mean_b = fmean(s.ip_bytes for s in samples)
    rest = [s.ip_bytes - mean_b - rate / 8 * (s.seconds - mean_t) for s in samples]
    spread = sum((s.seconds - mean_t) ** 2 for s in samples)
    squares = sum(r * r for r in rest)
    if squares <= 0:
        return rate, 0.0
    together = sum(a * b for a, b in pairwise(rest)) / squares
    together = max(0.0, min(MAX_CORRELATION, together))
    effective = max(2.0, n * (1 - together) / (1 + together))
    error = sqrt(squares / n / (spread * effective / n))
    return rate, (1.96 + 4 / effective) * 8 * error / rate


def stalled_share(late: Sequence[float], seconds: float) -> float:
    """The share of a transfer's time by which it may have been slower than the line.

    `late` is for each end that stood still the share of the time that exceeds `LATE_SECONDS`. Two
    pauses can slow down two windows alike, which then agree.
    """
    return sum(late) + len(late) * LATE_SECONDS / seconds if late and seconds > 0 else 0.0


def samples_between(samples: Sequence[Sample], start: float, end: float) -> list[Sample]:
    """The samples from `start` to `end` (seconds), both included; `samples` are ordered by time."""
    first = bisect_left(samples, start, key=_time)
    return list(samples[first : bisect_right(samples, end, key=_time)])


def window_seconds(round_trip: float) -> float:
    """Length of a window in seconds, on a line with this idle round-trip time in seconds."""
    return max(WINDOW_SECONDS, WINDOW_ROUND_TRIPS * round_trip)


def windows_agree(samples: Sequence[Sample], end: float, window: float = WINDOW_SECONDS) -> bool:
    """Whether the two windows before `end` have the same, steady rate."""
    middle, start = end - window, end - 2 * window
    if not samples or samples[0].seconds > start:
        return False
    early = slope(samples_between(samples, start, middle))
    late = slope(samples_between(samples, middle, end))
    if min(early, late) <= 0 or abs(early - late) > AGREEMENT * max(early, late):
        return False
    return _steady_rate(samples, start, end).uncertainty <= MAX_UNCERTAINTY


def is_stable(samples: Sequence[Sample], window: float = WINDOW_SECONDS) -> bool:
    """Whether the transfer may stop at its newest sample."""
    return bool(samples) and windows_agree(samples, samples[-1].seconds, window)


def estimate(samples: Sequence[Sample], window: float = WINDOW_SECONDS) -> Estimate | None:
    """The rate of the first two windows that agree, else of the last two.

    The remainder of slow start at the beginning of the windows is left out. None if the transfer is
    shorter than one window or carried nothing.
    """
    if not samples or samples[-1].seconds - samples[0].seconds < window:
        return None
    end = next((s.seconds for s in samples if windows_agree(samples, s.seconds, window)), None)
    stop = samples[-1].seconds if end is None else end
    found = _steady_rate(samples, stop - 2 * window, stop)
    if found.rate <= 0:
        return None
    return replace(found, stable=end is not None)


def _steady_rate(samples: Sequence[Sample], start: float, end: float) -> Estimate:
    """The rate from `start` to `end`, without any slow start at the beginning."""
    start = max(samples[0].seconds, start)
    chosen = samples_between(samples, start, end)
    if slope(chosen) <= 0:
        return Estimate(0.0, inf, False, start, end)
    parts = _subwindow_rates(chosen)
    first = _ramp_length(parts)
    start += first * (end - start) / SUBWINDOWS
    rate, error = fit(samples_between(samples, start, end))
    return Estimate(rate, error, True, start, end)


def estimate_over_same_bytes(
    reported: Sequence[Sample], reference: Sequence[Sample], found: Estimate
) -> Estimate | None:
    """The estimate by a second counter of the same stream, over the same bytes as `found`.

    `found` was estimated from `reference`; `reported` are the samples of the second counter, by its
    own clock. None if they do not contain those bytes: the second counter did not count this
    stream.
    """
    first, last = _bytes_at(reference, found.start), _bytes_at(reference, found.end)
    counted = min(last, reported[-1].ip_bytes) - first if reported else 0.0
    if counted < MIN_COUNTED_SHARE * (last - first):
        return None
    last = first + counted
    start, end = _time_of(reported, first), _time_of(reported, last)
    chosen = samples_between(reported, start, end)
    rate, error = fit(chosen)
    if rate <= 0:
        return None
    return Estimate(rate, error, found.stable, start, end)


def _time_of(samples: Sequence[Sample], ip_bytes: float) -> float:
    """The time in seconds at which `ip_bytes` had arrived, interpolated linearly."""
    after = min(bisect_left(samples, ip_bytes, key=_bytes), len(samples) - 1)
    here, before = samples[after], samples[max(0, after - 1)]
    span = here.ip_bytes - before.ip_bytes
    share = 1.0 if span <= 0 else (ip_bytes - before.ip_bytes) / span
    return before.seconds + max(0.0, min(1.0, share)) * (here.seconds - before.seconds)


@dataclass(frozen=True, slots=True)
class RttSample:
    """A small packet that was sent during the stream, at `sent`, and answered after `seconds`."""

    sent: float
    seconds: float


def loaded_rtt(
    rtts: Sequence[RttSample], samples: Sequence[Sample], rate: float, stopped: float
) -> float | None:
    """Mean round-trip time in seconds of the stream's own packets; None without RTT samples.

    Each RTT sample is weighted by the bytes that arrived around its answer, since those packets
    were in the same queue. The few packets of slow start therefore weigh little, however long it
    took. `samples` and `rtts` have the same clock. Data still queued when the stream stopped (at
    `stopped`) arrived at `rate` bit/s.
    """
    answered = sorted((r for r in rtts if r.sent <= stopped), key=lambda r: r.sent + r.seconds)
    if not answered or not samples:
        return None
    moments = [rtt.sent + rtt.seconds for rtt in answered]
    middles = [(a + b) / 2 for a, b in pairwise(moments)]
    first, last = samples[0].seconds, samples[-1]

    def arrived(moment: float) -> float:
        if moment > last.seconds:
            return last.ip_bytes + (moment - last.seconds) * rate / 8
        return _bytes_at(samples, moment)

    edges = [arrived(m) for m in (first, *middles, max(moments[-1], first))]
    weights = [max(0.0, b - a) for a, b in pairwise(edges)]
    total = sum(weights)
    if not total:
        return None
    return sum(w * rtt.seconds for w, rtt in zip(weights, answered, strict=True)) / total


def _subwindow_rates(samples: Sequence[Sample]) -> list[float]:
    """Rate in bit/s in each of `SUBWINDOWS` equal parts of the time that the samples span."""
    start, end = samples[0].seconds, samples[-1].seconds
    step = (end - start) / SUBWINDOWS
    edges = [_bytes_at(samples, start + i * step) for i in range(SUBWINDOWS + 1)]
    return [8 * (b - a) / step for a, b in pairwise(edges)]


def _ramp_length(parts: Sequence[float]) -> int:
    """Number of parts at the beginning to leave out, at most half of them.

    The marginal standard error rule (White 1997): the number that minimises the standard error of
    the mean of the rest.
    """
    return min(range(len(parts) // 2 + 1), key=lambda first: _standard_error(parts[first:]))


def _standard_error(parts: Sequence[float]) -> float:
    return stdev(parts) / sqrt(len(parts))


def _bytes_at(samples: Sequence[Sample], seconds: float) -> float:
    """IP bytes that had arrived at `seconds`, interpolated linearly."""
    after = min(bisect_left(samples, seconds, key=_time), len(samples) - 1)
    here = samples[after]
    before = samples[max(0, after - 1)]
    span = here.seconds - before.seconds
    share = 1.0 if span <= 0 else (seconds - before.seconds) / span
    return before.ip_bytes + min(1.0, share) * (here.ip_bytes - before.ip_bytes)
