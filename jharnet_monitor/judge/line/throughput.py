"""When a bulk transfer has told its rate, what the rate is, and how sure that is.

A transfer is a series of `Sample`s: cumulative IP bytes that arrived at the receiver against a
monotonic clock. Slow start comes first and says nothing of the line. The transfer may stop as
soon as two neighbouring windows agree; their common slope is the estimate.
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
"""A window spans more than a round trip: within one, slow start can look steady."""
AGREEMENT = 0.03
"""Two windows agree when their rates differ by no more than this share of the larger one."""
STEADY = 0.1
"""Nor do they agree, but meet by chance, where the rate is less certain than this share of it."""
MOSTLY = 0.8
"""Of the bytes of a stretch, which a second counter must have seen of it."""
PARTS = 20
"""The estimate's spread is judged over this many equal parts of its window."""
T95 = 2.26
"""Student's t, two-sided 95 %, for the 9 degrees of freedom of the fewest parts kept."""

MSS, MTU = 1448, 1500
"""TCP payload of a full packet with timestamps, and that packet as IP counts it."""


@dataclass(frozen=True, slots=True)
class Sample:
    """`ip_bytes` had arrived at `seconds` on the receiver's monotonic clock."""

    seconds: float
    ip_bytes: float


_moment, _bytes = attrgetter("seconds"), attrgetter("ip_bytes")


@dataclass(frozen=True, slots=True)
class Estimate:
    """IP rate in bit/s over `start`..`end` seconds; `uncertainty` is a share of the rate.

    The true mean rate of that window lies within `rate · (1 ± uncertainty)` at 95 %. `stable` is
    False where no windows agreed: the rate is then that of the last two.
    """

    rate: float
    uncertainty: float
    stable: bool
    start: float
    end: float


def slope(samples: Sequence[Sample]) -> float:
    """Bit/s by least squares, which a burst at either end of the window moves little.

    Fewer than three samples, or none apart in time, give 0.
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


def between(samples: Sequence[Sample], start: float, end: float) -> list[Sample]:
    """The samples of `start`..`end`, both included, out of samples in time order."""
    first = bisect_left(samples, start, key=_moment)
    return list(samples[first : bisect_right(samples, end, key=_moment)])


def window_for(round_trip: float) -> float:
    """Seconds of a window on a line with this idle round-trip time."""
    return max(WINDOW_SECONDS, WINDOW_ROUND_TRIPS * round_trip)


def agree(samples: Sequence[Sample], end: float, window: float = WINDOW_SECONDS) -> bool:
    """Whether the two windows before `end` carry the same rate, and steadily so."""
    middle, start = end - window, end - 2 * window
    if not samples or samples[0].seconds > start:
        return False
    early = slope(between(samples, start, middle))
    late = slope(between(samples, middle, end))
    if min(early, late) <= 0 or abs(early - late) > AGREEMENT * max(early, late):
        return False
    return _settled(samples, start, end).uncertainty <= STEADY


def stable(samples: Sequence[Sample], window: float = WINDOW_SECONDS) -> bool:
    """Whether a running transfer may stop at its newest sample."""
    return bool(samples) and agree(samples, samples[-1].seconds, window)


def estimate(samples: Sequence[Sample], window: float = WINDOW_SECONDS) -> Estimate | None:
    """The rate of the first pair of windows that agree, or of the last two; None if nothing.

    What is left of slow start at its beginning is cut off. A transfer of less than one window is
    too short to say anything.
    """
    if not samples or samples[-1].seconds - samples[0].seconds < window:
        return None
    end = next((s.seconds for s in samples if agree(samples, s.seconds, window)), None)
    stop = samples[-1].seconds if end is None else end
    found = _settled(samples, stop - 2 * window, stop)
    if found.rate <= 0:
        return None
    return replace(found, stable=end is not None)


def _settled(samples: Sequence[Sample], start: float, end: float) -> Estimate:
    """The rate of a stretch without the slow start at its beginning, if there is any."""
    start = max(samples[0].seconds, start)
    chosen = between(samples, start, end)
    if slope(chosen) <= 0:
        return Estimate(0.0, inf, False, start, end)
    parts = _rates(chosen)
    first = _warm_up(parts)
    start += first * (end - start) / PARTS
    rate = slope(between(samples, start, end))
    spread = T95 * _standard_error(parts[first:])
    return Estimate(rate, spread / rate if rate > 0 else inf, True, start, end)


def over_same_bytes(
    told: Sequence[Sample], seen: Sequence[Sample], found: Estimate
) -> Estimate | None:
    """The estimate by another counter of the same stream, over the bytes on which `found` rests.

    `seen` is what `found` was made of; `told` has a clock of its own. None where it does not hold
    those bytes: then it has not counted this stream.
    """
    first, last = _at(seen, found.start), _at(seen, found.end)
    held = min(last, told[-1].ip_bytes) - first if told else 0.0
    if held < MOSTLY * (last - first):
        return None
    last = first + held
    start, end = _when(told, first), _when(told, last)
    chosen = between(told, start, end)
    rate = slope(chosen)
    if rate <= 0:
        return None
    spread = T95 * _standard_error(_rates(chosen))
    return Estimate(rate, spread / rate, found.stable, start, end)


def _when(samples: Sequence[Sample], ip_bytes: float) -> float:
    """The moment at which so many bytes had arrived, linear between the samples."""
    after = min(bisect_left(samples, ip_bytes, key=_bytes), len(samples) - 1)
    here, before = samples[after], samples[max(0, after - 1)]
    span = here.ip_bytes - before.ip_bytes
    share = 1.0 if span <= 0 else (ip_bytes - before.ip_bytes) / span
    return before.seconds + max(0.0, min(1.0, share)) * (here.seconds - before.seconds)


@dataclass(frozen=True, slots=True)
class Trip:
    """A small packet sent beside the stream at `sent`, answered after `seconds`."""

    sent: float
    seconds: float


def loaded_round_trip(
    trips: Sequence[Trip], samples: Sequence[Sample], rate: float, stopped: float
) -> float | None:
    """Mean round-trip time in seconds of the stream's own packets; None where no trip met them.

    Each trip stands for the packets that arrived around its answer, which stood in the same queue:
    the few packets of slow start weigh little, however long it took. Samples and trips are on the
    same clock; what was still in the queue when the stream stopped came out of it at `rate`.
    """
    met = sorted((t for t in trips if t.sent <= stopped), key=lambda t: t.sent + t.seconds)
    if not met or not samples:
        return None
    moments = [trip.sent + trip.seconds for trip in met]
    middles = [(a + b) / 2 for a, b in pairwise(moments)]
    begun, last = samples[0].seconds, samples[-1]

    def arrived(moment: float) -> float:
        if moment > last.seconds:
            return last.ip_bytes + (moment - last.seconds) * rate / 8
        return _at(samples, moment)

    edges = [arrived(m) for m in (begun, *middles, max(moments[-1], begun))]
    weights = [max(0.0, b - a) for a, b in pairwise(edges)]
    total = sum(weights)
    return sum(w * t.seconds for w, t in zip(weights, met, strict=True)) / total if total else None


def _rates(samples: Sequence[Sample]) -> list[float]:
    """Bit/s in each of `PARTS` equal parts of the time that the samples span."""
    start, end = samples[0].seconds, samples[-1].seconds
    step = (end - start) / PARTS
    edges = [_at(samples, start + i * step) for i in range(PARTS + 1)]
    return [8 * (b - a) / step for a, b in pairwise(edges)]


def _warm_up(parts: Sequence[float]) -> int:
    """How many parts at the beginning to leave out, at most half of them.

    The marginal standard error rule (White 1997): as many as make the mean of the rest surest.
    """
    return min(range(len(parts) // 2 + 1), key=lambda first: _standard_error(parts[first:]))


def _standard_error(parts: Sequence[float]) -> float:
    return stdev(parts) / sqrt(len(parts))


def _at(samples: Sequence[Sample], seconds: float) -> float:
    """IP bytes at a moment, linear between the samples on either side."""
    after = min(bisect_left(samples, seconds, key=_moment), len(samples) - 1)
    here = samples[after]
    before = samples[max(0, after - 1)]
    span = here.seconds - before.seconds
    share = 1.0 if span <= 0 else (seconds - before.seconds) / span
    return before.ip_bytes + min(1.0, share) * (here.ip_bytes - before.ip_bytes)
