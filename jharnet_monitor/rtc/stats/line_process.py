"""Observes the line of a call in another process (`line_observation`)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from jharnet_monitor.judge.twin.observed_line import ObservedLine
from jharnet_monitor.rtc.receive.arrivals import Arrivals, ReportArrivals
from jharnet_monitor.rtc.stats.call_stats import SendStats
from jharnet_monitor.worker_process import ask_process

log = logging.getLogger(__name__)

PROGRAM = "jharnet_monitor.rtc.stats.line_observation"
TIME_LIMIT = 10.0
"""Seconds of real time; on an idle computer it takes half a second."""


async def observe_line(
    audio: Arrivals, video: Arrivals, reports: ReportArrivals, sent: SendStats
) -> ObservedLine | None:
    """The line as observed from the arrivals of both streams and the other end's reports; None if
    there are too few.

    Also None if the process does not answer: the grade of the call does not need it. What a browser
    sends late counts as made that much later; an agent's picture is as late as its voice.
    """
    late = dict(sent.audio_late) if sent.adapts else {}
    question = {
        "audio": _stream(audio, sent.audio_first, sent.audio_packets, late),
        "video": _stream(video, sent.video_first, sent.video_packets, {}),
        "reports": {"at": reports.at.tolist(), "size": reports.size.tolist()},
    }
    try:
        found = await ask_process(PROGRAM, question, TIME_LIMIT)
        return ObservedLine.from_json(found) if found is not None else None
    except (TimeoutError, ValueError) as error:
        why = str(error) or "no answer"
        log.warning("the line of the call could not be observed: %s", why)
        return None


def _stream(
    arrivals: Arrivals, first: int, packets: int, late: Mapping[int, float]
) -> dict[str, Any]:
    """What the process asks for; `late` are seconds by the number of the packet."""
    stamped = arrivals.timestamp.tolist()
    if late:
        for row, sequence in enumerate(arrivals.sequence):
            stamped[row] += round(late.get(sequence - first, 0.0) * arrivals.clock_rate)
    return {
        "clock_rate": arrivals.clock_rate,
        "first_arrived": arrivals.first,
        "first_sent": first,
        "packets": packets,
        "sequence": arrivals.sequence.tolist(),
        "timestamp": stamped,
        "at": arrivals.at.tolist(),
        "size": arrivals.size.tolist(),
        "flags": arrivals.flags.tolist(),
    }
