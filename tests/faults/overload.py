"""More of everything than the hub can handle: memory stays bounded, healthy offices are measured.

A hub with eight offices whose agents hand in. Against it: idle connections by the thousand, slow
writers and slow readers on every kind of address, a thousand agents that connect at once, and
programs that take the CPU. Meanwhile the echo requests must continue, the sessions of the healthy
offices must stay, another address must get its pages, and no line may be blamed: a measurement over
loopback is without loss, or it is `no_data`.

    python -m tests.faults.overload [--quick] [--json FILE]
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.model import Outcome, Route
from jharnet_monitor.security.connections import MOST_OF_AN_ADDRESS, allow_descriptors
from jharnet_monitor.store import Store
from tests.bench.marks import Row, arguments, at_most, finish, note
from tests.faults.host import BUSY
from tests.faults.installation import TOKEN, Installation, Ledger, Swarm
from tests.faults.storage import sent_packets

ADDRESSES = ("/", "/office/o0", "/reports", "/metrics", "/-/ready", "/api/v1/offices",
             "/api/v1/measurements?office=o0", "/api/v1/openapi.json", "/help/metrics")  # fmt: skip
GROWTH_MB = 150.0


@dataclass(frozen=True)
class Scale:
    """The size of each load."""

    idle: int = 10_000
    agents: int = 1000
    slow: int = 300
    seconds: float = 30.0


QUICK = Scale(1500, 200, 60, 4.0)


@dataclass
class Watcher:
    """The hub as a healthy user sees it, and the resources that it uses."""

    one: Installation
    pause: float = 0.0
    """The longest time in which the count of echo requests did not grow."""
    answer: float = 0.0
    """The longest time until a page was there."""
    unanswered: int = 0
    peak: float = 0.0
    """Resident memory, MB."""
    rows: list[Row] = field(default_factory=list)

    def memory(self) -> float:
        """Resident memory of the hub now, MB."""
        assert self.one.process is not None
        text = Path(f"/proc/{self.one.process.pid}/status").read_text("ascii")
        return int(text.partition("VmRSS:")[2].split()[0]) / 1024

    def descriptors(self) -> int:
        """Open files and connections of the hub now."""
        assert self.one.process is not None
        return len(list(Path(f"/proc/{self.one.process.pid}/fd").iterdir()))

    @asynccontextmanager
    async def during(self, name: str) -> AsyncIterator[None]:
        """Watch while something runs, and add what was seen."""
        self.pause = self.answer = 0.0
        self.unanswered, before = 0, self.memory()
        self.peak = before
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        self.rows += [
            at_most(f"{name}: memory grew by", self.peak - before, GROWTH_MB, "MB"),
            at_most(f"{name}: longest pause of echo requests", self.pause, 3.0, "s"),
            note(f"{name}: slowest page for others", self.answer, "s"),
            at_most(f"{name}: pages not answered", self.unanswered, 0, ""),
        ]

    async def _watch(self) -> None:
        """Ask for metrics and page, from an address of its own."""
        connector = aiohttp.TCPConnector(local_addr=("127.0.0.77", 0))
        timeout = aiohttp.ClientTimeout(total=60)
        sent, moved = -1.0, time.monotonic()
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
            while True:
                began = time.monotonic()
                try:
                    async with http.get(f"{self.one.http}/metrics") as answer:
                        count = sent_packets(await answer.text())
                    async with http.get(f"{self.one.http}/") as answer:
                        self.unanswered += answer.status != 200
                except (aiohttp.ClientError, TimeoutError):
                    self.unanswered += 1
                now = time.monotonic()
                self.answer = max(self.answer, now - began)
                if count > sent:
                    sent, moved = count, now
                # The requests of a window of 2 s are counted together, at its end.
                self.pause = max(self.pause, now - moved - 2.0)
                self.peak = max(self.peak, self.memory())
                await asyncio.sleep(0.3)


async def opened(one: Installation, source: str, request: bytes) -> asyncio.StreamWriter | None:
    """A connection from an address of loopback, with a request or part of one; None if refused."""
    try:
        async with asyncio.timeout(60):
            _, writer = await asyncio.open_connection(
                "127.0.0.1", one.port, local_addr=(source, 0), limit=1024
            )
            writer.write(request)
            return writer
    except (OSError, TimeoutError):
        return None


async def idle(one: Installation, number: int) -> list[asyncio.StreamWriter]:
    """Idle connections from one address, in groups."""
    found: list[asyncio.StreamWriter] = []
    for start in range(0, number, 200):
        some = await asyncio.gather(
            *(opened(one, "127.0.0.66", b"") for _ in range(start, min(number, start + 200)))
        )
        found += [writer for writer in some if writer is not None]
    return found


async def slow_writers(one: Installation, number: int, seconds: float) -> None:
    """Requests of which a byte comes each second, as a header or as a body."""
    head = b"POST /signin HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\ntoken="
    writers = [
        await opened(one, f"127.2.0.{1 + n % 50}", head if n % 2 else b"GET /reports HTTP/1.1\r\n")
        for n in range(number)
    ]
    for _ in range(int(seconds)):
        for writer in writers:
            if writer is not None and not writer.is_closing():
                writer.write(b"x")
        await asyncio.sleep(1)
    close(writers)


async def slow_readers(one: Installation, number: int, seconds: float) -> None:
    """Clients that send twenty requests and read nothing."""
    writers = []
    for n in range(number):
        request = f"GET {ADDRESSES[n % len(ADDRESSES)]} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        writer = await opened(one, f"127.3.0.{1 + n % 50}", request * 20)
        if writer is not None:
            writer.transport.pause_reading()  # type: ignore[attr-defined]
        writers.append(writer)
    await asyncio.sleep(seconds)
    close(writers)


def close(writers: list[asyncio.StreamWriter] | list[asyncio.StreamWriter | None]) -> None:
    """Close connections at once."""
    for writer in writers:
        if writer is not None:
            writer.transport.abort()


async def agents_at_once(one: Installation, number: int) -> tuple[int, float]:
    """Agents of unknown offices that dial in at the same moment; answers, and the seconds."""
    request = (
        b"GET /agent?office=%s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nAuthorization: Bearer %s\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )

    async def dial(n: int) -> bool:
        token = TOKEN if n % 2 else "wrong"
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(60):
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", one.port, local_addr=(f"127.4.{n // 250}.{1 + n % 250}", 0)
                )
                writer.write(request % (f"block{n}".encode(), token.encode()))
                answered = (await reader.readline()).startswith(b"HTTP/1.1 401")
                writer.transport.abort()
                return answered
        return False

    began = time.monotonic()
    answers = await asyncio.gather(*map(dial, range(number)))
    return sum(answers), time.monotonic() - began


async def cpu_taken(seconds: float) -> None:
    """Six programs that compute without pause."""
    busy = [await asyncio.create_subprocess_exec(sys.executable, "-c", BUSY, str(seconds))
            for _ in range(6)]  # fmt: skip
    await asyncio.gather(*(one.wait() for one in busy))


def blamed(one: Installation) -> tuple[int, int, int]:
    """Measurements of the hub over loopback: blamed on the line, `no_data`, and all."""
    store = Store(f"sqlite:///{one.directory}/monitor.db", SystemClock())
    found = store.measurements(probe="latency", path=Route.JHARNET)
    store.close()
    wrong = [m for m in found if m.outcome is Outcome.FAILED or m.values.get("loss_ratio", 0) > 0]
    for measurement in wrong[:5]:
        print(measurement, file=sys.stderr)
    return len(wrong), sum(m.outcome is Outcome.NO_DATA for m in found), len(found)


async def overload_rows(scale: Scale, directory: Path) -> list[Row]:
    """All loads, one after the other."""
    one = Installation(directory / "installation", "sqlite:///monitor.db", 8, logs=directory)
    ledger, watcher = Ledger(), Watcher(one)
    async with AsyncExitStack() as stack:
        stack.callback(one.kill)
        one.start()
        await one.until_ready()
        swarm = Swarm(one, ledger, one.offices)
        swarm.pause = 0.5
        await stack.enter_async_context(swarm.working())
        await asyncio.sleep(5.0)
        before, descriptors = watcher.memory(), watcher.descriptors()
        async with watcher.during(f"{scale.idle} idle connections"):
            connections = await idle(one, scale.idle)
            await asyncio.sleep(scale.seconds / 2)
            held = watcher.descriptors() - descriptors
            close(connections)
        async with watcher.during(f"{scale.slow} slow writers"):
            await slow_writers(one, scale.slow, scale.seconds)
        async with watcher.during(f"{scale.slow} slow readers"):
            await slow_readers(one, scale.slow, scale.seconds)
        async with watcher.during(f"{scale.agents} agents at once"):
            answered, took = await agents_at_once(one, scale.agents)
        async with watcher.during("CPU taken by six programs"):
            await cpu_taken(scale.seconds)
        acknowledged = len(ledger.acknowledged)
        await asyncio.sleep(3.0)
        going_on = len(ledger.acknowledged) - acknowledged
        memory, lost = watcher.memory(), swarm.lost
        await one.stop()
    wrong, without, every = blamed(one)
    return [
        note("memory before", before, "MB"),
        *watcher.rows,
        at_most("descriptors that idle connections take", held, MOST_OF_AN_ADDRESS + 20, ""),
        at_most("agents at once: not answered", scale.agents - answered, 0, ""),
        note("agents at once: all answered after", took, "s"),
        at_most("memory afterwards more by", memory - before, GROWTH_MB, "MB"),
        at_most("offices that hand in no more", float(going_on == 0), 0, ""),
        at_most("sessions of healthy offices that were lost", lost, 0, "sessions"),
        at_most("measurements that blame a line", wrong, 0, f"of {every}"),
        note("measurements that are no_data", without, f"of {every}"),
    ]


def main() -> int:
    """Run it, smaller with `--quick`."""
    options = arguments(__doc__)
    allow_descriptors(20_000)
    directory = Path(tempfile.mkdtemp(prefix="jhn-overload-"))
    try:
        rows = asyncio.run(overload_rows(QUICK if options.quick else Scale(), directory))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return finish("Overload", rows, options)


if __name__ == "__main__":
    sys.exit(main())
