"""The product's grade compared with what Chromium showed, over some 200 links.

    python tests/bench/chromium.py [--quick] [--json FILE] [--part NAME] [--table FILE]

The truth is `chromium_truth.json` and, of links with several troubles each, `chromium_hard.json`,
both measured by `chromium_collect.py`; this benchmark runs the product's own call over each link.
The marks apply to links that were not used for tuning, first to those that were drawn from the
commit of the frozen twin (`held`). Needs root (for the lab). With `--kept`, no call is made: what
`--detail` wrote earlier is judged by the rule for grades and by Chromium's calls as they are now.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from jharnet_monitor.judge.conference.grade import GradeLimit
from jharnet_monitor.judge.twin.decision import Held, decided
from jharnet_monitor.judge.twin.line import LineModel
from jharnet_monitor.judge.twin.prediction import GradePrediction
from jharnet_monitor.lab import Lab
from jharnet_monitor.model import Direction
from tests.bench.chromium_collect import HARD_TRUTH, TRUTH, WINDOW, disturbed, shape
from tests.bench.chromium_conditions import Condition, Part, conditions
from tests.bench.chromium_fresh import fresh
from tests.bench.chromium_hard import FREEZES, hard_links, held_links
from tests.bench.chromium_lines import seen_rows
from tests.bench.chromium_marks import hard_rows, rule_of_thumb
from tests.bench.chromium_truth import Run, Truths, acceptable
from tests.bench.marks import Row, at_most, finish, note, within
from tests.call_support import LabCall, Result

PREFIX = "jhnprd"
AT_ONCE = 4
SECONDS = 30.0
READY = 3
TOO_FROZEN = 0.10
QUICK = 8
TITLES: dict[Part, tuple[str, str]] = {
    "held": (
        "Held",
        "Two to four troubles each, drawn from the commit at which the twin was frozen: "
        + ", ".join(f"`{commit[:12]}`" for commit in FREEZES),
    ),
    "hard": ("Hard", "Two to four troubles each; the twin was tuned on these."),
    "fresh": (
        "Drawn at random",
        "Drawn by `tests/bench/chromium_fresh.py` when the models were made; nobody picked them.",
    ),
    "untouched": (
        "Untouched",
        "Chosen with those tuned on, and not looked at until the models were made.",
    ),
    "tuning": ("Tuned on", "The figures of the models are a fit to these."),
}
HEAD = (
    "| link | Chromium | product | Chromium frozen, down / up "
    "| product frozen, down / up | limited by |"
)


@dataclass(frozen=True, slots=True)
class Compared:
    """One condition: Chromium's grade and the product's."""

    name: str
    part: Part
    truth: tuple[int, ...]
    """Grades that are right."""
    grade: int | None
    """The product's grade; None if it gave none."""
    limited_by: str
    truth_frozen: tuple[float, float]
    """The share of frozen time in Chromium, down and up, as the mean of its runs."""
    frozen: tuple[float | None, float | None]
    """The product's share of frozen time; None if there was no picture."""
    runs: int
    grades: tuple[int, ...] = ()
    """Of Chromium's runs."""
    probabilities: tuple[float, ...] = ()
    """The twin's, of the grades 0 to 4; empty if it gave none."""
    ladder: int | None = None
    """The grade of the rung that was held."""
    thumb: int = 0
    """What a rule of thumb says that is told the link's settings."""
    line: Mapping[str, Any] | None = None
    """The line that the call observed, as plain data."""

    @property
    def right(self) -> bool:
        """Whether the grade is within the range that Chromium showed."""
        return self.grade in self.truth

    @property
    def near(self) -> bool:
        """Whether the grade is off by one at most."""
        return self.grade is not None and min(abs(self.grade - t) for t in self.truth) <= 1

    @property
    def false_ready(self) -> bool:
        """Whether the product grades it as ready although Chromium's picture froze too often."""
        ready = self.grade is not None and self.grade >= READY
        return ready and max(self.truth_frozen) > TOO_FROZEN


def compared(condition: Condition, runs: Sequence[Run], result: Result) -> Compared:
    """Compare both."""
    grade = result.values.get("grade")

    def ours(end: str) -> float | None:
        return result.values.get(f"{end}_freeze_ratio")

    return Compared(
        name=condition.name,
        part=condition.part,
        grade=None if grade is None else int(grade),
        limited_by=str(result.conditions.get("limited_by", result.error)),
        frozen=(ours("down"), ours("up")),
        probabilities=tuple(
            result.values[f"grade_{n}_probability"]
            for n in range(5)
            if f"grade_{n}_probability" in result.values
        ),
        ladder=ladder_grade(result),
        thumb=rule_of_thumb(condition),
        line=result.conditions.get("line"),
        **shown(runs),
    )


def shown(runs: Sequence[Run]) -> dict[str, Any]:
    """What Chromium's calls showed, as fields of `Compared`."""

    def frozen(end: str) -> float:
        ways = [getattr(run, end) for run in runs]
        return sum(way.frozen if way else 1.0 for way in ways) / len(ways)

    return {
        "truth": tuple(sorted(acceptable(runs))),
        "truth_frozen": (frozen("down"), frozen("up")),
        "runs": len(runs),
        "grades": tuple(run.grade() for run in runs),
    }


def ladder_grade(result: Result) -> int | None:
    """The grade of the rung that the call held, whatever the twin predicts."""
    grade = result.conditions.get("ladder_grade", result.values.get("grade"))
    return None if grade is None else int(grade)


def kept(files: Sequence[Path], truths: Truths) -> list[Compared]:
    """What `--detail` wrote, each grade decided anew, beside Chromium's calls as they are now."""
    found = []
    for row in (row for file in files for row in json.loads(file.read_text())):
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}
        one = replace(Compared(**plain), **shown(truths.runs[plain["name"]]))
        if one.ladder is not None and one.probabilities:
            held = Held(one.ladder, GradeLimit.UNKNOWN, Direction.DOWN)
            decision = decided(held, LineModel(), GradePrediction(one.probabilities))
            one = replace(one, grade=decision.grade)
        found.append(one)
    return found


async def lane(
    lab: Lab, office: str, work: list[Condition], truths: Truths, found: list[Compared]
) -> None:
    """Run the product's call on one condition after the other."""
    while work:
        condition = work.pop(0)
        shape(lab, office, condition)
        async with disturbed(lab, office, condition, SECONDS + 40):
            call = LabCall(lab, office, seconds=SECONDS, twin=True)
            result = await asyncio.to_thread(call.join)
        each = compared(condition, truths.runs[condition.name], result)
        found.append(each)
        mark = "  " if each.right else "! "
        print(
            f"{mark}{each.name}: {each.grade}, Chromium {each.truth}, {each.limited_by}", flush=True
        )


async def compare(chosen: Sequence[Condition], truths: Truths, at_once: int) -> list[Compared]:
    """Run all conditions, several at a time."""
    work = list(chosen)
    found: list[Compared] = []
    lanes = [f"p{number}" for number in range(at_once)]
    with Lab.start({"offices": {office: {} for office in lanes}}, PREFIX) as lab:
        await asyncio.gather(*(lane(lab, office, work, truths, found) for office in lanes))
    order = [condition.name for condition in chosen]
    return sorted(found, key=lambda each: order.index(each.name))


def judged(found: Sequence[Compared], which: str) -> Iterator[Row]:
    """The rows and marks of one part of the links."""
    count = len(found)
    right = sum(each.right for each in found)
    pairs = [pair for each in found for pair in zip(each.frozen, each.truth_frozen, strict=True)]
    ours = WINDOW * sum(frozen for frozen, _ in pairs if frozen is not None)
    truth = WINDOW * sum(true for frozen, true in pairs if frozen is not None)
    yield Row(f"{which}: grade is Chromium's", 100 * right / count, ">= 90", "%",
              right >= 0.9 * count, f"{right} of {count}")  # fmt: skip
    yield at_most(f"{which}: off by more than one", sum(not e.near for e in found), 0, "links")
    yield at_most(f"{which}: ready, but frozen", sum(e.false_ready for e in found), 0, "links")
    if truth:
        yield within(f"{which}: freeze seconds, pooled", ours, 0.75 * truth, 1.25 * truth, "s",
                     f"Chromium {truth:.0f} s")  # fmt: skip


def table(found: Sequence[Compared], rows: Sequence[Row], chromium: str) -> str:
    """The table as Markdown, for the documentation."""
    lines = [
        "# The product's grades beside Chromium's",
        "",
        "Written by `tests/bench/chromium.py --table`. Links are given by rate each way, round",
        "trip, queue (200 ms unless said), loss and jitter. *Or* stands where repeats of",
        "Chromium's own call disagree, or one came within 1.5 points of a threshold. What limited",
        "a call, and how much of it was frozen, is that of its last rung.",
        f"Chromium {chromium}, VP8, 1280x720 at 30 frames/s, at most 1.7 Mbit/s, both ways.",
        "",
        "| what | measured | unit | mark |",
        "|---|---|---|---|",
        *(f"| {r.name} | {r.measured:.4g} | {r.unit} | {r.mark or r.peer} |" for r in rows),
        "",
    ]
    for part, (title, origin) in TITLES.items():
        if part not in {each.part for each in found}:
            continue
        lines += [f"## {title}", "", origin, "", HEAD, "|---|---|---|---|---|---|"]
        for each in found:
            if each.part == part:
                truth = " or ".join(map(str, each.truth))
                grade = "none" if each.grade is None else str(each.grade)
                shares = [
                    " / ".join("-" if share is None else f"{share:.1%}" for share in both)
                    for both in (each.truth_frozen, each.frozen)
                ]
                mark = "" if each.right else " **!**"
                lines.append(
                    f"| {each.name} | {truth} | {grade}{mark} | {shares[0]} | {shares[1]} |"
                    f" {each.limited_by} |"
                )
        lines.append("")
    return "\n".join(lines)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    parser.add_argument("--quick", action="store_true", help="at most a minute, less exact")
    parser.add_argument("--seed", type=int, default=1, help="of every random draw")
    parser.add_argument("--truth", type=Path, default=TRUTH, metavar="FILE")
    parser.add_argument("--part", choices=get_args(Part), help="only these; else all")
    parser.add_argument("--lanes", type=int, default=AT_ONCE, help="calls at a time")
    parser.add_argument("--only", default="", metavar="TEXT", help="conditions named like this")
    parser.add_argument("--table", type=Path, metavar="FILE", help="write the table there")
    parser.add_argument("--kept", type=Path, nargs="+", metavar="FILE", help="what it wrote before")
    parser.add_argument("--detail", type=Path, metavar="FILE", help="write every comparison there")
    return parser.parse_args()


def main() -> int:
    """All conditions that have a truth, or every twelfth."""
    options = parsed()
    truths = Truths(options.truth)
    truths.runs |= Truths(HARD_TRUTH).runs
    chosen = [
        c
        for c in held_links() + hard_links() + conditions() + fresh()
        if c.name in truths.runs and options.only in c.name and options.part in (None, c.part)
    ]
    if options.quick:
        chosen = chosen[:: max(1, len(chosen) // QUICK)][:QUICK]
    started = time.monotonic()
    if options.kept:
        found = kept(options.kept, truths)
        chosen = [c for c in chosen if c.name in {each.name for each in found}]
    else:
        found = asyncio.run(compare(chosen, truths, options.lanes))
    rows: list[Row] = []
    for part in TITLES:
        these = [each for each in found if each.part == part]
        if these:
            rows += hard_rows(these, part) if part in ("hard", "held") else judged(these, part)
            rows += seen_rows(these, chosen, part)
    rows += [row for row in judged(found, "all") if "pooled" in row.name]
    disagree = sum(len({run.grade() for run in truths.runs[c.name]}) > 1 for c in chosen)
    repeated = sum(len(truths.runs[c.name]) > 1 for c in chosen)
    rows.append(note("Chromium's own repeats that disagree", disagree, f"of {repeated}"))
    if not options.kept:
        rows.append(note("time", time.monotonic() - started, "s"))
    if options.table:
        options.table.write_text(table(found, rows, truths.chromium))
    if options.detail:
        details: list[dict[str, Any]] = [asdict(each) for each in found]
        options.detail.write_text(json.dumps(details, indent=1))
    return finish("Conference grades against a real Chromium", rows, options)


if __name__ == "__main__":
    sys.exit(main())
