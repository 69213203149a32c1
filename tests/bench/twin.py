"""The twin on the true line of every link beside what Chromium showed there, without a lab.

    python tests/bench/twin.py [--quick] [--json FILE] [--part tuning|held|all] [--runs N]
                               [--only TEXT] [--links]

Every link's own settings are the line model, so that what differs is the simulation's and not the
measurement's. `tuning` are the links of `chromium_truth.json` and the hard ones up to the freeze in
force; `held` are those of that freeze. Probabilities of the tuning links are cross-validated: the
model's error is fitted on four fifths of the links and applied to the fifth.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from multiprocessing import get_context
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from jharnet_monitor.judge.twin.call import ReceivedQuality, Run, simulate_each, warm_up
from jharnet_monitor.judge.twin.clients import REFERENCE
from jharnet_monitor.judge.twin.line import UNLIMITED, DirectionModel, LineModel
from jharnet_monitor.judge.twin.model_error import FITTED, NO_ERROR, ModelError
from tests.bench.chromium_collect import HARD_TRUTH, TRUTH
from tests.bench.chromium_conditions import Condition, conditions
from tests.bench.chromium_fresh import fresh
from tests.bench.chromium_hard import hard_links, held_links
from tests.bench.chromium_marks import hard_rows, rule_of_thumb
from tests.bench.chromium_truth import DirectionModel as Shown
from tests.bench.chromium_truth import Run as Call
from tests.bench.chromium_truth import Truths, acceptable
from tests.bench.marks import Row, finish, note, parser
from tests.bench.twin_error import Seen, cross_validated, fitted, probabilities

SEED = 16
PROCESSES = 2
BATCH = 24
"""Links that are simulated at once."""
READY, TOO_FROZEN = 3, 0.10
QUICK = 12


@dataclass(frozen=True, slots=True)
class Link:
    """One link: its condition, Chromium's calls on it, and the twin's."""

    condition: Condition
    calls: Sequence[Call]
    runs: Sequence[Run]
    probabilities: tuple[float, ...]
    ladder: int | None = field(default=None)

    @property
    def truth(self) -> tuple[int, ...]:
        """Grades that are right."""
        return tuple(sorted(acceptable(self.calls)))

    @property
    def grades(self) -> tuple[int, ...]:
        """Of Chromium's calls."""
        return _grades(self.calls)

    @property
    def grade(self) -> int:
        """The twin's most probable."""
        return max(range(5), key=lambda grade: (self.probabilities[grade], -grade))

    @property
    def thumb(self) -> int:
        """The rule of thumb's."""
        return rule_of_thumb(self.condition)

    @property
    def near(self) -> bool:
        """Off by one at most."""
        return min(abs(self.grade - right) for right in self.truth) <= 1

    @property
    def false_ready(self) -> bool:
        """Ready, though Chromium froze."""
        ends = (sum(getattr(c, end).frozen if getattr(c, end) else 1.0 for c in self.calls)
                for end in ("down", "up"))  # fmt: skip
        return self.grade >= READY and max(ends) / len(self.calls) > TOO_FROZEN


def true_line(condition: Condition) -> LineModel:
    """The line model of a link's settings.

    >>> from tests.bench.chromium_conditions import way
    >>> true_line(Condition("", way(0.5, 40, loss=2))).down.loss
    0.02
    """
    gone, every = condition.blackout or (0.0, 0.0)
    ways = [
        _way(wanted, condition, end)
        for end, wanted in (("down", condition.down), ("up", condition.upwards))
    ]
    return LineModel(ways[0], ways[1], gone, every)


def _way(wanted: Mapping[str, Any], condition: Condition, end: str) -> DirectionModel:
    def milliseconds(name: str) -> float:
        return float(str(wanted[name]).removesuffix("ms")) / 1000

    loss = wanted["loss"]
    mean, burst = (loss["mean"], loss["burst"]) if isinstance(loss, dict) else (loss, 1)
    on, off = 0.0, 0.0
    if condition.elastic is not None and condition.elastic[0] == end:
        _, on, off = condition.elastic
    return DirectionModel(
        rate=min(UNLIMITED, float(str(wanted["rate"]).split()[0]) * 1e6),
        queue=milliseconds("queue"),
        bucket=float(str(wanted["bucket"] or "0s").removesuffix("s")),
        delay=milliseconds("delay"),
        jitter=milliseconds("jitter"),
        loss=float(str(mean).removesuffix("%")) / 100,
        burst=float(burst),
        others=condition.cross * 1e6,
        transfer_on=on,
        transfer_off=off,
    )


def chosen(part: str) -> tuple[list[Condition], dict[str, list[Call]]]:
    """The links of a part that Chromium has called over, and its calls."""
    calls = Truths(TRUTH).runs | Truths(HARD_TRUTH).runs
    links: list[Condition] = []
    if part != "held":
        links += conditions() + fresh() + hard_links()
    if part != "tuning":
        links += held_links()
    return [link for link in links if link.name in calls], calls


def simulated(links: Sequence[Condition], runs: int) -> dict[str, Sequence[Run]]:
    """The twin's runs by the name of the link; several links are simulated at once."""
    todo = sorted(links, key=lambda link: (warm_up(true_line(link)), link.name))
    batches = [
        (warm, same[begin : begin + BATCH], runs)
        for warm in sorted({warm_up(true_line(link)) for link in todo})
        for same in [[link for link in todo if warm_up(true_line(link)) == warm]]
        for begin in range(0, len(same), BATCH)
    ]
    found: dict[str, Sequence[Run]] = {}
    with get_context("fork").Pool(PROCESSES) as pool:
        for part in pool.imap_unordered(_batch, batches):
            found |= part
    return found


def _batch(work: tuple[float, Sequence[Condition], int]) -> dict[str, Sequence[Run]]:
    warm, links, runs = work
    lines = [true_line(link) for link in links]
    each = simulate_each(lines, warm, SEED, REFERENCE, runs)
    return {link.name: found for link, found in zip(links, each, strict=True)}


def described(link: Link) -> str:
    """Chromium's figures and the means of the twin's, a line each."""
    right = "  " if link.grade in link.truth else "! "
    sure = " ".join(f"{value:.2f}" for value in link.probabilities)
    lines = [
        f"{right}{link.condition.name}",
        f"     Chromium {link.grades} right {link.truth}, twin {link.grade}: {sure}",
    ]
    for end in ("down", "up"):
        theirs = [getattr(call, end) for call in link.calls]
        ours = [getattr(run, end) for run in link.runs]
        lines.append(f"     {end:4} {_figures(theirs, 1000)} | {_figures(ours, 1)}")
    return "\n".join(lines)


def _figures(ways: Sequence[Shown | ReceivedQuality | None], unit: float) -> str:
    there = [way for way in ways if way is not None]
    if not there:
        return "no call"

    def mean(name: str) -> float:
        return float(sum(getattr(way, name) for way in there) / len(there))

    return (
        f"{mean('frozen'):6.1%} frozen {mean('concealed'):6.1%} made up {mean('frames'):4.1f}/s"
        f" {mean('height'):4.0f} lines {mean('rate') * unit / 1000:5.0f} kbit/s"
    )


def kept(links: Sequence[Link]) -> Iterator[dict[str, Any]]:
    """The figures as plain data."""
    for link in links:
        yield {
            "name": link.condition.name,
            "probabilities": link.probabilities,
            "calls": [asdict(call) for call in link.calls],
            "runs": [asdict(run) for run in link.runs],
        }


def stored(path: Path) -> dict[str, Sequence[Run]]:
    """The runs of an earlier `--detail`."""
    return {
        each["name"]: [
            Run(ReceivedQuality(**run["down"]), ReceivedQuality(**run["up"]))
            for run in each["runs"]
        ]
        for each in json.loads(path.read_text())
    }


def _grades(calls: Sequence[Call]) -> tuple[int, ...]:
    return tuple(call.grade() for call in calls)


def judged(results: Sequence[Link], name: str) -> Iterator[Row]:
    """The marks of the hard links and of all."""
    hard = [each for each in results if each.condition.part in ("hard", "held")]
    yield from hard_rows(hard, f"hard, {name}")
    if len(hard) < len(results):
        yield from hard_rows(results, f"all, {name}")


def main() -> int:
    """Simulate the links and print the marks."""
    given = parser(__doc__)
    given.add_argument("--part", choices=("tuning", "held", "all"), default="tuning")
    given.add_argument("--runs", type=int, default=32, help="runs of a link")
    given.add_argument("--only", default="", metavar="TEXT", help="links named like this")
    given.add_argument("--links", action="store_true", help="print every link, not only the wrong")
    given.add_argument("--stored", type=Path, metavar="FILE", help="take the runs of --detail")
    given.add_argument("--detail", type=Path, metavar="FILE", help="write all figures there")
    options = given.parse_args()
    started = time.monotonic()
    links, calls = chosen(options.part)
    links = [link for link in links if options.only in link.name]
    if options.quick:
        links = links[:: max(1, len(links) // QUICK)]
    found = stored(options.stored) if options.stored else simulated(links, options.runs)
    seen = [
        Seen(tuple(found[link.name]), _grades(calls[link.name]), link.elastic is not None)
        for link in links
    ]
    answers = {
        "with model error": [probabilities(each, FITTED) for each in seen],
        "without model error": [probabilities(each, NO_ERROR) for each in seen],
    }
    if options.part == "tuning" and not options.quick:
        answers["cross-validated"] = cross_validated(seen, SEED)
        print(f"fitted to all: {fitted(seen)}; in use: {FITTED}")
    rows: list[Row] = []
    for name, answer in answers.items():
        results = [
            Link(link, calls[link.name], found[link.name], each)
            for link, each in zip(links, answer, strict=True)
        ]
        rows += judged(results, name)
    for each in results:
        if options.links or each.grade not in each.truth:
            print(described(each))
    rows.append(note("scales of the model error", len(fields(ModelError)), "constants"))
    rows.append(note("time", time.monotonic() - started, "s"))
    if options.detail:
        options.detail.write_text(json.dumps(list(kept(results))))
    return finish("The twin against a real Chromium", rows, options)


if __name__ == "__main__":
    sys.exit(main())
