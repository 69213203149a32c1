"""Asks another process what the arrivals of a call tell of the line (`line_seen`)."""

from __future__ import annotations

import logging
from typing import Any

from jharnet_monitor.judge.twin.seen import Seen
from jharnet_monitor.rtc.receive.arrivals import Arrivals
from jharnet_monitor.rtc.stats.call_stats import SendStats
from jharnet_monitor.worker_process import ask_process

log = logging.getLogger(__name__)

PROGRAM = "jharnet_monitor.rtc.stats.line_seen"
TIME_LIMIT = 10.0
"""Seconds of real time; on an idle computer it takes half of one."""


async def line_seen(audio: Arrivals, video: Arrivals, sent: SendStats) -> Seen | None:
    """What the arrivals of both streams tell of the line; None if they are too few.

    None, too, if the process does not answer: the grade of the call does not need it.
    """
    question = {
        "audio": _stream(audio, sent.audio_first, sent.audio_packets),
        "video": _stream(video, sent.video_first, sent.video_packets),
    }
    try:
        found = await ask_process(PROGRAM, question, TIME_LIMIT)
        return Seen.from_json(found) if found is not None else None
    except (TimeoutError, ValueError) as error:
        log.warning("what the call tells of the line is not known: %s", error or "no answer")
        return None


def _stream(arrivals: Arrivals, first: int, packets: int) -> dict[str, Any]:
    return {
        "clock_rate": arrivals.clock_rate,
        "first_arrived": arrivals.first,
        "first_sent": first,
        "packets": packets,
        "sequence": arrivals.sequence.tolist(),
        "timestamp": arrivals.timestamp.tolist(),
        "at": arrivals.at.tolist(),
        "size": arrivals.size.tolist(),
        "flags": arrivals.flags.tolist(),
    }
