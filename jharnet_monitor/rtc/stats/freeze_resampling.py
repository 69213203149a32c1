"""Expected freezes: the mean over many simulated retransmissions, not those of one call.

The loss of a call is counted over thousands of packets, but only a lost retransmission freezes the
picture, and a single call has a handful of those. Their outcome is therefore resampled many times
with the loss that was counted, and the freezes are the mean. The retransmissions of a burst are
sent back to back, so that a further burst or one lost request loses all of them. After an
interruption all lost packets are retransmitted at once, as by a client, which sends next to nothing
while no reports arrive.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from jharnet_monitor.judge.conference.video import Freezes
from jharnet_monitor.rtc.receive.arrivals import RETRANSMITTED, Arrivals

SAMPLES = 15
"""Samples for a window of `_WINDOW_SECONDS`; a longer window needs fewer for the same error."""
_MIN_SAMPLES = 3
_WINDOW_SECONDS = 30.0
_MAX_REQUESTS = 10
"""How often a client requests a packet (Chromium)."""
_INTERRUPTION = 0.3
"""Seconds without any packet: an interruption of the line, whose losses do not predict those of
retransmissions."""
_REQUEST_TIMER = 0.02
"""Seconds between a client's checks for packets to request again."""


@dataclass(frozen=True, slots=True)
class PathModel:
    """The path of retransmissions and of their requests."""

    playout_delay: float
    """Seconds."""
    round_trip: float
    """Seconds."""
    reverse_loss: float = 0.0
    """Loss ratio of the opposite direction, which the requests take."""


@dataclass(frozen=True, slots=True)
class PacketGap:
    """Consecutive packets that were lost; the next arrival triggers their request."""

    requested_at: float
    """When the next packet arrived, in monotonic seconds."""
    packets: list[int]
    """Numbers of the lost packets."""
    silence: float
    """Seconds without any arrival before that."""


@dataclass(frozen=True, slots=True)
class GilbertLoss:
    """Loss in bursts by Gilbert's model."""

    ratio: float
    """Share of all packets that is lost."""
    burst: float
    """Mean number of packets lost in a row."""

    @classmethod
    def from_gaps(cls, gaps: Sequence[PacketGap], arrived: int) -> GilbertLoss:
        """Fit the model to gaps and the number of packets that arrived."""
        lost = sum(len(gap.packets) for gap in gaps)
        return cls(lost / (lost + arrived), lost / max(1, len(gaps)) or 1.0)

    def sample(self, count: int, generator: random.Random) -> Iterator[bool]:
        """For each of `count` consecutive packets, whether it is lost."""
        lost = generator.random() < self.ratio
        yield lost
        enter = min(1.0, self.ratio / (self.burst * max(1 - self.ratio, 1e-9)))
        for _ in range(count - 1):
            lost = generator.random() < (1 - 1 / self.burst if lost else enter)
            yield lost


def sample_seeds(seconds: float) -> range:
    """The seeds of the samples for a window of `seconds`; fewer for a longer window."""
    samples = SAMPLES * _WINDOW_SECONDS / max(seconds, _WINDOW_SECONDS)
    return range(max(_MIN_SAMPLES, round(samples)))


def resample_retransmissions(
    video: Arrivals, rows: Mapping[int, int], packets: range, path: PathModel, seconds: float
) -> Iterator[tuple[Mapping[int, int], array[float]]]:
    """Simulate the retransmissions of a range of packets; yields nothing if none was lost.

    `rows` maps packet numbers to the entries of `video`, and `seconds` is the length of the judged
    window. Each sample is such a mapping, without the packets that never arrive, and the arrival
    times of all entries. The same call always gives the same samples.
    """
    arrived = {n for n in packets if n in rows and not video.flags[rows[n]] & RETRANSMITTED}
    if not arrived or len(arrived) == len(packets) or path.round_trip <= 0:
        return
    gaps = _find_gaps(video, rows, packets, arrived)
    loss = GilbertLoss.from_gaps(
        [gap for gap in gaps if gap.silence <= _INTERRUPTION], len(arrived)
    )
    reverse_loss = path.reverse_loss
    if any(gap.silence > _INTERRUPTION for gap in gaps):
        reverse_loss = min(reverse_loss, loss.ratio)  # it was counted over interruptions too
    for seed in sample_seeds(seconds):
        generator = random.Random(seed)
        at, remaining = array("d", video.at), dict(rows)
        for gap in gaps:
            delays = _retransmission_delays(
                len(gap.packets), loss, path.round_trip, reverse_loss, generator
            )
            for packet, delay in zip(gap.packets, delays, strict=True):
                if delay is None:
                    remaining.pop(packet, None)
                elif packet in remaining:
                    at[remaining[packet]] = gap.requested_at + delay
        yield remaining, at


def _find_gaps(
    video: Arrivals, rows: Mapping[int, int], packets: range, arrived: set[int]
) -> list[PacketGap]:
    """The gaps between the packets that arrived; losses at the very end are never requested."""
    gaps: list[PacketGap] = []
    missing: list[int] = []
    previous_at = None
    for packet in packets:
        if packet not in arrived:
            missing.append(packet)
            continue
        at = video.at[rows[packet]]
        if missing:
            gaps.append(PacketGap(at, missing, 0.0 if previous_at is None else at - previous_at))
            missing = []
        previous_at = at
    return gaps


def _retransmission_delays(
    count: int,
    loss: GilbertLoss,
    round_trip: float,
    reverse_loss: float,
    generator: random.Random,
) -> list[float | None]:
    """Seconds from the request until each of `count` packets arrives; None if one never does."""
    delays: list[float | None] = [None] * count
    for attempt in range(_MAX_REQUESTS):
        missing = [n for n in range(count) if delays[n] is None]
        if not missing:
            break
        if generator.random() < reverse_loss:
            continue
        for n, lost in zip(missing, loss.sample(len(missing), generator), strict=True):
            if not lost:
                delays[n] = round_trip + attempt * (round_trip + _REQUEST_TIMER)
    return delays


def mean_freezes(samples: Sequence[Freezes]) -> Freezes:
    """The mean of one or more samples; the count is rounded."""
    return Freezes(
        round(sum(sample.count for sample in samples) / len(samples)),
        round(sum(sample.seconds for sample in samples) / len(samples), 6),
    )
