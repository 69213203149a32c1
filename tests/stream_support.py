"""Paced streams over an emulated line, without a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jharnet_monitor.judge.line.paced_stream import StreamRow
from jharnet_monitor.lab.pipe import Pipe
from jharnet_monitor.lab.spec import LinkDirection
from jharnet_monitor.probes.bandwidth.udp_socket import Datagram, DatagramKind
from jharnet_monitor.probes.bandwidth.udp_stream import (
    LATE_SECONDS,
    StreamCount,
    StreamPlan,
    rows_from_json,
)

START = 100.0
"""When the stream begins, by the clock of the line."""
Pause = tuple[float, float]
"""When the sender pauses, in seconds since the start of the stream, and for how long."""


def rows_over(
    line: Mapping[str, Any], plan: StreamPlan, pauses: Sequence[Pause] = (), seed: int = 5
) -> list[StreamRow]:
    """The receiver's rows of a stream over a line of the lab.

    As that of the probe, the sender makes up for a short pause and skips what was due in a long
    one. `pauses` are in order.
    """
    pipe = Pipe("line", LinkDirection.model_validate(line), seed=seed)
    count, number, due, busy_until, left = StreamCount(plan.spacing), 0, 0.0, 0.0, list(pauses)
    for phase in plan.phases:
        end = due + phase.seconds
        while due < end:
            while left and left[0][0] <= max(due, busy_until):
                begin, length = left.pop(0)
                busy_until = max(busy_until, begin) + length
            if busy_until - due > LATE_SECONDS:
                due, end = busy_until, max(end, busy_until)
            sent = max(due, busy_until)
            arrived = pipe.admit(START + sent, plan.ip_bytes)
            if arrived >= 0:
                sent_us = round(sent * 1e6)
                count.add(Datagram(DatagramKind.STREAM, number, sent_us, arrived))
            number, due = number + 1, due + plan.ip_bytes * 8 / phase.rate
    return rows_from_json(count.to_json(), number)
