"""What-if against Chromium: a call on one link, Chromium on the link as it would be after a change.

    python tests/bench/chromium_whatif.py [--hard] [--quick] [--lanes N] [--lines FILE]

The pairs are those of `chromium_pairs.py`: plain links that differ in one thing, or with `--hard`
changes drawn for the links of the freeze in force. The product calls over the first link, the twin
answers for the change, and Chromium's own grade on the second is the truth (`chromium_truth.json`,
`chromium_hard.json`). Needs root (for the lab). `--lines` keeps the lines that the calls met: links
that the file holds, or what `chromium.py --detail` wrote, are not called over again.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from jharnet_monitor.judge.twin.line import LineModel
from jharnet_monitor.judge.twin.predict import predict
from jharnet_monitor.judge.twin.prediction import Certainty
from jharnet_monitor.lab import Lab
from tests.bench.chromium_collect import HARD_TRUTH, TRUTH, disturbed, shape
from tests.bench.chromium_conditions import Condition, conditions
from tests.bench.chromium_fresh import fresh
from tests.bench.chromium_pairs import Pair, hard_pairs, plain_pairs
from tests.bench.chromium_truth import Truths, acceptable
from tests.bench.marks import Row, finish, note, parser
from tests.call_support import LabCall

PREFIX = "jhnwif"
SECONDS = 30.0
READY = 3
QUICK = 2


async def lane(lab: Lab, office: str, work: list[Condition], lines: dict[str, LineModel]) -> None:
    """Call over one link after the other."""
    while work:
        link = work.pop(0)
        shape(lab, office, link)
        async with disturbed(lab, office, link, SECONDS + 40):
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


def kept(lines: Path | None, detail: Path | None) -> dict[str, LineModel]:
    """The lines of an earlier `--lines`, and of what `chromium.py --detail` wrote."""
    found = json.loads(lines.read_text()) if lines is not None and lines.exists() else {}
    for each in json.loads(detail.read_text()) if detail is not None else ():
        if each["line"] is not None:
            found[each["name"]] = each["line"]
    return {name: LineModel.from_json(line) for name, line in found.items()}


def keep(file: Path, lines: Mapping[str, LineModel]) -> None:
    """Store the lines as JSON."""
    stored = {name: line.to_json() for name, line in lines.items()}
    file.write_text(json.dumps(stored, indent=1) + "\n")


@dataclass(frozen=True, slots=True)
class Answered:
    """The twin's answer for a change, and the grades that Chromium showed after it."""

    grade: int
    truth: frozenset[int]
    certain: bool

    @property
    def right(self) -> bool:
        """Whether the grade is one that Chromium showed."""
        return self.grade in self.truth

    @property
    def cure_right(self) -> bool:
        """Whether ready or not ready is what Chromium showed."""
        return (self.grade >= READY) in {grade >= READY for grade in self.truth}


def answered(
    chosen: Sequence[Pair], lines: Mapping[str, LineModel], truths: Truths
) -> Iterator[Answered]:
    """The answers for all pairs whose first link gave a line."""
    for pair in chosen:
        if pair.before.name not in lines:
            continue
        found = predict(pair.change.applied(lines[pair.before.name]))
        truth = frozenset(acceptable(truths.runs[pair.after.name]))
        each = Answered(found.grade, truth, found.certainty is Certainty.CERTAIN)
        mark = "  " if each.right else "! " if each.cure_right else "!!"
        shares = " ".join(f"{share:.2f}" for share in found.probabilities)
        print(f"{mark}{pair.before.name} -> {pair.after.name}: {each.grade} ({shares}),"
              f" {sorted(truth)}", flush=True)  # fmt: skip
        yield each


def judged(answers: Sequence[Answered], pairs: int) -> Iterator[Row]:
    """Equal grades, and whether the change cures."""
    count = len(answers)
    if count:
        equal = sum(each.right for each in answers)
        cures = sum(each.cure_right for each in answers)
        certain = [each for each in answers if each.certain]
        yield Row("equal", 100 * equal / count, ">= 85", "%", equal >= 0.85 * count,
                  f"{equal} of {count}")  # fmt: skip
        yield Row("cures, or does not", 100 * cures / count, ">= 95", "%",
                  cures >= 0.95 * count, f"{cures} of {count}")  # fmt: skip
        yield note("certain and right", sum(each.right for each in certain), f"of {len(certain)}")
    yield note("pairs with a line", count, f"of {pairs}")


def chosen_pairs(truths: Truths, hard: bool) -> list[Pair]:
    """All pairs of the kind whose second link has a truth."""
    if hard:
        return [pair for pair in hard_pairs() if pair.after.name in truths.runs]
    return list(plain_pairs([c for c in conditions() + fresh() if c.name in truths.runs]))


def main() -> int:
    """All pairs, or two."""
    given = parser(__doc__)
    given.add_argument("--hard", action="store_true", help="pairs drawn from the freeze in force")
    given.add_argument("--lanes", type=int, default=4, help="calls at a time")
    given.add_argument("--every", type=int, default=1, metavar="N", help="only every Nth pair")
    given.add_argument("--lines", type=Path, metavar="FILE", help="keep the lines met there")
    given.add_argument("--detail", type=Path, metavar="FILE", help="what `chromium.py` wrote")
    options = given.parse_args()
    truths = Truths(TRUTH)
    truths.runs |= Truths(HARD_TRUTH).runs
    chosen = chosen_pairs(truths, options.hard)[:: options.every]
    if options.quick:
        chosen = chosen[:: max(1, len(chosen) // QUICK)][:QUICK]
    lines = asyncio.run(met_lines(chosen, options.lanes, kept(options.lines, options.detail)))
    if options.lines is not None:
        keep(options.lines, lines)
    answers = list(answered(chosen, lines, truths))
    rows = list(judged(answers, len(chosen)))
    return finish("What-if against a real Chromium", rows, options)


if __name__ == "__main__":
    sys.exit(main())
