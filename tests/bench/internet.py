"""The Internet test beside the rate of the line, with servers of every kind and of every size.

    python -m tests.bench.internet [--quick] [--seed N] [--json FILE] [--lines N] [--verbose]

Lines of the lab, drawn at random: 0.3 to 10 Mbit/s and 10 to 200 ms there and back (both
logarithmic), a queue of 80 to 400 ms, and on one line of three 0.1 to 1 % of loss; the contract is
0.8 to 2 times the rate, the other end's congestion control BBR or Reno. Each line is tested against
one server: `ours`; `public`, which has the pictures and uploads of the public service; `file`, of
20 kB to 20 MB (logarithmic); `librespeed`; and `refusing`, which answers what is asked of it with
an error, a reset or an empty picture, at once or after at most 1.8 s. A rate counts as wrong if
neither its interval has the rate of the line nor the reading is marked. Needs root; it takes two
and a half minutes.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import exp, log
from typing import Any

from jharnet_monitor.lab import HEADQUARTERS, Lab
from jharnet_monitor.probes.base import ProbeError, Reading
from jharnet_monitor.probes.internet.result import reading
from jharnet_monitor.probes.internet.run import make_request
from tests.bench.internet_subject import PORT, REFUSALS
from tests.bench.marks import Row, at_most, finish, note, parser

PREFIX = "jhninet"
KINDS = ("ours", "public", "file", "librespeed", "refusing")
METHODS = {"file": "http", "librespeed": "librespeed"}
AT_ONCE = 4
SUBJECT = (sys.executable, "-m", "tests.bench.internet_subject")


@dataclass(frozen=True, slots=True)
class Line:
    """A line in bit/s and seconds, loss as a share, and the path of its server."""

    kind: str
    rate: float
    rtt: float
    queue: float
    loss: float
    contract: float
    path: str

    def spec(self) -> dict[str, Any]:
        """Either direction in a lab file."""
        return {
            "rate": f"{self.rate / 1e6:.6f} Mbit/s",
            "delay": f"{500 * self.rtt:.3f} ms",
            "queue": f"{1000 * self.queue:.3f} ms",
            "loss": f"{100 * self.loss:.4f}%",
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a test gave: a reading, or the cause of there being none."""

    line: Line
    reading: Reading | None
    cause: str = ""


def logarithmic(chance: random.Random, low: float, high: float) -> float:
    """A number between two bounds, whose logarithm is uniform."""
    return exp(chance.uniform(log(low), log(high)))


def drawn(chance: random.Random, kind: str) -> Line:
    """A line with a server of this kind."""
    rate = logarithmic(chance, 0.3e6, 10e6)
    path = {"file": f"/file/{logarithmic(chance, 20e3, 20e6):.0f}", "librespeed": "/backend"}
    how = f"/refuse/{chance.choice(REFUSALS)}/{chance.uniform(0, 1800):.0f}"
    refusal = f"{how}/{chance.choice(('GET', 'POST'))}/{logarithmic(chance, 1, 5000):.0f}"
    return Line(
        kind=kind,
        rate=rate,
        rtt=logarithmic(chance, 0.01, 0.2),
        queue=chance.uniform(0.08, 0.4),
        loss=chance.uniform(0.001, 0.01) if chance.random() < 1 / 3 else 0.0,
        contract=rate * chance.uniform(0.8, 2),
        path=refusal if kind == "refusing" else path.get(kind, ""),
    )


def tested(lab: Lab, office: str, line: Line) -> Outcome:
    """One run of the agent's worker in the office, judged as the hub does."""
    server = f"http://{lab.addresses(HEADQUARTERS).pc}:{PORT}{line.path}"
    public = line.kind == "public"
    request = make_request(
        None if public else server,
        (line.contract, line.contract),
        METHODS.get(line.kind, "ookla"),
    )
    program = ("public", f"{server}/speedtest/upload.php") if public else ("worker",)
    command = (*SUBJECT, *program)
    process = lab.popen(office, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    output, _ = process.communicate(json.dumps(request), timeout=90)
    try:
        return Outcome(line, asyncio.run(reading(request, json.loads(output))))
    except ProbeError as error:
        return Outcome(line, None, f"{error.cause.value}: {error.detail}")


def measure(lines: Sequence[Line], congestion: str, seed: int) -> list[Outcome]:
    """Test each line once, some at the same time."""
    offices = {f"o{n}": {"down": line.spec(), "up": line.spec()} for n, line in enumerate(lines)}
    spec = {"seed": seed, "congestion_control": congestion, "offices": offices}
    with Lab.start(spec, PREFIX) as lab, ThreadPoolExecutor(AT_ONCE) as pool:
        server = lab.popen(HEADQUARTERS, (*SUBJECT, "server"), stdout=subprocess.PIPE)
        try:
            if server.stdout is not None:
                server.stdout.readline()  # it listens
            return list(pool.map(lambda pair: tested(lab, *pair), zip(offices, lines, strict=True)))
        finally:
            server.kill()
            server.wait()


def judged(outcome: Outcome, way: str) -> tuple[float, bool, bool] | None:
    """The error of a direction's rate in per cent, whether it is marked, and whether it is wrong
    without a mark; None without a rate."""
    found = outcome.reading
    if found is None or (rate := found.values.get(f"{way}_bits_per_second")) is None:
        return None
    line, values = outcome.line, found.values
    marked = f"{way}_limited_by" in found.conditions or f"{way}_at_least" in found.conditions
    low = values.get(f"{way}_bits_per_second_low", 0.0)
    high = values.get(f"{way}_bits_per_second_high", 1e12)
    missed = low > line.rate or high < line.rate * (1 - line.loss)
    return 100 * (rate / line.rate - 1), marked, missed and not marked


def rows_of(kind: str, outcomes: Sequence[Outcome]) -> list[Row]:
    """What the tests against one kind of server gave."""
    these = [outcome for outcome in outcomes if outcome.line.kind == kind]
    found = [note(f"{kind}: tests", len(these), "tests")]
    found.append(note("  no reading", sum(o.reading is None for o in these), "tests"))
    for way in ("download", "upload"):
        rates = [rate for o in these if (rate := judged(o, way)) is not None]
        wrong = sum(wrong for _, _, wrong in rates)
        if kind == "refusing":
            refused = [o for o in these if ("GET" in o.line.path) is (way == "download")]
            off = sum((rate := judged(o, way)) is not None and abs(rate[0]) > 10 for o in refused)
            found.append(at_most(f"  {way} refused, and a rate off by 10 %", off, 0, "tests"))
        elif rates:
            found += [
                note(f"  {way}: marked", sum(marked for _, marked, _ in rates), "tests"),
                note(f"  {way}: lowest error", min(error for error, _, _ in rates), "%"),
                note(f"  {way}: highest error", max(error for error, _, _ in rates), "%"),
                note(f"  {way}: wrong, not marked", wrong, "tests"),
            ]
    return found


def all_rows(outcomes: Sequence[Outcome]) -> list[Row]:
    """What all tests gave, of servers that serve."""
    rates = [
        rate
        for outcome in outcomes
        for way in ("download", "upload")
        if outcome.line.kind != "refusing" and (rate := judged(outcome, way)) is not None
    ]
    return [
        note("all: rates", len(rates), "rates"),
        note("  marked", sum(marked for _, marked, _ in rates), "rates"),
        at_most(
            "  wrong, not marked", sum(wrong for _, _, wrong in rates), 0.05 * len(rates), "rates"
        ),
    ]


def main() -> int:
    """Run the command line."""
    options = parser(__doc__)
    options.add_argument("--lines", type=int, metavar="N", help="lines of each kind of server")
    options.add_argument("--verbose", action="store_true", help="print each test")
    chosen = options.parse_args()
    each = chosen.lines or (4 if chosen.quick else 24)
    chance = random.Random(chosen.seed)
    lines = [drawn(chance, kind) for _ in range(each) for kind in KINDS]
    outcomes = []
    for first, congestion in enumerate(("bbr", "reno")):
        outcomes += measure(lines[first::2], congestion, chosen.seed)
    if chosen.verbose:
        for outcome in outcomes:
            print(outcome.line, outcome.cause, judged(outcome, "download"),
                  judged(outcome, "upload"), sep="\n   ")  # fmt: skip
    rows = [row for kind in KINDS for row in rows_of(kind, outcomes)]
    rows += all_rows(outcomes)
    return finish("The Internet test, against the lab", rows, chosen)


if __name__ == "__main__":
    raise SystemExit(main())
