"""What-if against Chromium: a call on one link, Chromium on the link as it would be after a change.

    python tests/bench/chromium_whatif.py [--quick] [--json FILE] [--lanes N] [--lines FILE]

Pairs are links of `chromium_truth.json` and `chromium_hard.json` that differ in one thing, the same
both ways: rate, loss or round trip. The product calls over the first, the twin answers for the
change, and Chromium's own grade on the second is the truth. Needs root (for the lab). `--lines`
keeps the lines that the calls met: those that the file holds are not called over again.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from jharnet_monitor.judge.twin.line import LineModel
from jharnet_monitor.judge.twin.predict import predict
from jharnet_monitor.judge.twin.whatif import Change
from jharnet_monitor.lab import Lab
from tests.bench.chromium_collect import HARD_TRUTH, TRUTH, shape
from tests.bench.chromium_conditions import Condition, conditions
from tests.bench.chromium_fresh import fresh
from tests.bench.chromium_truth import Truths, acceptable
from tests.bench.marks import Row, finish, note, parser
from tests.call_support import LabCall

PREFIX = "jhnwif"
SECONDS = 30.0
READY = 3
QUICK = 2
MOST_PAIRS_OF_A_LINK = 2


@dataclass(frozen=True, slots=True)
class Pair:
    """A link, a change, and the link that it leads to."""

    before: Condition
    after: Condition
    change: Change


def pairs(links: Sequence[Condition]) -> Iterator[Pair]:
    """All pairs of plain links that differ in one thing."""
    plain = [c for c in links if not (c.up or c.blackout or c.cross or c.elastic)]
    for before in plain:
        found = 0
        for after in plain:
            change = _change(before.down, after.down)
            if change is not None and found < MOST_PAIRS_OF_A_LINK:
                found += 1
                yield Pair(before, after, change)


def _change(before: Any, after: Any) -> Change | None:
    """The change from one direction to another; None unless exactly one thing differs."""
    differs = [key for key in before if before[key] != after[key]]
    if differs == ["rate"]:
        return Change(rate=float(after["rate"].split()[0]) * 1e6)
    if differs == ["loss"] and after["loss"] == "0%":
        return Change(loss=0.0)
    if differs == ["delay"]:
        return Change(rtt=2 * float(after["delay"].removesuffix("ms")) / 1000)
    return None


async def lane(lab: Lab, office: str, work: list[Condition], lines: dict[str, LineModel]) -> None:
    """Call over one link after the other."""
    while work:
        link = work.pop(0)
        shape(lab, office, link)
        call = LabCall(lab, office, seconds=SECONDS, twin=True)
        result = await asyncio.to_thread(call.join)
        if "line" in result.conditions:
            lines[link.name] = LineModel.from_json(result.conditions["line"])
        print(f"{link.name}: {lines.get(link.name, result.error or 'no line')}", flush=True)


async def met_lines(
    chosen: Sequence[Pair], lanes: int, lines: dict[str, LineModel]
) -> dict[str, LineModel]:
    """The line that the product meets on the first link of each pair that `lines` lacks."""
    links = {pair.before.name: pair.before for pair in chosen}
    work = [link for name, link in links.items() if name not in lines]
    offices = [f"w{number}" for number in range(lanes)]
    if work:
        with Lab.start({"offices": {office: {} for office in offices}}, PREFIX) as lab:
            await asyncio.gather(*(lane(lab, office, work, lines) for office in offices))
    return lines


def kept(file: Path | None) -> dict[str, LineModel]:
    """The lines of an earlier `--lines`."""
    if file is None or not file.exists():
        return {}
    return {name: LineModel.from_json(line) for name, line in json.loads(file.read_text()).items()}


def keep(file: Path, lines: Mapping[str, LineModel]) -> None:
    """Store the lines as JSON."""
    stored = {name: line.to_json() for name, line in lines.items()}
    file.write_text(json.dumps(stored, indent=1) + "\n")


def judged(chosen: Sequence[Pair], lines: dict[str, LineModel], truths: Truths) -> Iterator[Row]:
    """Equal grades, and whether the change cures."""
    equal = cures = count = 0
    for pair in chosen:
        if pair.before.name not in lines:
            continue
        count += 1
        found = predict(pair.change.applied(lines[pair.before.name]))
        truth = acceptable(truths.runs[pair.after.name])
        equal += found.grade in truth
        cures += (found.grade >= READY) in {grade >= READY for grade in truth}
        mark = "  " if found.grade in truth else "! "
        print(f"{mark}{pair.before.name} -> {pair.after.name}: {found.grade}, {sorted(truth)}",
              flush=True)  # fmt: skip
    if count:
        yield Row("equal", 100 * equal / count, ">= 85", "%", equal >= 0.85 * count,
                  f"{equal} of {count}")  # fmt: skip
        yield Row("cures, or does not", 100 * cures / count, ">= 95", "%",
                  cures >= 0.95 * count)  # fmt: skip
    yield note("pairs", count, f"of {len(chosen)}")


def main() -> int:
    """All pairs, or two."""
    given = parser(__doc__)
    given.add_argument("--lanes", type=int, default=4, help="calls at a time")
    given.add_argument("--every", type=int, default=1, metavar="N", help="only every Nth pair")
    given.add_argument("--lines", type=Path, metavar="FILE", help="keep the lines met there")
    options = given.parse_args()
    truths = Truths(TRUTH)
    truths.runs |= Truths(HARD_TRUTH).runs
    links = [c for c in conditions() + fresh() if c.name in truths.runs]
    chosen = list(pairs(links))[:: options.every]
    if options.quick:
        chosen = chosen[:: max(1, len(chosen) // QUICK)][:QUICK]
    lines = asyncio.run(met_lines(chosen, options.lanes, kept(options.lines)))
    if options.lines is not None:
        keep(options.lines, lines)
    return finish("What-if against a real Chromium", list(judged(chosen, lines, truths)), options)


if __name__ == "__main__":
    sys.exit(main())
