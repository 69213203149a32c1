"""Observes the line from a call's arrivals, in a process of its own.

It needs NumPy, which a hub would otherwise keep in memory as long as it runs.
"""

from __future__ import annotations

import json
import sys
from array import array
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from jharnet_monitor.judge.twin.arrivals import observe
from jharnet_monitor.judge.twin.observed_line import ObservedLine
from jharnet_monitor.judge.twin.trace import PacketColumns
from jharnet_monitor.rtc.receive.arrivals import RETRANSMITTED, Arrivals
from jharnet_monitor.rtc.rtp import unwrap

Sent = tuple[Arrivals, int, int]
"""A stream's arrivals, its first sequence number, and how many packets were sent."""


def observed_line(
    audio: Sent, video: Sent, reports: Mapping[str, Any] | None = None
) -> ObservedLine | None:
    """The line as observed from the arrivals of both streams and of the sender's reports; None if
    there are too few."""
    found = reports or {"at": [], "size": []}
    arrivals = (np.array(found["at"], float), np.array(found["size"], float))
    return observe(stream_of(*audio), stream_of(*video), arrivals)


def stream_of(log: Arrivals, first: int, packets: int) -> PacketColumns:
    """The stream of `packets` packets from the sequence number `first` on; empty if none arrived.

    The time stamps of packets that never arrived lie evenly between those that did.
    """
    nothing = np.zeros(0)
    if log.first is None or not packets:
        return PacketColumns(nothing, nothing, nothing, nothing, nothing, nothing)
    number = np.array(log.sequence, np.int64) - unwrap(first, log.first)
    inside = (number >= 0) & (number < packets)
    number = number[inside]
    if len(number) < 2:
        return PacketColumns(nothing, nothing, nothing, nothing, nothing, nothing)
    stamped = np.array(log.timestamp, float)[inside] / log.clock_rate
    at, size = np.array(log.at, float)[inside], np.array(log.size, float)[inside]
    repeated = (np.array(log.flags, np.uint8)[inside] & RETRANSMITTED) > 0
    sent, arrived = np.full(packets, np.nan), np.full(packets, np.nan)
    sizes = np.full(packets, float(size.mean()))
    sent[number], sizes[number] = stamped, size
    arrived[number] = np.where(repeated, np.nan, at)
    known = np.isfinite(sent)
    every = np.arange(packets)
    sent = np.where(known, sent, np.interp(every, every[known], sent[known]))
    return PacketColumns(sent, arrived, sizes, sent, at[repeated], size[repeated])


def main() -> None:
    """Answer one question of `line_process`, from standard input to standard output."""
    question = json.load(sys.stdin)
    found = observed_line(_sent(question["audio"]), _sent(question["video"]), question["reports"])
    json.dump(asdict(found) if found is not None else None, sys.stdout)


def _sent(stream: Mapping[str, Any]) -> Sent:
    log = Arrivals(stream["clock_rate"])
    log.first = stream["first_arrived"]
    log.sequence = array("q", stream["sequence"])
    log.timestamp = array("q", stream["timestamp"])
    log.at = array("d", stream["at"])
    log.size = array("H", stream["size"])
    log.flags = array("B", stream["flags"])
    return log, stream["first_sent"], stream["packets"]


if __name__ == "__main__":
    main()
