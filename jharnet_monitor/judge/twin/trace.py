"""The packets of a call's two streams as one trace of a direction: queue, loss, and rates. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Column = NDArray[np.float64]

BIN = 0.1
"""Seconds over which the shortest transit shows the standing queue."""
_SETTLE = 0.5
"""Seconds at the start in which the other end's first packets may be refused."""


@dataclass(frozen=True, slots=True)
class PacketColumns:
    """One stream, in sending order; a lost packet's arrival is not a number.

    `sent` and `at` are seconds of two clocks, `size` is in bytes on the line; `frame` numbers the
    picture (or the packet of sound).
    """

    sent: Column
    at: Column
    size: Column
    frame: Column
    repeated_at: Column
    """Arrivals of retransmissions, which count for the rate but not for the loss; and their
    bytes."""
    repeated_size: Column


NO_REPORTS = (np.zeros(0), np.zeros(0))


class Trace:
    """Both streams together, by the time of sending."""

    def __init__(
        self,
        audio: PacketColumns,
        video: PacketColumns,
        reports: tuple[Column, Column] = NO_REPORTS,
    ) -> None:
        """`reports` are arrival in seconds and size in bytes of each RTCP packet of the sender."""
        # The streams' clocks have different zeros; the fastest packet of each met no queue.
        offsets = [fastest(audio), fastest(video)]
        sent = np.concatenate([audio.sent + offsets[0], video.sent + offsets[1]])
        order = np.argsort(sent, kind="stable")
        self.sent = sent[order]
        self.at = np.concatenate([audio.at, video.at])[order]
        self.size = np.concatenate([audio.size, video.size])[order]
        first = np.concatenate([first_packets(audio), first_packets(video)])[order]
        late = self.sent >= self.sent[0] + _SETTLE
        early = ~late & np.isfinite(self.at)
        self.early_at, self.early_size = self.at[early], self.size[early]
        """Arrivals and bytes of packets before that: they count for a policer's bucket only."""
        self.sent, self.at, self.size = self.sent[late], self.at[late], self.size[late]
        self.first = first[late]
        """Packets that leave at their time stamp; the others of a frame are paced."""
        self.lost = np.isnan(self.at)
        self.besides_at = np.concatenate([audio.repeated_at, video.repeated_at, reports[0]])
        self.besides_size = np.concatenate([audio.repeated_size, video.repeated_size, reports[1]])
        """Arrivals and bytes of retransmissions and reports: they count for the rate only."""
        at = np.concatenate([self.at[~self.lost], self.besides_at])
        size = np.concatenate([self.size[~self.lost], self.besides_size])
        order = np.argsort(at)
        self._all_at, self._total = at[order], np.concatenate([[0.0], np.cumsum(size[order])])
        transit = self.at - self.sent
        self.base = float(np.nanmin(transit))
        self.queue = transit - self.base
        self.start, self.seconds = float(self.sent[0]), float(self.sent[-1] - self.sent[0])
        bins = ((self.sent - self.start) / BIN).astype(int)
        self.bin = bins
        count = int(bins[-1]) + 1
        standing = np.full(count, np.inf)
        np.fmin.at(standing, bins[~self.lost], self.queue[~self.lost])
        self.standing = np.where(np.isinf(standing), np.nan, standing)
        self.sent_in = np.bincount(bins, minlength=count)
        self.lost_in = np.bincount(bins, weights=self.lost, minlength=count)

    def waits(self, rate: float | None) -> Column:
        """Each packet's time in the queue in seconds: without the time in which a bottleneck of
        `rate` bit/s sends what it is longer than the smallest packet."""
        if rate is None:
            return np.asarray(self.queue)
        return np.asarray(np.maximum(0.0, self.queue - (self.size - self.size.min()) * 8 / rate))

    def arrived_rate(self, begin: float, end: float) -> float:
        """bit/s that arrived in a time of the receiver's clock, retransmissions included."""
        first, last = np.searchsorted(self._all_at, [begin, end])
        last = min(int(last), len(self._all_at) - 1)
        return float(self._total[last + 1] - self._total[first + 1]) * 8 / max(end - begin, 1e-3)


def first_packets(stream: PacketColumns) -> NDArray[np.bool_]:
    """The first packet of each frame."""
    first = np.ones(len(stream.frame), bool)
    first[1:] = np.diff(stream.frame) != 0
    return first


def fastest(stream: PacketColumns) -> float:
    """The shortest transit, in seconds between the two clocks."""
    transit = stream.at - stream.sent
    return float(np.nanmin(transit)) if np.isfinite(transit).any() else 0.0
