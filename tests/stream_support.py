"""Paced streams over an emulated line, without a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jharnet_monitor.judge.line.paced_stream import StreamRow
from jharnet_monitor.lab.pipe import Pipe
from jharnet_monitor.lab.spec import LinkDirection
from jharnet_monitor.probes.bandwidth.udp_socket import Datagram, DatagramKind
from jharnet_monitor.probes.bandwidth.udp_stream import StreamCount, StreamPlan, rows_from_json


def rows_over(line: Mapping[str, Any], plan: StreamPlan) -> list[StreamRow]:
    """The receiver's rows of a stream over a line of the lab."""
    pipe = Pipe("line", LinkDirection.model_validate(line), seed=5)
    count, number, due = StreamCount(plan.spacing), 0, 100.0
    for phase in plan.phases:
        end = due + phase.seconds
        while due < end:
            arrived = pipe.admit(due, plan.ip_bytes)
            if arrived >= 0:
                sent = round((due - 100.0) * 1e6)
                count.add(Datagram(DatagramKind.STREAM, number, sent, arrived))
            number, due = number + 1, due + plan.ip_bytes * 8 / phase.rate
    return rows_from_json(count.to_json(), number)
