"""Strangers' inputs, a million of them: nothing may crash, hang, answer 5xx, or let anybody in.

    python tests/faults/fuzz.py [--part NAME] [--keep FILE] [--quick] [--seed N] [--json FILE]

Parts: HTTP by the hub's own OpenAPI description and sessions of agents, both at a hub that runs;
frames of sessions, session descriptions, RTP, RTCP, SNMP answers, configurations and dossiers, as
the code receives them. Inputs are valid ones that were changed at random; each slice of a part has
its own seed. With `--keep FILE` a run continues where the last one ended, part by part.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import signal
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import aiohttp

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.config.load import load_config
from jharnet_monitor.config.routers import Snmp
from jharnet_monitor.dossier.archive import WORKING, Reader
from jharnet_monitor.dossier.verify import verify
from jharnet_monitor.errors import UserError
from jharnet_monitor.probes.base import ChannelClosed, NoData
from jharnet_monitor.probes.utilisation import snmp
from jharnet_monitor.wire.intake import read_batch, read_features, read_vitals
from jharnet_monitor.wire.protocol import Channels, ProtocolError, decode
from tests.bench.marks import Row, at_most, finish, note, parser, within
from tests.dossier_support import filed
from tests.faults import fuzz_hub, fuzz_media
from tests.faults.fuzz_inputs import changed, changed_text
from tests.faults.fuzz_router import ChangedRouter

LONGEST = 10.0
"""Seconds that one input may take; this machine may be busy with other things."""
LONGEST_DOSSIER = 300.0
"""One that is sound has all its papers typeset again."""
NOW = datetime(2026, 11, 25, 7, tzinfo=UTC)


@dataclass(slots=True)
class Tally:
    """The outcomes of the inputs of a part."""

    inputs: int = 0
    slices: int = 0
    crashes: int = 0
    hangs: int = 0
    server_errors: int = 0
    let_in: int = 0
    seconds: float = 0.0
    examples: list[str] = field(default_factory=list)

    def note(self, kind: str, example: str) -> None:
        """Count a fault, and keep one of its kind to look at."""
        setattr(self, kind, getattr(self, kind) + 1)
        if len(self.examples) < 20:
            self.examples.append(f"{kind}: {example}"[:1500])


class Hang(BaseException):
    """An input takes too long."""


@contextmanager
def watched(tally: Tally, what: object, seconds: float = LONGEST) -> Iterator[None]:
    """Count an input, and whatever its handling raises."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise Hang

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    tally.inputs += 1
    try:
        yield
    except Hang:
        tally.note("hangs", repr(what))
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise
    except BaseException:  # a panic of Rust code is none of Python's exceptions
        tally.note("crashes", f"{traceback.format_exc()[-900:]} of {what!r}")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


Slice = Callable[[random.Random, int, Tally], Awaitable[None]]


class NoSocket:
    """A session's socket that accepts everything."""

    async def send_str(self, data: str) -> None:
        """Take it."""


async def session_frames(dice: random.Random, count: int, tally: Tally) -> None:
    """Frames as the hub reads them: decoded, dispatched, and what they hold read."""
    channels = Channels(NoSocket())
    for text in fuzz_hub.frames(dice, count):
        with watched(tally, text):
            try:
                frame = decode(text)
                if channels.take(frame, len(text)):
                    continue
                match frame["type"]:
                    case "hello":
                        read_vitals(frame)
                        read_features(frame)
                    case "heartbeat":
                        read_vitals(frame)
                    case "measurements":
                        for one in read_batch(frame, "potka", NOW).accepted:
                            json.dumps(one.to_json(), allow_nan=False)
                            if one.office != "potka":
                                tally.note("let_in", text)
            except (ProtocolError, ChannelClosed):
                pass
        if not channels._open and dice.random() < 0.1:
            channels.new()


async def descriptions(dice: random.Random, count: int, tally: Tally) -> None:
    """Session descriptions (SDP)."""
    for text in fuzz_media.descriptions(dice, count):
        with watched(tally, text):
            fuzz_media.take_description(text)


async def rtp(dice: random.Random, count: int, tally: Tally) -> None:
    """RTP packets."""
    ends = fuzz_media.RtpEnds()
    for packet in fuzz_media.rtp_packets(dice, count):
        with watched(tally, packet):
            await ends.take(packet)


async def rtcp(dice: random.Random, count: int, tally: Tally) -> None:
    """RTCP packets."""
    end = fuzz_media.RtcpEnd()
    for packet in fuzz_media.rtcp_packets(dice, count):
        with watched(tally, packet):
            await end.take(packet)


async def router(dice: random.Random, count: int, tally: Tally) -> None:
    """Answers of a router, by UDP on loopback."""
    transport, one = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: ChangedRouter(dice), local_addr=("127.0.0.1", 0)
    )
    port = transport.get_extra_info("sockname")[1]
    settings = Snmp.model_validate({"interface": "Gi0/0", "community_file": "x"})
    settings = settings.model_copy(update={"community_file": None, "port": port})
    while one.sent < count:
        before = one.sent
        with watched(tally, f"answers {before}-"):
            try:
                async with snmp.router_session(settings, "127.0.0.1", SystemClock()) as session:
                    for _ in range(10):
                        await session.read()
            except NoData:
                pass
        tally.inputs += one.sent - before - 1
    transport.close()


async def configurations(dice: random.Random, count: int, tally: Tally) -> None:
    """Configurations: each is taken, or refused in one line."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "jharnet.yaml"
        for _ in range(count):
            text = changed_text(CONFIGURATION, dice)
            path.write_bytes(text.encode("utf-8", "surrogatepass"))
            with watched(tally, text):
                try:
                    load_config(path, files=False)
                except UserError as error:
                    if "\n" in str(error):
                        tally.note("crashes", f"more than one line: {error}")


async def dossiers(dice: random.Random, count: int, tally: Tally) -> None:
    """Dossiers with changed bytes: a problem is named, or nothing in it differs."""
    with tempfile.TemporaryDirectory() as directory:
        path, right = Path(directory) / "changed.zip", _dossier()
        content = _content(right)
        for _ in range(count):
            path.write_bytes(_changed_archive(right, dice) if dice.random() < 0.5
                             else changed(right, dice) if len(right) < 60_000
                             else _changed_in_place(right, dice))  # fmt: skip
            with watched(tally, "a dossier", LONGEST_DOSSIER):
                try:
                    verdict = verify(path, None, lambda _: None)
                except UserError:
                    continue
                if not verdict.problems and (now := _content(path.read_bytes())) != content:
                    names = [name for name in content if now.get(name) != content[name]]
                    tally.note("let_in", f"a changed dossier is called sound: {names}")


def _changed_in_place(right: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(right))
    return right[:at] + changed(right[at : at + 400], dice) + right[at + 400 :]


def _changed_archive(right: bytes, dice: random.Random) -> bytes:
    """The archive with one of its files changed, and its checksums corrected."""
    files = _files(right)
    name = dice.choice(sorted(files))
    files[name] = _changed_in_place(files[name] or b"x", dice)
    with tempfile.TemporaryFile() as out:
        with zipfile.ZipFile(out, "w") as archive:
            for one, body in files.items():
                archive.writestr(one, body)
        out.seek(0)
        return out.read()


def _files(raw: bytes, without: str | None = None) -> dict[str, bytes]:
    with tempfile.TemporaryFile() as file:
        file.write(raw)
        with zipfile.ZipFile(file) as archive:
            names = [n for n in archive.namelist() if without is None or not n.startswith(without)]
            return {name: archive.read(name) for name in names}


def _content(raw: bytes) -> dict[str, bytes]:
    """The files but for the copy of the letter, which is there to be edited."""
    return _files(raw, WORKING)


_DOSSIERS: list[bytes] = []


def _dossier() -> bytes:
    """A dossier of two weeks and two offices, made once."""
    if not _DOSSIERS:
        with tempfile.TemporaryDirectory() as directory:
            out = Path(directory) / "right.zip"
            made = filed(Path(directory), 2, 14)
            made.build(out)
            made.store.close()
            _DOSSIERS.append(out.read_bytes())
            with Reader(out) as reader:
                assert not list(reader.differences())
    return _DOSSIERS[0]


async def _running_hub(tally: Tally) -> AsyncIterator[fuzz_hub.RunningHub]:
    """A hub for one slice; errors in its log, and its end, are counted."""
    with tempfile.TemporaryDirectory() as directory:
        async with fuzz_hub.hub(Path(directory)) as running:
            yield running
            if running.restart_if_gone():
                tally.note("crashes", f"the hub ended: {running.faults()[-3:]}")
        for line in running.faults():
            tally.note("crashes", line)


async def http(dice: random.Random, count: int, tally: Tally) -> None:
    """Requests over eight connections to a hub that runs."""
    requests = itertools.islice(fuzz_hub.Requests(dice), count)
    async for running in _running_hub(tally):
        clients = (_client(running.port, requests, tally) for _ in range(8))
        await asyncio.gather(*clients)


async def _client(port: int, requests: Iterator[fuzz_hub.Request], tally: Tally) -> None:
    connection = fuzz_hub.Connection(port)
    for request in requests:
        tally.inputs += 1
        try:
            status, _ = await connection.ask(request.raw, head=request.method == "HEAD")
        except (TimeoutError, ValueError):
            tally.note("hangs", repr(request))
            continue
        if status is None:
            continue
        if status >= 500 and request.path != "/-/ready":  # 503 is an answer of that
            tally.note("server_errors", f"{status} {request!r}")
        if request.must_be_refused and status < 400:
            tally.note("let_in", f"{status} {request!r}")
    connection.close()


async def agents(dice: random.Random, count: int, tally: Tally) -> None:
    """Sessions at a hub that runs, four at a time."""
    async for running in _running_hub(tally):
        async with aiohttp.ClientSession() as session:
            for _ in range(0, count, 4):
                tally.inputs += 4
                found = await asyncio.gather(
                    *(fuzz_hub.stranger_at_agent_door(session, running.port, dice)
                      for _ in range(4)), return_exceptions=True,
                )  # fmt: skip
                for one in found:
                    if isinstance(one, BaseException):
                        raise one
                    what, let_in = one
                    if let_in:
                        tally.note("let_in", what)
                    if what.startswith("HTTP 5"):
                        tally.note("server_errors", what)


CONFIGURATION = """\
district: {id: east-singhbhum, name: East Singhbhum, name_hi: पूर्वी सिंहभूम, timezone: Asia/Kolkata,
  office_hours: {days: mon-sat, from: "10:00", to: "17:30", holidays: IN-JH}}
hub:
  listen: 0.0.0.0:9797
  database: sqlite:///monitor.db
  tls: off
  accounts_file: secrets/accounts
  reading: open
  udp_ports: 40000-40199
  uplink: {contracted: 34 Mbit/s, gateway: 10.8.0.1}
probes:
  latency: {every: 60s, packets: 60, timeout: 2s}
  bandwidth: {every: 2h, retest_after: 60s, trains_every: 20min}
  conference: {at: ["11:00", "15:00"], profile: 720p, codec: vp8, seconds: 30}
budget: 300 MB
thresholds: {loss: 2%, rtt: 300ms, jitter: 40ms, delivered: 80%, grade: 3}
offices:
  - id: potka
    name: Potka
    name_hi: पोटका
    router: 10.8.3.1
    pc: 10.8.3.10
    link: {contracted: 4 Mbit/s, kind: leased-line, sla: 99.5%}
    agent: {token_hash_file: secrets/potka}
report: {languages: [hi, en], to: [dc@example.in], day: mon, at: "08:00"}
retention: {raw: 400d}
"""


@dataclass(frozen=True, slots=True)
class Part:
    """A kind of input: how many in a full run, in a quick one, and in a slice."""

    run: Slice
    inputs: int
    quick: int
    slice: int


PARTS = {
    "http": Part(http, 40_000, 500, 4_000),
    "agents": Part(agents, 4_000, 40, 500),
    "frames": Part(session_frames, 250_000, 1_000, 5_000),
    "sdp": Part(descriptions, 100_000, 500, 5_000),
    "rtp": Part(rtp, 380_000, 2_000, 10_000),
    "rtcp": Part(rtcp, 200_000, 1_000, 10_000),
    "snmp": Part(router, 10_000, 100, 500),
    "configuration": Part(configurations, 15_000, 50, 500),
    "dossier": Part(dossiers, 1_000, 2, 20),
}


async def run_part(
    name: str, seed: int, tally: Tally, *, quick: bool, save: Callable[[], None]
) -> None:
    """Run what is left of a part, slice by slice."""
    part = PARTS[name]
    wanted = part.quick if quick else part.inputs
    size = min(part.slice, wanted)
    while tally.inputs < wanted:
        dice, began = random.Random(f"{seed} {name} {tally.slices}"), time.monotonic()
        await part.run(dice, size, tally)
        tally.slices += 1
        tally.seconds += time.monotonic() - began
        save()
        print(f"{name}: {tally.inputs} of {wanted}, {tally.seconds:.0f} s", file=sys.stderr)


def rows(tallies: dict[str, Tally], *, whole: bool) -> list[Row]:
    """A row a part, and what was found."""
    faults: Counter[str] = Counter()
    for tally in tallies.values():
        for kind in ("crashes", "hangs", "server_errors", "let_in"):
            faults[kind] += getattr(tally, kind)
    total = sum(tally.inputs for tally in tallies.values())
    found = [note(f"inputs: {name}", tally.inputs, "inputs") for name, tally in tallies.items()]
    if whole:
        found.append(within("inputs in all", total, 1e6, 1e9, "inputs"))
    kinds = ("crashes", "hangs", "server_errors", "let_in")
    return found + [at_most(kind.replace("_", " "), faults[kind], 0, "inputs") for kind in kinds]


def main() -> int:
    """Run all parts, or one."""
    options = parser(__doc__)
    options.add_argument("--part", choices=tuple(PARTS), action="append", help="only this one")
    options.add_argument("--keep", type=Path, metavar="FILE", help="go on from what it holds")
    given = options.parse_args()
    tallies = {name: Tally() for name in given.part or PARTS}
    if given.keep and given.keep.exists():
        kept = json.loads(given.keep.read_text("utf-8"))
        tallies = {name: Tally(**body) for name, body in kept.items()} | {
            name: Tally(**kept.get(name, {})) for name in tallies
        }

    def save() -> None:
        if given.keep:
            given.keep.write_text(json.dumps({n: asdict(t) for n, t in tallies.items()}), "utf-8")

    vars(snmp)["ANSWER_SECONDS"] = 1.0
    for name in given.part or PARTS:
        asyncio.run(run_part(name, given.seed, tallies[name], quick=given.quick, save=save))
    for name, tally in tallies.items():
        for example in tally.examples:
            print(f"{name}: {example}", file=sys.stderr)
    whole = not given.quick and set(tallies) == set(PARTS)
    return finish("inputs of strangers", rows(tallies, whole=whole), given)


if __name__ == "__main__":
    sys.exit(main())
