"""Services over lab links: do the phases hold, and is the fault placed rightly?

    python -m tests.bench.services [--quick] [--json FILE] [--seed N]

Real HTTP and HTTPS servers at headquarters of a lab, visited from its offices and from
headquarters by the probe's own code; the line's evidence is the latency probe's. First one visit
after another over a link of known delay: each phase against what server and link took. Then every
line with every behaviour of a service, all offices at once: where the product places the fault.

Needs root, for the lab. There is no peer: blackbox_exporter measures from one place.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.config import Config
from jharnet_monitor.judge.services import FaultPlace
from jharnet_monitor.lab import HEADQUARTERS, Lab
from jharnet_monitor.model import Measurement
from jharnet_monitor.probes import ProbeContext, ProbeError, Reading, measurement_of
from jharnet_monitor.probes.latency.run import run as ping
from jharnet_monitor.probes.service.order import VisitOrder
from jharnet_monitor.probes.service.remarks import fault_place
from jharnet_monitor.probes.service.result import VisitResult, reading_of
from jharnet_monitor.probes.service.visit import visit
from tests.bench.marks import Row, arguments, at_most, finish, note
from tests.lab_support import Stream, simultaneous_streams, udp_socket
from tests.service_support import PageServer, SlowResolver, server_tls

SLOW, TIMEOUT = 1.0, 6.0
BODY = b"<html>" + b"e-Office " * 1800 + b"</html>"
DELAY = 0.02
PHASE_MS = 5.0
"""Emulator, server and visit share the machine, and each wakes up late at times."""
GOOD, BAD = {"near", "good", "fast"}, {"far", "lossy", "full"}
FULL_RATE = 1_000_000.0


def _both(**link: Any) -> dict[str, Any]:
    return {"down": link, "up": link}


LINES: dict[str, dict[str, Any]] = {
    "near": _both(delay="2ms"),
    "good": _both(delay="15ms", rate="4 Mbit/s", queue="200ms"),
    "fast": _both(delay="5ms", rate="20 Mbit/s", queue="100ms"),
    "narrow": _both(delay="15ms", rate="64 kbit/s", queue="4s"),
    "far": _both(delay="300ms", rate="4 Mbit/s", queue="200ms"),
    "lossy": _both(delay="15ms", rate="4 Mbit/s", queue="200ms", loss="20%"),
    "full": _both(delay="15ms", rate="1 Mbit/s", queue="400ms"),
    "phases": _both(delay=f"{DELAY * 1000:g}ms"),
}
RATES = {"narrow": "64 kbit/s", "full": "1 Mbit/s"}


@dataclass
class Behaviour:
    """A service as the office, and as headquarters finds it, and where the fault then lies.

    `good` holds the permitted answers over a good line, `bad` those over one that loses or delays.
    """

    office: PageServer
    good: set[FaultPlace]
    bad: set[FaultPlace]
    narrow: set[FaultPlace]
    headquarters: PageServer | None = None
    dns: float = 0.0
    listens: bool = True


F = FaultPlace
SERVICE = {F.SERVICE_SLOW, F.SERVICE_AND_LINE}
DOWN = {F.SERVICE_DOWN, F.SERVICE_AND_LINE}
NOT_SERVICE = {F.NONE, F.LINE, F.UNKNOWN}


def behaviours() -> dict[str, Behaviour]:
    """The behaviours of a service; none that is the server's fault may be attributed to the
    line."""

    def server(**how: Any) -> PageServer:
        return PageServer(body=BODY, **how)

    doubt = {F.UNKNOWN, F.SERVICE_SLOW}
    return {
        "quick": Behaviour(server(), {F.NONE}, NOT_SERVICE, {F.LINE}),
        "waits": Behaviour(server(wait=3), {F.SERVICE_SLOW}, SERVICE, SERVICE),
        "trickles": Behaviour(server(transfer=3), {F.SERVICE_SLOW}, SERVICE, SERVICE),
        "refuses": Behaviour(server(), {F.SERVICE_DOWN}, DOWN, {F.SERVICE_DOWN}, listens=False),
        "fails": Behaviour(server(status=503), {F.SERVICE_DOWN}, DOWN, {F.SERVICE_DOWN}),
        "hangs": Behaviour(server(wait=60), {F.SERVICE_DOWN}, DOWN, {F.SERVICE_DOWN}),
        "waited once": Behaviour(server(wait=3), {F.SERVICE_SLOW}, doubt, doubt, server()),
        "no names": Behaviour(
            server(), {F.OFFICE_NETWORK}, NOT_SERVICE - {F.NONE},
            {F.OFFICE_NETWORK, F.UNKNOWN}, dns=3.0,
        ),
    }  # fmt: skip


@dataclass
class Bench:
    """The lab and what is measured in it. Its event loop runs at headquarters."""

    lab: Lab
    quick: bool
    rows: list[Row] = field(default_factory=list)

    def config(self) -> Config:
        """The lines as offices."""
        offices = [
            {
                "id": line, "name": line, "name_hi": line,
                "router": self.lab.addresses(line).router,
                "link": {"contracted": RATES.get(line, "4 Mbit/s")},
            }
            for line in LINES
        ]  # fmt: skip
        return Config.model_validate(
            {
                "district": {"id": "bench", "name": "Bench", "name_hi": "Bench"},
                "hub": {"tls": False, "uplink": {"contracted": "34 Mbit/s"}},
                "probes": {"service": {"slow": f"{SLOW:g}s", "timeout": f"{TIMEOUT:g}s"}},
                "offices": offices,
            }
        )

    @property
    def address(self) -> str:
        """Where the services are."""
        return self.lab.addresses(HEADQUARTERS).pc

    def order(self, server: PageServer) -> VisitOrder:
        """The service by a name that the visit's own resolver knows."""
        scheme = "http" if server.context is None else "https"
        return VisitOrder(f"{scheme}://localhost:{server.port}/", (), TIMEOUT, 500_000)

    async def from_office(
        self, office: str, order: VisitOrder, resolver: SlowResolver
    ) -> VisitResult:
        """A visit by an event loop of its own in the office's namespace."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[VisitResult] = loop.create_future()

        def there() -> None:
            with self.lab.inside(office):
                result = asyncio.run(visit(order, time.monotonic, resolver))
            loop.call_soon_threadsafe(done.set_result, result)

        threading.Thread(target=there, daemon=True).start()
        return await done

    async def from_headquarters(self, order: VisitOrder) -> VisitResult:
        """A visit from the servers' own network."""
        return await visit(order, time.monotonic, SlowResolver(0.0, self.address))

    # -- phases

    async def phases(self, directory: Path) -> None:
        """One visit after another, each phase against the truth."""
        rounds = 10 if self.quick else 60
        context = server_tls(directory)
        os.environ["SSL_CERT_FILE"] = str(directory / "ca.pem")
        errors: dict[str, list[float]] = {}
        for number in range(rounds):
            part = 0.05 + 0.01 * (number % 7)
            server = PageServer(tls=part, wait=part, transfer=part, context=context)
            async with server.serving(socket.create_server((self.address, 0))):
                names = SlowResolver(part, self.address)
                result = await self.from_office("phases", self.order(server), names)
            if result.cause is not None:
                errors.setdefault("failed", []).append(1.0)
                continue
            for name, error in _errors(result, server, names.requested or 0.0):
                errors.setdefault(name, []).append(abs(error) * 1000)
        self.rows.append(at_most("visits that failed", len(errors.pop("failed", [])), 0, "visits"))
        for name, found in errors.items():
            found.sort()
            middle, most = found[len(found) // 2], found[int(0.95 * (len(found) - 1))]
            if name == "phases against the whole":
                self.rows.append(at_most(f"{name}, worst of {len(found)}", found[-1], 1.0, "ms"))
                continue
            self.rows.append(at_most(f"{name}, median error", middle, PHASE_MS, "ms"))
            self.rows.append(note(f"{name}, p95 error", most, "ms"))

    # -- faults

    async def faults(self) -> None:
        """Every line with every behaviour; the lines at once, the behaviours in turn."""
        config = self.config()
        lines = [line for line in LINES if line != "phases"]
        wrong: list[str] = []
        cases = crossed = 0
        for round_ in range(1 if self.quick else 3):
            latency = dict(zip(lines, await asyncio.gather(
                *(self._latency(config, line) for line in lines)
            ), strict=True))  # fmt: skip
            for name, behaviour in behaviours().items():
                places = await self._reported(config, behaviour, lines, latency)
                for line, place in places.items():
                    cases += 1
                    if place not in _allowed(behaviour, line):
                        wrong.append(f"{name} over {line} (round {round_ + 1}): {place}")
                    crossed += _is_crossed(name, line, place)
        print(*wrong, sep="\n")
        self.rows += [
            at_most("faults placed wrongly", len(wrong), 0, "cases"),
            at_most("server's fault charged to the line, or reverse", crossed, 0, "cases"),
            Row("cases", cases, ">= 50", "cases", cases >= 50),
        ]

    async def _latency(self, config: Config, line: str) -> Measurement:
        context = ProbeContext(
            config, config.office(line), SystemClock(), None, {"packets": 30 if self.quick else 60}
        )
        return await _measured(line, "latency", lambda: ping(context), {})

    async def _reported(
        self, config: Config, behaviour: Behaviour, lines: list[str],
        latency: Mapping[str, Measurement],
    ) -> dict[str, FaultPlace]:  # fmt: skip
        async with AsyncExitStack() as stack:
            servers = [behaviour.office]
            servers += [behaviour.headquarters] if behaviour.headquarters else []
            for server in servers:
                await stack.enter_async_context(
                    server.serving(socket.create_server((self.address, 0), backlog=50))
                )
            if not behaviour.listens:
                await stack.aclose()
            near = self.order(servers[-1])
            there = self.order(behaviour.office)
            here, *visits = await asyncio.gather(
                self._visited(HEADQUARTERS, near, lambda: self.from_headquarters(near)),
                *(
                    self._visited(line, there, self._office_visit(line, there, behaviour.dns))
                    for line in lines
                ),
            )
        return {
            run.office: fault_place(
                config, run, {run.series: run, "latency": latency[run.office]}, {here.series: here}
            )
            for run in visits
        }

    def _office_visit(self, line: str, order: VisitOrder, dns: float) -> Callable[[], Any]:
        return lambda: self.from_office(line, order, SlowResolver(dns, self.address))

    async def _visited(
        self, place: str, order: VisitOrder, visiting: Callable[[], Any]
    ) -> Measurement:
        async def run() -> Reading:
            result: VisitResult = await visiting()
            end = HEADQUARTERS if place == HEADQUARTERS else "office"
            return reading_of(result.to_message(), order, end, time.time(), 2 * TIMEOUT)

        return await _measured(place, "service", run, {"service": "e-office"})


async def _measured(
    place: str, probe: str, run: Callable[[], Any], conditions: Mapping[str, Any]
) -> Measurement:
    """As the hub's runner makes it."""
    at, began = datetime.now(UTC), time.monotonic()
    try:
        result: Reading | ProbeError = await run()
    except ProbeError as error:
        result = error
    return measurement_of(place, probe, result, at, time.monotonic() - began, conditions)


def _errors(
    result: VisitResult, server: PageServer, requested: float
) -> Iterator[tuple[str, float]]:
    """Seconds by which each phase differs from what link and server took."""
    took, marks = result.seconds, server.marks
    yield "phases against the whole", sum(took.values()) - result.total
    yield "the whole", result.total - (marks["done"] + DELAY - requested)
    yield "TCP", took["connect"] - 2 * DELAY
    yield "TLS", took["tls"] - 2 * DELAY - (marks["encrypting"] - marks["accepted"])
    yield "first byte", took["first_byte"] - 2 * DELAY - (marks["answered"] - marks["asked"])
    yield "transfer", took["transfer"] - (marks["done"] - marks["answered"])


def _allowed(behaviour: Behaviour, line: str) -> set[FaultPlace]:
    if line in GOOD:
        return behaviour.good
    return behaviour.bad if line in BAD else behaviour.narrow


def _is_crossed(name: str, line: str, place: FaultPlace) -> bool:
    """A fault of the server alone was attributed to the line, or the reverse."""
    if name in ("quick", "no names"):
        return place in {*SERVICE, *DOWN}
    return place is F.LINE or (line in GOOD and place is F.SERVICE_AND_LINE)


async def _all(bench: Bench) -> None:
    with tempfile.TemporaryDirectory() as directory:
        await bench.phases(Path(directory))
    await bench.faults()


def main() -> int:
    """Measure everything; returns 0 if all marks are met."""
    options = arguments(__doc__)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        os.environ.pop(name, None)
    with (
        Lab.start({"seed": options.seed, "offices": LINES}, "jhnbs") as lab,
        ExitStack() as together,
    ):
        full = (lab.addresses("full").pc, 9000)
        together.enter_context(udp_socket(lab, "full", 9000, buffer=4096))
        sender = together.enter_context(udp_socket(lab, HEADQUARTERS, buffer=4096))
        stream = Stream(sender, full, 1.05 * FULL_RATE)
        together.enter_context(simultaneous_streams([stream], 600))
        bench = Bench(lab, options.quick)
        with lab.inside(HEADQUARTERS):
            asyncio.run(_all(bench))
    return finish("Services over lab links", bench.rows, options)


if __name__ == "__main__":
    sys.exit(main())
