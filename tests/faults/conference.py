"""A hundred misbehaving peers in a row: each call ends with a cause, and the next one works.

Every second of them is followed by a good call. At the end no task, socket or thread is left, and
the memory has not grown.

    python tests/faults/conference.py [--quick] [--json FILE]
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from jharnet_monitor.probes.base import AgentContext, AgentTask, Channel, ChannelClosed
from jharnet_monitor.probes.conference.agent import agent_task
from jharnet_monitor.profiles import rung
from jharnet_monitor.rtc.call import Call
from tests.bench.marks import Row, arguments, at_most, finish, note
from tests.call_support import LoopbackAgent, call, sends_no_media

SECONDS = 1.0
FOREIGN = ("224.0.0.1", "0.0.0.0", "255.255.255.255", "127.0.0.9")  # noqa: S104 - never bound
PAGE = os.sysconf("SC_PAGE_SIZE")


async def disconnects(channel: Channel, params: Mapping[str, Any], context: AgentContext) -> None:
    """Disconnect during the call."""
    half = asyncio.create_task(agent_task(channel, params, context))
    await asyncio.sleep(0.6)
    half.cancel()
    await asyncio.wait({half})


async def disconnects_at_once(
    channel: Channel, params: Mapping[str, Any], context: AgentContext
) -> None:
    """Accept the request and disconnect at once."""


async def sends_invalid_messages(
    channel: Channel, params: Mapping[str, Any], context: AgentContext
) -> None:
    """Send an invalid offer and an unknown message."""
    await channel.send({"type": "offer", "sdp": "v=0\r\nm=audio"})
    await channel.send({"type": "song", "text": "la"})


async def offers_foreign_addresses(
    channel: Channel, params: Mapping[str, Any], context: AgentContext
) -> None:
    """Offer only addresses of other hosts."""
    async with Call("127.0.0.1", rung("audio")) as there:
        offer = await there.offer()
    others = "".join(f"a=candidate:1 1 udp 1 {host} 5000 typ host\r\n" for host in FOREIGN)
    kept = [line for line in offer.splitlines(keepends=True) if "candidate" not in line]
    await channel.send({"type": "offer", "sdp": "".join(kept) + others})
    with contextlib.suppress(ChannelClosed):
        while True:
            await channel.receive()


async def floods(channel: Channel, params: Mapping[str, Any], context: AgentContext) -> None:
    """Hold the call, and flood headquarters' port with datagrams."""
    half = asyncio.create_task(agent_task(channel, params, context))
    await asyncio.sleep(0.3)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        for _ in range(40):
            for _ in range(300):
                udp.sendto(os.urandom(40), ("127.0.0.1", 40000))
            await asyncio.sleep(0.005)
    await half


async def reports_a_failure(
    channel: Channel, params: Mapping[str, Any], context: AgentContext
) -> None:
    """Read the answer, then report a failure with a very long detail."""
    half = asyncio.create_task(agent_task(channel, params, context))
    await asyncio.sleep(0.15)
    half.cancel()
    await asyncio.wait({half})
    try:
        await channel.send({"type": "failed", "cause": "no_route", "detail": "x" * 5000})
    except ChannelClosed:
        return


PEERS: Mapping[str, AgentTask] = {
    "disconnects": disconnects,
    "disconnects at once": disconnects_at_once,
    "sends invalid messages": sends_invalid_messages,
    "offers foreign addresses": offers_foreign_addresses,
    "sends no media": sends_no_media,
    "floods": floods,
    "reports a failure": reports_a_failure,
}


def resources() -> dict[str, float]:
    """The resources that this process holds now."""
    gc.collect()
    return {
        "tasks": len(asyncio.all_tasks()),
        "threads": threading.active_count(),
        "sockets": sum(entry.is_socket() for entry in Path("/proc/self/fd").iterdir()),
        "memory": int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 1e6,
    }


async def rows(calls: int) -> list[Row]:
    """Hold calls with `calls` bad peers, every second one followed by a call that must succeed."""
    failed, causes = 0, Counter[str]()
    before: dict[str, float] = {}
    names = list(PEERS)
    for number in range(calls):
        if number == min(20, calls // 2):
            before = resources()  # after each peer has occurred at least once
        name = names[number % len(names)]
        result = await call(LoopbackAgent(PEERS[name]), seconds=SECONDS, profile="audio")
        cause = "none" if result.error is None else result.error.cause.value
        causes[f"{name}: {cause}"] += 1
        if number % 2:
            result = await call(LoopbackAgent(), seconds=SECONDS, profile="audio")
            failed += result.error is not None
    after = resources()
    return [
        at_most("good calls that failed", failed, 0, "calls"),
        at_most("bad peers without a cause", causes_missing(causes), 0, "calls"),
        *(note(what, count, "calls") for what, count in sorted(causes.items())),
        *(
            at_most(f"{what} more at the end", after[what] - before[what], most, unit)
            for what, most, unit in (
                ("tasks", 0, ""), ("sockets", 0, ""), ("threads", 2, ""), ("memory", 8, "MB"),
            )
        ),
    ]  # fmt: skip


def causes_missing(causes: Mapping[str, int]) -> int:
    """Calls with bad peers that had no error."""
    return sum(count for what, count in causes.items() if what.endswith(": none"))


def main() -> int:
    """Hold calls with a hundred bad peers, or with twenty (`--quick`)."""
    options = arguments(__doc__)
    calls = 20 if options.quick else 100
    return finish(f"{calls} bad peers in a row", asyncio.run(rows(calls)), options)


if __name__ == "__main__":
    sys.exit(main())
