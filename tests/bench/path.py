"""The path probe over three real routers in a row: is a fault found, and at its own hop?

    python -m tests.bench.path [--quick] [--json FILE] [--seed N]

Headquarters, three Linux routers and an office in network namespaces, joined by emulated links.
Each case draws a fault and its place from the seed: loss or delay on one link, a router that drops
large packets silently, one that clears marks, one that limits its ICMP answers, with a loss
elsewhere or without one. Half of the cases come from `--seed`, half from a seed of their own that
was set after the code: these are the held cases, and they are reported first.

Marks are read on their way by a raw socket, as the benchmark is root. Needs root, for the chain.
Then the interface counters of the utilisation probe against the bytes of an emulated line.
There is no peer: mtr and traceroute print what hops answer, and leave the conclusion to the reader.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.config.routers import Snmp
from jharnet_monitor.judge.path import Stretch, delay_stretch, loss_stretch, mark_stretch
from jharnet_monitor.lab import HEADQUARTERS, Lab
from jharnet_monitor.lab.namespaces import inside
from jharnet_monitor.lab.spec import LinkDirection
from jharnet_monitor.model import Direction
from jharnet_monitor.probes.base import ProbeContext
from jharnet_monitor.probes.path.order import TraceOrder
from jharnet_monitor.probes.path.result import figures, locate_faults, parse_trace
from jharnet_monitor.probes.path.trace import trace
from jharnet_monitor.probes.utilisation.run import run as read_utilisation
from tests.bench.marks import Row, arguments, at_most, finish, note
from tests.lab_support import Stream, send_streams, udp_socket
from tests.path_support import LINKS, OFFICE, ROUTERS, Chain
from tests.snmp_support import COMMUNITY, Snmpd, snmpd
from tests.support import make_config

HELD_SEED = 20_261_128
THRESHOLD = 0.02
KINDS = ("loss", "delay", "black hole", "bleaching", "limited", "limited and loss")
SHARE = 0.95
EF = 46
CHAINS = 4
COUNTERS_SECONDS = 20.0
"""After which snmpd has looked at its interfaces again."""


@dataclass(frozen=True, slots=True)
class Case:
    """One fault at one place. `link` k joins hop k and hop k + 1; `router` is a hop."""

    number: int
    kind: str
    held: bool
    delays: tuple[float, ...]
    """Of each link, one way, in milliseconds."""
    link: int
    way: int
    amount: float
    router: int

    def __str__(self) -> str:
        place = f"link {self.link}" if self.kind in ("loss", "delay") else f"hop {self.router}"
        return f"{self.number}: {self.kind}, {place}, {self.amount:g}"


def draw(count: int, seed: int, *, held: bool) -> list[Case]:
    """As many cases of every kind."""
    random = Random(f"{seed}/path")
    cases = []
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        amount = {
            "loss": random.uniform(0.06, 0.30), "limited and loss": random.uniform(0.06, 0.30),
            "delay": random.uniform(60, 250), "black hole": 2 * random.randrange(320, 740),
            "bleaching": 0.0, "limited": random.choice([200, 500, 1000]),
        }[kind]  # fmt: skip
        cases.append(Case(
            number, kind, held, tuple(random.uniform(1, 8) for _ in range(LINKS)),
            random.randrange(LINKS), random.randrange(2), amount,
            random.randrange(1, ROUTERS + 1),
        ))  # fmt: skip
    return cases


def _settings(case: Case, link: int, way: int) -> LinkDirection:
    delay, loss = case.delays[link], 0.0
    if (link, way) == (case.link, case.way):
        delay += case.amount if case.kind == "delay" else 0.0
        loss = case.amount if case.kind in ("loss", "limited and loss") else 0.0
    return LinkDirection.model_validate({"delay": f"{delay} ms", "loss": f"{loss:%}"})


def _break(chain: Chain, case: Case) -> None:
    """Put the case's fault into the chain."""
    for link in range(LINKS):
        for way in (0, 1):
            chain.set(link, way, _settings(case, link, way))
    if case.kind == "black hole":
        # the next link takes less, and the router that should say so does not
        chain.rules(case.router, "forward", f"oif link{case.router} ip length > {case.amount} drop")
    elif case.kind == "bleaching":
        chain.rules(case.router, "forward", f"oif link{case.router} ip dscp set 0")
    elif case.kind.startswith("limited"):
        chain.limit(case.router, int(case.amount) if case.kind == "limited" else 500)


def _mend(chain: Chain, case: Case) -> None:
    if case.kind in ("black hole", "bleaching"):
        chain.clear(case.router)
    elif case.kind.startswith("limited"):
        chain.limit(case.router, 0)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the fault was found at its hop, and whether a sound part was blamed."""

    case: Case
    found: bool
    blamed: bool
    text: str
    width: int = 1


def judge(case: Case, output: dict[str, object], order: TraceOrder) -> Verdict:
    """Compare what the probe concludes with the truth."""
    conditions = parse_trace(output, order)
    conditions |= locate_faults(conditions, THRESHOLD)
    hops = figures(conditions)
    loss = loss_stretch(hops, THRESHOLD)
    delay = delay_stretch(hops)
    hole = conditions.get("mtu_black_hole")
    mark = mark_stretch(EF, conditions.get("marks", {}).get("EF", []))
    behind_router = Stretch(case.router, case.router + 1)
    link = Stretch(case.link, case.link + 1)
    text = f"loss {loss}, delay {delay}, black hole {hole}, mark {mark}"
    lossy = case.kind in ("loss", "limited and loss")
    others = [
        loss is not None and not lossy,
        hole is not None and case.kind != "black hole",
        mark is not None and case.kind != "bleaching",
    ]
    found, width = True, 1
    if case.kind == "loss":
        found = loss == link
    elif case.kind == "limited and loss":  # a router that answers seldom hides its own place
        found = loss is not None and loss.after <= case.link and loss.before >= link.before
        width = loss.before - loss.after if loss else 0
    elif case.kind == "delay":
        found = delay is not None and delay.stretch == link
    elif case.kind == "black hole":
        right_size = conditions.get("mtu_bytes") == int(case.amount)
        found = hole == list(behind_router) and right_size
    elif case.kind == "bleaching":
        found = mark == behind_router
    return Verdict(case, found, any(others), text, width)


def utilisation(seconds: float, seed: int) -> list[Row]:
    """Bytes by the router's counters, over a real snmpd, against those that the emulator carried.

    snmpd keeps counters for some seconds: nothing is sent for a while before each reading.
    """
    link = {"delay": "5ms", "rate": "4 Mbit/s"}
    spec = {"seed": seed, "offices": {"potka": {"down": link, "up": link}}}
    with ExitStack() as stack:
        lab = stack.enter_context(Lab.start(spec, "jhnpu"))
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        there = ["ip", "netns", "exec", lab.layout.router_namespace("potka")]
        router = stack.enter_context(snmpd(directory, simulated=False, prefix=there))
        (directory / "community").write_text(COMMUNITY)
        (directory / "community").chmod(0o600)
        context = _router_context(lab, router, directory / "community")
        streams = [
            Stream(udp_socket(lab, source), (lab.addresses(target).pc, 9), rate)
            for source, target, rate in (
                (HEADQUARTERS, "potka", 2.4e6), ("potka", HEADQUARTERS, 0.7e6),
            )
        ]  # fmt: skip
        with lab.inside(HEADQUARTERS):
            asyncio.run(read_utilisation(context))
            before = lab.status()["links"]["potka"]
            send_streams(streams, seconds, priority=0)
            time.sleep(COUNTERS_SECONDS)
            found = asyncio.run(read_utilisation(context))
            after = lab.status()["links"]["potka"]
    rows = []
    for way in Direction:
        carried = after[way]["bytes_out"] - before[way]["bytes_out"]
        rate = found.values[f"{way.transfer}_bits_per_second"]
        counted = rate * found.values["window_seconds"] / 8
        error = abs(counted / carried - 1) * 100
        rows.append(at_most(f"utilisation, {way}: error of {carried:,} bytes", error, 1.0, "%"))
    return rows


def _router_context(lab: Lab, router: Snmpd, community: Path) -> ProbeContext:
    snmp = {"interface": "wan0", "port": router.port, "community_file": community}
    config = make_config(("potka",))
    address = lab.addresses("potka").router
    office = config.offices[0].model_copy(
        update={"router": address, "snmp": Snmp.model_validate(snmp)}
    )
    return ProbeContext(config, office, SystemClock(), None)


async def _run(order: TraceOrder) -> dict[str, object]:
    result = await trace(OFFICE, order, 40_000, SystemClock())
    return result.to_message()


def measure(chain: Chain, cases: Sequence[Case], order: TraceOrder, into: list[Verdict]) -> None:
    """One case after another."""
    for case in cases:
        _break(chain, case)
        try:
            with inside(chain.namespace("hq")):
                output = asyncio.run(_run(order))
            into.append(judge(case, output, order))
        finally:
            _mend(chain, case)


def rows_of(verdicts: Sequence[Verdict], title: str) -> list[Row]:
    """The share of each kind that was found, and the parts that were blamed wrongly."""
    for verdict in verdicts:
        if not verdict.found or verdict.blamed:
            print(f"{title} {verdict.case}: {verdict.text}")
    total = Counter(v.case.kind for v in verdicts)
    found = Counter(v.case.kind for v in verdicts if v.found)
    rows = [
        note(f"{title}: {kind} found", found[kind] / total[kind], "share")
        for kind in KINDS
        if kind != "limited" and total[kind]
    ]
    wanted = [v for v in verdicts if v.case.kind != "limited"]
    share = sum(v.found for v in wanted) / len(wanted)
    rows.append(Row(f"{title}: faults found at their hop, of {len(wanted)}", share,
                    f">= {SHARE}", "share", share >= SHARE))  # fmt: skip
    limited = [v for v in verdicts if v.case.kind == "limited"]
    rows.append(at_most(f"{title}: routers that only limit answers blamed, of {len(limited)}",
                        sum(v.blamed for v in limited), 0, "cases"))  # fmt: skip
    rows.append(at_most(f"{title}: other parts blamed, of {len(verdicts)}",
                        sum(v.blamed for v in verdicts), 0, "cases"))  # fmt: skip
    widths = [v.width for v in verdicts if v.case.kind == "limited and loss" and v.found]
    if widths:
        mean = sum(widths) / len(widths)
        rows.append(note(f"{title}: stretch named beside a limiting router", mean, "links"))
    return rows


def main() -> int:
    """Measure everything; returns 0 if all marks are met."""
    options = arguments(__doc__)
    half = 6 if options.quick else 60
    order = TraceOrder(rounds=80, spacing=0.04, timeout=0.7, loss=THRESHOLD, marks=(EF,))
    cases = draw(half, HELD_SEED, held=True) + draw(half, options.seed, held=False)
    even = [(LinkDirection(), LinkDirection())] * LINKS
    verdicts: list[Verdict] = []
    with ExitStack() as stack:
        threads = []
        for number in range(CHAINS):
            chain = stack.enter_context(Chain(f"jhnp{number}", even, options.seed))
            part = cases[number::CHAINS]
            threads.append(threading.Thread(target=measure, args=(chain, part, order, verdicts)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    rows = utilisation(10.0 if options.quick else 60.0, options.seed)
    for held, title in ((True, "held"), (False, "open")):
        rows += rows_of([v for v in verdicts if v.case.held is held], title)
    missing = len(cases) - len(verdicts)
    rows.append(at_most("cases that broke off", missing, 0, "cases"))
    return finish("The way over three routers", rows, options)


if __name__ == "__main__":
    sys.exit(main())
