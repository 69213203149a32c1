"""The join page in a real browser over the lab: speed, latency, grade, and the ways of a call.

    python -m tests.bench.web [--quick] [--browser NAME] [--lines NAMES] [--calls N] [--json FILE]
        [--seed N]

Needs root, chromium or firefox-esr with certutil, nft and turnserver. On each line the page's speed
is held against the emulator's rate, its latency against the emulator's delay, and its grade against
the agent program's on the same line; by https, and once by plain http. Then the office's firewall
blocks UDP, so that the call goes over TURN by TLS on port 443, and ends UDP flows after some time
(two minutes; 20 s with `--quick`). With `--lines good,half` speed, latency and grade on these lines
alone are measured, by https: it takes a few minutes. With `--calls N` as well, only N calls by the
page and N by the program are made on each line. Where a call has no grade, the row says why.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from jharnet_monitor.profiles import Profile
from tests.bench.marks import Row, at_most, finish, note, parser, within
from tests.page_support import OFFICE, PageLab, district, way
from tests.tab_support import Name
from tests.turn_support import UDP_BLOCKED, Relay, firewall, relay, trusting_tab, turn_server

LINES: Mapping[str, Mapping[str, str]] = {
    "good": {"down.rate": "8 Mbit/s", "up.rate": "8 Mbit/s"},
    "half": {"down.rate": "4 Mbit/s", "up.rate": "4 Mbit/s"},
    "narrow": {"down.rate": "1 Mbit/s", "up.rate": "512 kbit/s"},
    "lossy": {"down.rate": "4 Mbit/s", "up.rate": "4 Mbit/s", "down.loss": "2%", "up.loss": "2%"},
    "long": {"down.rate": "4 Mbit/s", "up.rate": "4 Mbit/s", "down.delay": "150ms",
             "up.delay": "150ms"},
}  # fmt: skip
PLAIN = {"down.rate": "8 Mbit/s", "down.delay": "15ms", "down.loss": "0%",
         "up.rate": "8 Mbit/s", "up.delay": "15ms", "up.loss": "0%"}  # fmt: skip
SPEED_ERROR = 0.03
CALL = {"profile": "720p", "seconds": 20}
SMALL_CALL = {"profile": "360p", "seconds": 20}
FLOW_SECONDS, QUICK_FLOW_SECONDS = 120, 20
FIREWALL = """table inet office {{
  set known {{ type inet_service; flags dynamic; size 4096; }}
  set living {{ type inet_service; flags dynamic,timeout; timeout {seconds}s; size 4096; }}
  chain out {{
    type filter hook output priority 0;
    ip daddr {hub} meta l4proto udp udp sport != @known add @living {{ udp sport }}
    ip daddr {hub} meta l4proto udp add @known {{ udp sport }}
    ip daddr {hub} meta l4proto udp udp sport != @living drop
  }}
}}
"""


def _lines(text: str) -> list[str]:
    """The named lines; raises `ValueError` for one that there is not."""
    names = text.split(",")
    if unknown := set(names) - set(LINES):
        raise ValueError(f"no line is named {', '.join(sorted(unknown))}")
    return names


def set_line(one: PageLab, line: Mapping[str, str]) -> dict[str, str]:
    """Set the office's line; all that is not named is as on the good one."""
    settings = {**PLAIN, **line}
    for path, value in settings.items():
        one.lab.set(OFFICE, path, value)
    return settings


def _bits(text: str) -> float:
    number, unit = text.split()
    return float(number) * {"kbit/s": 1e3, "Mbit/s": 1e6}[unit]


def speed_rows(name: str, line: Mapping[str, str], result: Mapping[str, Any]) -> Iterator[Row]:
    """Each way's speed beside the emulator's rate; loss makes a line carry less by its share."""
    loss = float(line["down.loss"].rstrip("%")) / 100
    for which, side in (("download", "down"), ("upload", "up")):
        measured = result["values"].get(f"{which}_bits_per_second", 0.0)
        truth = _bits(line[f"{side}.rate"]) * (1 - loss)
        yield within(
            f"{name}: {which}", measured / 1e6, truth * (1 - SPEED_ERROR) / 1e6,
            truth * (1 + SPEED_ERROR + loss) / 1e6, "Mbit/s",
        )  # fmt: skip


def latency_row(name: str, line: Mapping[str, str], result: Mapping[str, Any]) -> Row:
    """The median by datagrams beside the emulator's delay (and the uplink's millisecond)."""
    truth = 2 * float(line["down.delay"].removesuffix("ms")) + 2
    measured = 1000 * result["values"].get("rtt_p50_seconds", 0.0)
    return within(f"{name}: round trip by datagrams", measured, truth - 0.5, truth + 12, "ms")


@contextlib.asynccontextmanager
async def joined(
    one: PageLab, browser: Name, directory: Path, trusted: Relay | None = None
) -> AsyncIterator[None]:
    """A browser at the office that has joined."""
    own = Path(tempfile.mkdtemp(dir=directory))
    opened = trusting_tab(one, browser, own, trusted) if trusted else one.tab(browser, own)
    async with opened as page:
        await page.join(one.link)
        yield


@dataclass(frozen=True, slots=True)
class Held:
    """A call: its grade, None if it has none, and what limited it or why it was not graded."""

    grade: float | None
    why: str

    @classmethod
    def of(cls, result: Mapping[str, Any]) -> Held:
        """The call that a measurement is about."""
        conditions, grade = result["conditions"], result["values"].get("grade")
        if grade is None:
            reasons = [result["outcome"], result["cause"], conditions.get("detail")]
        else:
            reasons = [conditions.get("worse_way"), conditions.get("limited_by")]
        return cls(grade, ", ".join(str(each) for each in reasons if each))

    def __str__(self) -> str:
        """As in a row."""
        return f"{'none' if self.grade is None else format(self.grade, 'g')} ({self.why})"


async def calls(one: PageLab, count: int) -> list[Held]:
    """So many calls, one after the other."""
    return [Held.of(await one.probe("conference", **CALL)) for _ in range(count)]


async def by_page(
    one: PageLab, names: list[str], directory: Path, kind: str, browser: Name, count: int = 0
) -> tuple[list[Row], dict[str, list[Held]]]:
    """Rows of speed and latency on these lines, and one call on each; or `count` calls alone."""
    rows: list[Row] = []
    held: dict[str, list[Held]] = {}
    async with joined(one, browser, directory):
        for name in names:
            line = set_line(one, LINES[name])
            if not count:
                rows += await line_rows(one, f"{kind} {name}", line)
            held[name] = await calls(one, count or 1)
    return rows, held


async def line_rows(one: PageLab, name: str, line: Mapping[str, str]) -> list[Row]:
    """Speed and latency on a line that is set."""
    result = await one.probe("bandwidth")
    spent = result["values"].get("bytes_spent", 0.0)
    return [
        *speed_rows(name, line, result),
        note(f"{name}: test's bytes", spent / 1e6, "MB"),
        latency_row(name, line, await one.probe("latency", path="page")),
    ]


async def by_program(one: PageLab, names: list[str], count: int = 0) -> dict[str, list[Held]]:
    """The agent program's calls on the same lines."""
    held = {}
    one.programs.start_agent(OFFICE)
    try:
        await asyncio.sleep(25)  # it makes its clips first
        for name in names:
            set_line(one, LINES[name])
            held[name] = await calls(one, count or 1)
    finally:
        one.programs.end(OFFICE)
    return held


def agreement(name: str, page: Sequence[Held], program: Sequence[Held]) -> Iterator[Row]:
    """By how many grades page and program differ; a call without a grade agrees with nothing."""
    for ours, theirs in zip(page, program, strict=True):
        both = ours.grade is not None and theirs.grade is not None
        differ = abs((ours.grade or 0.0) - (theirs.grade or 0.0)) if both else 5
        peer = f"page {ours}, program {theirs}"
        yield at_most(f"{name}: grades differ by", differ, 0, "grades", peer)


async def relayed_rows(one: PageLab, call: Mapping[str, Any]) -> list[Row]:
    """A call while UDP is blocked: that a client would get through, and with which grade."""
    best = float(Profile.named(str(call["profile"])).best_grade)
    with firewall(one, UDP_BLOCKED):
        result = await one.probe("conference", **call)
    carried = float(result["conditions"].get("transport") == "turn-tls")
    grade = result["values"].get("grade", -1.0)
    name = f"UDP blocked, {call['profile']}"
    return [
        within(f"{name}: a client gets through by TLS 443", carried, 1, 1, "yes"),
        within(f"{name}: its grade", grade, best, best, "grade", str(Held.of(result))),
    ]


async def ways(
    one: PageLab, directory: Path, given: Relay, flow_seconds: int, browser: Name
) -> list[Row]:
    """UDP blocked: the call over port 443 by TURN; UDP flows that end: their age."""
    set_line(one, {})
    rows = []
    async with turn_server(one, given), joined(one, browser, directory, given):
        for call in (SMALL_CALL, CALL):
            rows += await relayed_rows(one, call)
        with firewall(one, FIREWALL, seconds=flow_seconds):
            seconds = flow_seconds + 25
            found = await one.probe("latency", path="page", packets=4 * seconds, seconds=seconds)
            age = found["conditions"].get("udp_ended_after_seconds", 0.0)
            low, high = flow_seconds - 3, flow_seconds + 1
            rows.append(within("age at which UDP flows end", age, low, high, "s"))
            loss = found["values"].get("loss_ratio", 1.0)
            rows.append(at_most("loss until then", loss, 0.01, "ratio"))
    return rows


async def measure() -> int:
    """Measure everything; the exit code."""
    parsing = parser(__doc__)
    parsing.add_argument("--browser", choices=get_args(Name), default="chromium")
    parsing.add_argument("--lines", type=_lines, metavar="NAMES", help=", ".join(LINES))
    parsing.add_argument("--calls", type=int, default=0, metavar="N", help="on each of --lines")
    options = parsing.parse_args()
    if options.calls and not options.lines:
        parsing.error("--calls needs --lines")
    browser: Name = options.browser
    names = options.lines or (["good"] if options.quick else list(LINES))
    rows: list[Row] = []
    directory = Path(tempfile.mkdtemp(prefix="jhweb"))
    given = relay(directory, "turns")
    data = district("8 Mbit/s", way("8 Mbit/s"), way("8 Mbit/s"))
    settings = {"budget": "5 GB", "probes": {"conference": {"seconds": 20, "relay": given.section}}}
    with PageLab.started(data, directory, "https", "jhweb", settings) as one:
        found, page = await by_page(one, names, directory, "https", browser, options.calls)
        rows += found
        program = await by_program(one, names, options.calls)
        for name in names:
            rows += agreement(name, page[name], program[name])
        if options.lines:
            return finish(f"The join page in {browser}", rows, options)
        flow = QUICK_FLOW_SECONDS if options.quick else FLOW_SECONDS
        rows += await ways(one, directory, given, flow, browser)
    if not options.quick:
        with PageLab.started(data, directory, "http", "jhweb", settings) as one:
            found, page = await by_page(one, names, directory, "http", browser)
            rows += found
            for name, (held,) in page.items():
                rows.append(note(f"http {name}: grade", held.grade or 0.0, "grade", str(held)))
    return finish(f"The join page in {browser}", rows, options)


def main() -> int:
    """The exit code."""
    return asyncio.run(measure())


if __name__ == "__main__":
    sys.exit(main())
