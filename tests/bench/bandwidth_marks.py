"""The results of the bandwidth benchmark compared with its marks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from tests.bench.bandwidth_links import Link
from tests.bench.bandwidth_run import WAYS
from tests.bench.marks import Row, at_most, note

WRONG = 0.05
SHORT_RTT = 0.3
BLAMED = ("bad_report", "agent_lost")
IPERF_SECONDS = 10.0
TOLERANCE = 0.002
"""The emulator's own accuracy: an interval that misses by less is not counted as a miss."""


@dataclass(frozen=True)
class DirectionAnswer:
    """The reading of one direction of a link, and the truth; rates in bit/s."""

    link: Link
    way: str
    answer: Mapping[str, Any]
    truth: float

    def value(self, name: str) -> float | None:
        """A value by the name behind the direction."""
        found: float | None = self.answer["values"].get(f"{self.way}_{name}")
        return found

    def condition(self, name: str) -> Any:
        """A condition by the name behind the direction."""
        return self.answer["conditions"].get(f"{self.way}_{name}")

    @property
    def rate(self) -> float:
        """The reading."""
        return float(self.answer["values"][f"{self.way}_bits_per_second"])

    @property
    def error(self) -> float:
        """Of the reading, as a share of the truth."""
        return self.rate / self.truth - 1

    @property
    def wrong(self) -> bool:
        """Whether the reading is off by more than 5 % from both what the line delivers, and what it
        carries with the packets that it loses.
        """
        carried = self.truth if self.link.others else self.link.way(self.way).lasting
        low, high = sorted((self.truth, carried))
        return not low * (1 - WRONG) <= self.rate <= high * (1 + WRONG)

    @property
    def marked(self) -> bool:
        """Whether the reading is marked."""
        return bool(self.condition("at_least") or self.condition("limited_by"))

    def covers(self, truth: float) -> bool:
        """Whether the interval contains a rate."""
        low, high = self.value("bits_per_second_low"), self.value("bits_per_second_high")
        above = high is None or truth <= high * (1 + TOLERANCE)
        return low is not None and low * (1 - TOLERANCE) <= truth and above

    @property
    def covered(self) -> bool:
        """Whether the interval contains what the line delivers, and what it carries."""
        return self.covers(self.truth)


def direction_answers(
    links: Sequence[Link], results: Mapping[str, Any]
) -> Iterator[DirectionAnswer]:
    """All readings."""
    for link in links:
        found = results.get(link.name)
        if found is None:
            continue
        for way in WAYS:
            if f"{way}_bits_per_second" in found["answer"]["values"] and way in found["truth"]:
                truth = found["left"][way] or found["truth"][way]
                yield DirectionAnswer(link, way, found["answer"], truth)


def rows(links: Sequence[Link], results: Mapping[str, Any]) -> Iterator[Row]:
    """The whole table."""
    done = [link for link in links if link.name in results]
    errors = {link.name: str(results[link.name]["answer"]["error"] or "") for link in done}
    overloaded = sum(error.startswith("host_overloaded") for error in errors.values())
    yield at_most("links not measured yet", len(links) - len(done), 0, "links")
    yield note("links on which this computer did not keep up, left out", overloaded, "links")
    blamed = [name for name, error in errors.items() if error.startswith(BLAMED)]
    yield at_most("no_data blamed on an honest agent", len(blamed), 0, "links", _names(blamed))
    failed = [
        name for name, error in errors.items()
        if error and not error.startswith((*BLAMED, "host_overloaded"))
    ]  # fmt: skip
    yield note("other tests without a result", len(failed), "links", _names(failed))
    every = list(direction_answers(links, results))
    if not every:
        return
    yield from _all_rows(every)
    yield from _clean_rows([one for one in every if one.link.kind == "clean"], results)
    yield from _bucket_rows([one for one in every if one.link.way(one.way).bucket_rate])
    yield from _shared_rows([one for one in every if one.link.others])


def _all_rows(every: Sequence[DirectionAnswer]) -> Iterator[Row]:
    missed = [one for one in every if not one.covered]
    share = 100 * (1 - len(missed) / len(every))
    yield Row("interval covers what the line delivers", share, ">= 95", "%", share >= 95,
              _ways(missed))  # fmt: skip
    alone = [one for one in every if not one.link.others]
    if alone:
        found = sum(one.covers(one.link.way(one.way).lasting) for one in alone)
        yield note("– or, lost packets included, what it carries", 100 * found / len(alone), "%")
    wrong = [one for one in every if not one.marked and one.wrong]
    yield at_most("unmarked and off by more than 5 %", 100 * len(wrong) / len(every), 1, "%",
                  _ways(wrong))  # fmt: skip
    yield note("readings", len(every), "ways", _kinds(every))
    yield note("– of them marked", sum(one.marked for one in every), "ways")
    for kind in sorted({one.link.kind for one in every}):
        some = [one for one in every if one.link.kind == kind and not one.condition("at_least")]
        if some:
            middle = median(100 * abs(one.error) for one in some)
            widths = [w for one in some if (w := one.condition("uncertainty")) is not None]
            width = f"half the interval {100 * median(widths):.1f} %"
            yield note(f"{kind}: median error", middle, "%", width)


def _clean_rows(every: Sequence[DirectionAnswer], results: Mapping[str, Any]) -> Iterator[Row]:
    exact = [one for one in every if not one.condition("at_least")]
    if exact:
        errors = sorted(100 * abs(one.error) for one in exact)
        yield at_most("clean links: median error", median(errors), 1, "%", f"{len(exact)} ways")
        rank = min(len(errors) - 1, int(0.95 * len(errors)))
        yield at_most("clean links: 95th percentile", errors[rank], 3, "%")
    short = [one for one in every if one.link.rtt < SHORT_RTT and one.condition("seconds")]
    if short:
        longest = max(short, key=lambda one: float(one.condition("seconds")))
        yield at_most("clean links below 300 ms: longest direction", longest.condition("seconds"),
                      2.5, "s", longest.link.name)  # fmt: skip
        shares = [
            100 * results[one.link.name]["short_bytes"][one.way] * 8
            / (one.link.way(one.way).rate * IPERF_SECONDS)
            for one in short
        ]  # fmt: skip
        worst = f"largest {max(shares):.1f} %"
        yield at_most("– bytes of a direction, of 10 s of the line, median", median(shares), 15,
                      "%", worst)  # fmt: skip


def _bucket_rows(every: Sequence[DirectionAnswer]) -> Iterator[Row]:
    if not every:
        return
    found = [one for one in every if one.value("sustained_bits_per_second")]
    exact = [one for one in found if not one.condition("sustained_at_least")]
    off = [
        one for one in exact
        if abs((one.value("sustained_bits_per_second") or 0) / one.link.way(one.way).lasting - 1)
        > WRONG
    ]  # fmt: skip
    yield at_most("policed or shaped: sustained rate off by more than 5 %", len(off), 0, "ways",
                  _ways(off))  # fmt: skip
    yield note("– given exactly", len(exact), "ways", f"of {len(every)}")
    yield note("– given as at least", len(found) - len(exact), "ways", "the pace is below it")
    named = [one for one in exact if one.condition("limited_by") in ("policer", "shaper")]
    yield note("– named policer or shaper", len(named), "ways")
    right = sum((one.condition("limited_by") == "shaper") == (one.link.kind == "shaped")
                for one in named)  # fmt: skip
    yield note("– named rightly", right, "ways")


def _shared_rows(every: Sequence[DirectionAnswer]) -> Iterator[Row]:
    if not every:
        return
    lines = [one for one in every if one.value("capacity_bits_per_second")]
    yield note(
        "shared: ways with a figure of the line, too", len(lines), "ways", f"of {len(every)}"
    )
    if lines:
        errors = [
            100 * abs((one.value("capacity_bits_per_second") or 0)
                      / one.link.way(one.way).rate - 1)
            for one in lines if not one.condition("capacity_at_least")
        ]  # fmt: skip
        if errors:
            yield note("– its median error", median(errors), "%")


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:6])


def _ways(every: Sequence[DirectionAnswer]) -> str:
    return "; ".join(f"{one.link.name} {one.way[:2]} {100 * one.error:+.0f} %" for one in every[:8])


def _kinds(every: Sequence[DirectionAnswer]) -> str:
    kinds = sorted({one.link.kind for one in every})
    return ", ".join(f"{sum(one.link.kind == k for one in every)} {k}" for k in kinds)
