"""Speed tests in whose paced streams one end stands still once.

Loss-free lines of the lab with 4 Mbit/s to the office, and 0.4 to 10 Mbit/s from it (logarithmic,
drawn at random), 15 ms each way and a queue of 200 ms. Each is tested once with a pause of the
senders of both paced streams, and once with one of their receivers. It lasts 0.06 to 0.25 s and
begins within the fast part. The paced stream is sent whether or not TCP leaves a doubt.

    python -m tests.bench.bandwidth_pauses [--quick] [--json FILE] [--seed N]

Needs root (for the lab). It takes five minutes.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from unittest.mock import patch

from jharnet_monitor.lab import Lab
from jharnet_monitor.model import Direction
from jharnet_monitor.probes.bandwidth import throughput_test, udp_agent, udp_hub, udp_stream
from jharnet_monitor.probes.bandwidth.udp_socket import Datagram, DatagramSocket
from jharnet_monitor.probes.bandwidth.udp_stream import SentStream, StreamCount, StreamPlan
from tests.bandwidth_support import OFFICE, Result, over_lab, settings
from tests.bench.marks import Row, arguments, at_most, finish, note

PREFIX = "jhnbwp"
DOWN = 4.0
SHORTEST, LONGEST = 0.06, 0.25


@contextmanager
def paused_senders(share: float, seconds: float) -> Iterator[None]:
    """A sender stands still once, after this share of its fast part."""
    send = udp_stream.send_stream

    async def paused(sock: DatagramSocket, plan: StreamPlan) -> SentStream:
        light, full = plan.phases
        begin = light.seconds + share * full.seconds
        asyncio.get_running_loop().call_later(begin, time.sleep, seconds)
        return await send(sock, plan)

    agent, hub = (patch.object(module, "send_stream", paused) for module in (udp_agent, udp_hub))
    with agent, hub:
        yield


@contextmanager
def paused_receivers(share: float, seconds: float) -> Iterator[None]:
    """A receiver stands still once, after this share of a second from the first fast datagram."""
    add, stalled = StreamCount.add, set[int]()

    def paused(self: StreamCount, datagram: Datagram) -> None:
        add(self, datagram)
        first = id(self) not in stalled and datagram.delay > (0.5 + share) * 1e6
        if first:
            stalled.add(id(self))
            asyncio.get_running_loop().call_soon(time.sleep, seconds)

    with patch.object(StreamCount, "add", paused):
        yield


def tested(up: float, pause: AbstractContextManager[None]) -> Result:
    """What a test gives."""
    way = {"delay": "15ms", "queue": "200ms"}
    ways = {"down": {**way, "rate": f"{DOWN} Mbit/s"}, "up": {**way, "rate": f"{up} Mbit/s"}}
    spec = {"congestion_control": "bbr", "offices": {OFFICE: ways}}
    doubted = patch.object(throughput_test, "needs_paced_stream", lambda *_: True)
    with Lab.start(spec, PREFIX) as lab, doubted, pause:
        return over_lab(lab, settings(f"{DOWN} Mbit/s", f"{up} Mbit/s"))[0]


def rows(name: str, results: list[tuple[float, Result]]) -> list[Row]:
    """What they say together."""
    known = [(up, result) for up, result in results if result.error is None]
    errors, marked, wrong = [0.0], 0, 0
    for up, result in known:
        for way, truth in ((Direction.DOWN, DOWN * 1e6), (Direction.UP, up * 1e6)):
            rate = f"{way.transfer}_bits_per_second"
            errors.append(100 * abs(result.values[rate] / truth - 1))
            low, high = result.values[f"{rate}_low"], result.values.get(f"{rate}_high", math.inf)
            marked += f"{way.transfer}_limited_by" in result.conditions
            wrong += not low <= truth <= high
    return [
        note(f"{name}: tests", len(results), "tests"),
        note("  no data", len(results) - len(known), "tests"),
        note("  directions", 2 * len(known), "directions"),
        at_most("  largest error", max(errors), 3.0, "%"),
        at_most("  marked", marked, 0.05 * 2 * len(known), "directions"),
        at_most("  line's rate outside the interval", wrong, 0.05 * 2 * len(known), "directions"),
    ]


def main() -> int:
    """Test 24 lines, or four (`--quick`)."""
    options = arguments(__doc__)
    chance = random.Random(options.seed)
    senders, receivers = [], []
    for _ in range(4 if options.quick else 24):
        up = float(f"{0.4 * 25 ** chance.random():.3g}")
        share, seconds = chance.random(), chance.uniform(SHORTEST, LONGEST)
        senders.append((up, tested(up, paused_senders(share, seconds))))
        receivers.append((up, tested(up, paused_receivers(share, seconds))))
    found = [*rows("the sender pauses", senders), *rows("the receiver pauses", receivers)]
    return finish("Speed tests with a pause of an end", found, options)


if __name__ == "__main__":
    raise SystemExit(main())
