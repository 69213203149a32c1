"""The capacity of a line from packet-train dispersion. Pure.

Packets of a train are sent back to back; the narrowest link of the path spaces them out (Dovrolis,
Ramanathan, Moore 2004, "Packet-dispersion techniques and a capacity-estimation methodology"). A
train measures the capacity of the line, not the part of it that is free. Other traffic between its
packets makes the estimate fall between the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from statistics import fmean, median

MIN_PACKETS = 5
"""Fewest packets that must arrive."""
GAP_TOLERANCE = 0.1
"""Gaps within this share of the median gap are undisturbed by other traffic."""
MIN_UNDISTURBED = 0.6
"""If at least this share of the gaps is undisturbed, they alone give the capacity."""
BUNCH_GAP = 0.5
"""Packets closer together than this share of the mean gap arrived in one bunch."""


@dataclass(frozen=True, slots=True)
class PacketArrival:
    """Packet `number` of a train arrived at `seconds` of the receiver's clock."""

    number: int
    seconds: float


@dataclass(frozen=True, slots=True)
class TrainCapacity:
    """Capacity as IP rate in bit/s; its 95 % interval is `rate · (1 ± uncertainty)`."""

    rate: float
    uncertainty: float


def train_capacity(arrivals: Sequence[PacketArrival], ip_bytes: int) -> TrainCapacity | None:
    """The capacity from the packets of one train that arrived, each of `ip_bytes` bytes.

    Lost packets leave a gap in the numbers and do not affect the estimate. None if too few packets
    arrived, or if all arrived at the same time, which is too fast to measure. The uncertainty is 1
    if they arrived in so few bunches that the rate says nothing.

    >>> found = train_capacity([PacketArrival(n, n * 0.006) for n in range(30)], 1500)
    >>> round(found.rate), round(found.uncertainty, 3)
    (2000000, 0.0)
    """
    once = {a.number: a for a in reversed(arrivals)}  # a network may duplicate a packet
    train = sorted(once.values(), key=lambda a: a.number)
    if len(train) < MIN_PACKETS:
        return None
    ends = _ends_of_bunches(train)
    if len(ends) < MIN_PACKETS:  # a fast line, or a computer that stopped for most of the train
        step, _ = _slope(train)
        return TrainCapacity(8 * ip_bytes / step, 1.0) if step > 0 else None
    gaps = [(b.seconds - a.seconds, b.number - a.number) for a, b in pairwise(ends)]
    middle = median(seconds / steps for seconds, steps in gaps)
    tolerance = GAP_TOLERANCE * middle
    undisturbed = [gap for gap in gaps if abs(gap[0] / gap[1] - middle) <= tolerance]
    if middle > 0 and len(undisturbed) >= max(MIN_PACKETS - 1, MIN_UNDISTURBED * len(gaps)):
        step = sum(seconds for seconds, _ in undisturbed) / sum(steps for _, steps in undisturbed)
        worst = max(abs(seconds / steps - step) for seconds, steps in undisturbed)
        error = worst / sqrt(len(undisturbed))
    else:
        step, error = _slope(ends)
        error *= len(train) / len(ends)  # jitter that makes bunches makes the rest uncertain, too
    if step <= 0:
        return None
    return TrainCapacity(8 * ip_bytes / step, 1.96 * error / step)


def _ends_of_bunches(train: Sequence[PacketArrival]) -> Sequence[PacketArrival]:
    """The packets that no other follows in the same bunch.

    A computer that stops for some milliseconds, or one late packet on a line that keeps packets in
    order, makes all that come meanwhile arrive at once. The last of them waited least, for less
    than the time of a packet on the line; the others say nothing of the line.
    """
    first, last = train[0], train[-1]
    least = BUNCH_GAP * (last.seconds - first.seconds) / (last.number - first.number)
    alone = [a for a, b in pairwise(train) if b.seconds - a.seconds > least * (b.number - a.number)]
    return [*alone, last]


def _slope(train: Sequence[PacketArrival]) -> tuple[float, float]:
    """Seconds per packet by least squares, and its standard error."""
    mean_n, mean_t = fmean(a.number for a in train), fmean(a.seconds for a in train)
    spread = sum((a.number - mean_n) ** 2 for a in train)
    step = sum((a.number - mean_n) * (a.seconds - mean_t) for a in train) / spread
    rest = sum((a.seconds - mean_t - step * (a.number - mean_n)) ** 2 for a in train)
    return step, sqrt(rest / (len(train) - 2) / spread)
