"""One end of many simultaneous calls, run by `conference.py` as a separate process.

    python tests/bench/conference_subject.py hub|agents CALLS SECONDS ADDRESS

The hub's end prints one JSON object: its CPU share while all calls ran, its memory, and the grade,
the loss and the event loop's lag of each call.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.probes.base import AgentContext
from jharnet_monitor.probes.conference.agent import agent_task
from tests.call_support import Result, StreamAgent, StreamChannel, call

PORT = 9790
_STAGGER = 0.1
"""Seconds between the starts of two calls, as in a drill."""


async def hub(calls: int, seconds: float, address: str) -> dict[str, Any]:
    """Hold all calls at the same time and return the hub's results."""
    dialled: list[StreamChannel] = []
    complete = asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        dialled.append(StreamChannel(reader, writer))
        if len(dialled) == calls:
            complete.set()

    async def one(number: int, channel: StreamChannel) -> Result:
        await asyncio.sleep(number * _STAGGER)
        return await call(StreamAgent(channel), seconds=seconds)

    async def steady() -> float:
        """The CPU share from the start of the last call until the first one ends."""
        await asyncio.sleep(calls * _STAGGER + 1)
        cpu, started = time.process_time(), time.monotonic()
        await asyncio.sleep(seconds - calls * _STAGGER - 2)
        return (time.process_time() - cpu) / (time.monotonic() - started)

    server = await asyncio.start_server(accept, address, PORT)
    print("listening", flush=True)
    await complete.wait()
    results, share = await asyncio.gather(
        asyncio.gather(*(one(number, channel) for number, channel in enumerate(dialled))), steady()
    )
    server.close()
    return {
        "cpu": share,
        "memory": most_memory(),
        "calls": [
            {
                "error": str(result.error) if result.error else None,
                "grade": result.values.get("grade"),
                "loss": max(
                    result.conditions.get(f"{way}_wire_loss_ratio", 1.0) for way in ("down", "up")
                ),
                "lag": result.conditions.get("hub_loop_lag_seconds"),
            }
            for result in results
        ],
    }


def most_memory() -> int:
    """Peak memory in bytes of this process only (`ru_maxrss` includes that of its parent)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the kernel does not report VmHWM")


async def agents(calls: int, address: str) -> None:
    """Take part in all calls."""

    async def one(number: int) -> None:
        channel = StreamChannel(*await asyncio.open_connection(address, PORT))
        params = await channel.receive()
        context = AgentContext(f"o{number}", SystemClock(), f"https://{address}:{PORT}", None)
        await agent_task(channel, params, context)

    await asyncio.gather(*(one(number) for number in range(calls)))


def main() -> None:
    """Run the end that the command line names."""
    side, calls, seconds, address = sys.argv[1:]
    if side == "hub":
        print(json.dumps(asyncio.run(hub(int(calls), float(seconds), address))))
    else:
        asyncio.run(agents(int(calls), address))


if __name__ == "__main__":
    main()
