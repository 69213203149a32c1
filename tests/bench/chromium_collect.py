"""Measures the truth: each condition in a real call of two Chromiums, two or three at a time.

    python tests/bench/chromium_collect.py [--part NAME] [--again N] [--raw DIR]

It continues where it stopped, and repeats calls in which the CPU limited Chromium. All conditions
take about 100 minutes. Needs root, and a machine that is otherwise idle.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import socket
import struct
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, get_args

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from jharnet_monitor.lab import HEADQUARTERS, Lab
from jharnet_monitor.lab.namespaces import inside
from tests.bench.chromium_call import Pair, pair
from tests.bench.chromium_conditions import Condition, Part, conditions
from tests.bench.chromium_fresh import fresh
from tests.bench.chromium_hard import hard_links, held_links
from tests.bench.chromium_pairs import hard_pairs
from tests.bench.chromium_truth import Run, Truths, read_run
from tests.lab_support import Stream, keep_only, simultaneous_streams, udp_socket

PREFIX = "jhnchr"
TRUTH = Path(__file__).with_name("chromium_truth.json")
HARD_TRUTH = TRUTH.with_name("chromium_hard.json")
SERIES = TRUTH.with_name("chromium_hard_series.jsonl")
"""One line a call of a hard link: what each end received (`down` at the office) and sent."""
HARD: tuple[Part, ...] = ("hard", "held", "changed")
SERIES_STEP = 4
"""Seconds from row to row."""
WINDOW = 30.0
WARM_UP, LONG_WARM_UP = 30.0, 65.0
"""Seconds; the longer one for links on which Chromium's rate rises slowly."""
ATTEMPTS = 3
ROOM, WIDE = 6, 3
"""What this computer can run at once, and what a call of full 720p takes of it; a narrow one takes
2. On a computer that others use as well, `--room 4 --wide 4` holds one wide call or two narrow."""
NARROW_TAKES = 2
CROSS_SIZE = 800


class Room:
    """A limit on what runs at once; waiting calls start in turn."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._changed = asyncio.Condition()
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def taken(self, share: int) -> AsyncIterator[None]:
        """Take a share of the room."""
        async with self._turn, self._changed:
            await self._changed.wait_for(lambda: self._free >= share)
            self._free -= share
        try:
            yield
        finally:
            async with self._changed:
                self._free += share
                self._changed.notify_all()


def shape(lab: Lab, office: str, condition: Condition) -> None:
    """Set the office's link to that of the condition."""
    for direction, wanted in (("down", condition.down), ("up", condition.upwards)):
        lab.set(office, f"{direction}.jitter", "0ms")
        policed: dict[str, Any] = {}
        if wanted["bucket"] is not None:  # the bucket's rate takes the place of the line's
            bucket = {"rate": wanted["rate"], "size": wanted["bucket"]}
            policed = {"rate": None, "bucket": bucket}
        for key in ("delay", "rate", "queue", "loss", "jitter", "bucket"):
            lab.set(office, f"{direction}.{key}", json.dumps((dict(wanted) | policed)[key]))


@asynccontextmanager
async def disturbed(
    lab: Lab, office: str, condition: Condition, seconds: float
) -> AsyncIterator[None]:
    """Blackouts and other traffic of the condition, until the block ends."""

    async def black_out(gone: float, every: float) -> None:
        while True:
            await asyncio.sleep(every - gone)
            lab.cut(office)
            try:
                await asyncio.sleep(gone)
            finally:
                lab.restore(office)

    with contextlib.ExitStack() as stack:
        if condition.cross:
            stack.enter_context(_others(lab, office, condition.cross, seconds))
        if condition.elastic:
            stack.enter_context(transfers(lab, office, *condition.elastic))
        task = asyncio.create_task(black_out(*condition.blackout)) if condition.blackout else None
        try:
            yield
        finally:
            if task is not None:
                task.cancel()
                await asyncio.wait({task})


@contextlib.contextmanager
def _others(lab: Lab, office: str, megabits: float, seconds: float) -> Iterator[None]:
    port = 7000 + lab.layout.number(office)
    ends = {where: udp_socket(lab, where, port) for where in (HEADQUARTERS, office)}
    streams = [
        Stream(ends[source], (lab.addresses(target).pc, port), megabits * 1e6, CROSS_SIZE)
        for source, target in ((HEADQUARTERS, office), (office, HEADQUARTERS))
    ]
    try:
        with simultaneous_streams(streams, seconds, priority=10):
            yield
    finally:
        for end in ends.values():
            end.close()


@contextlib.contextmanager
def transfers(lab: Lab, office: str, way: str, on: float, off: float) -> Iterator[None]:
    """A TCP transfer that runs and pauses in turn."""
    target, source = (office, HEADQUARTERS) if way == "down" else (HEADQUARTERS, office)
    address = (lab.addresses(target).pc, 7500 + lab.layout.number(office))
    with lab.inside(target):
        listener = socket.create_server(("", address[1]))
    workers = [
        get_context("fork").Process(target=_swallow, args=(listener,)),
        get_context("fork").Process(
            target=_transfer, args=(lab.namespace(source), address, on, off)
        ),
    ]
    for worker in workers:
        worker.start()
    listener.close()
    try:
        yield
    finally:
        for worker in workers:
            worker.kill()
            worker.join()


def _swallow(listener: socket.socket) -> None:
    """Receive everything that is sent to the listener, one connection after another."""
    keep_only([listener.fileno()])
    while True:
        connection, _ = listener.accept()
        with contextlib.suppress(OSError):
            while connection.recv(1 << 16):
                pass
        connection.close()


def _transfer(namespace: str, address: tuple[str, int], on: float, off: float) -> None:
    """Send for `on` seconds as fast as TCP does, pause for `off`, and so on."""
    keep_only()
    linger = struct.pack("ii", 1, 0)
    while True:
        with contextlib.suppress(OSError), inside(namespace):
            sender = socket.create_connection(address, timeout=10)
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            sender.settimeout(0.5)
            end = time.monotonic() + on
            while time.monotonic() < end:
                with contextlib.suppress(TimeoutError):
                    sender.send(bytes(1 << 14))
            sender.close()
        time.sleep(off)


async def one(lab: Lab, office: str, ends: Pair, condition: Condition) -> dict[str, object]:
    """Run the call of one condition."""
    shape(lab, office, condition)
    warm_up = LONG_WARM_UP if condition.narrow else WARM_UP
    async with disturbed(lab, office, condition, warm_up + WINDOW + 20):
        return await ends.call(warm_up, WINDOW)


def keep_series(name: str, result: Mapping[str, Any]) -> None:
    """Add how the clients adapted during a call, every `SERIES_STEP` s, to the file of series."""
    if not result["connected"]:
        return
    line: dict[str, Any] = {"name": name}
    for end in ("down", "up"):
        rows = result[end]["series"][::SERIES_STEP]
        start = result[end]["series"][0]["at"]
        line[end] = {
            key: [_short(row.get(key), start if key == "at" else 0.0) for row in rows]
            for key in rows[-1]
        }
    with SERIES.open("a") as file:
        file.write(json.dumps(line, separators=(",", ":")) + "\n")


def _short(value: Any, start: float) -> Any:
    return float(f"{value - start:.7g}") if isinstance(value, int | float) else value


async def lane(
    lab: Lab,
    office: str,
    work: list[Condition],
    truths: Truths,
    room: Room,
    options: argparse.Namespace,
) -> None:
    """Run conditions until none is left."""
    with tempfile.TemporaryDirectory(prefix="jhnchr-") as scratch:
        async with pair(lab, office, Path(scratch), options.nice) as ends:
            truths.chromium = ends.here.version
            while work:
                condition = work.pop(0)
                for _ in range(ATTEMPTS):
                    try:
                        async with room.taken(options.wide if condition.heavy else NARROW_TAKES):
                            result = await one(lab, office, ends, condition)
                    except (
                        Exception
                    ) as error:  # a page that failed is no truth; go on with the next
                        print(f"{condition.name}: {error}", file=sys.stderr)
                        break
                    run = read_run(result)
                    if options.raw:
                        number = len(truths.runs.get(condition.name, ()))
                        name = f"{condition.name}.{number}.json".replace("/", "_")
                        (options.raw / name).write_text(json.dumps(result))
                    if run.valid:
                        truths.add(condition.name, run)
                        if condition.part in HARD:
                            keep_series(condition.name, result)
                        print(condition.name, run.grade(), run, flush=True)
                        break
                    print(f"{condition.name}: this computer was too slow: {run}", flush=True)


def wanted(runs: Sequence[Run], again: int, hard: bool) -> bool:
    """Whether a condition needs one more call: of hard links a third one where two differ."""
    differ = hard and len(runs) == 2 and len({run.grade() for run in runs}) > 1
    return len(runs) < again + differ


async def collect(options: argparse.Namespace) -> None:
    """Measure all conditions that are missing."""
    hard = options.part in HARD
    truths = Truths(options.truth or (HARD_TRUTH if hard else TRUTH))
    links = conditions() + fresh()
    if hard:
        links = hard_links() + held_links() + [pair.after for pair in hard_pairs()]
    work = [
        condition
        for condition in links[options.skip :]
        if wanted(truths.runs.get(condition.name, ()), options.again, hard)
        and (not options.only or options.only in condition.name)
        and options.part in (None, condition.part)
    ]
    room = Room(options.room)
    if not hard:
        work.sort(key=lambda condition: (condition.part, condition.heavy))
    lanes = [f"c{number}" for number in range(options.lanes)]
    with Lab.start({"offices": {office: {} for office in lanes}}, PREFIX) as lab:
        await asyncio.gather(*(lane(lab, office, work, truths, room, options) for office in lanes))


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--truth", type=Path, metavar="FILE", help="else that of the part")
    parser.add_argument("--skip", type=int, default=0, metavar="N", help="leave out the first N")
    parser.add_argument("--room", type=int, default=ROOM, help="what may run at once")
    parser.add_argument("--wide", type=int, default=WIDE, help="what a call of 720p takes of it")
    parser.add_argument("--again", type=int, default=1, metavar="N", help="calls a condition")
    parser.add_argument("--only", default="", metavar="TEXT", help="conditions named like this")
    parser.add_argument("--part", choices=get_args(Part), help="only these; else all")
    parser.add_argument("--lanes", type=int, default=3, help="calls at a time")
    parser.add_argument("--nice", type=int, default=-10, help="priority of the browsers")
    parser.add_argument("--raw", type=Path, metavar="DIR", help="keep all statistics there")
    asyncio.run(collect(parser.parse_args()))


if __name__ == "__main__":
    main()
