"""Makes the measurements of a case in `tests/cases/` and judges them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import yaml

from jharnet_monitor.config import Config
from jharnet_monitor.judge.calendar.hours import in_office_hours, office_windows
from jharnet_monitor.judge.line.assess import Assessment, LineEvidence, assess
from jharnet_monitor.judge.line.loss import BLOCK_MS, PacketCounts
from jharnet_monitor.judge.line.traffic import TrafficReadings
from jharnet_monitor.judge.outages.availability import DOWN
from jharnet_monitor.judge.outages.shared import judge_spans
from jharnet_monitor.judge.outages.timeline import Span
from jharnet_monitor.model import Measurement, OfficeState, Outcome
from tests.case_draws import drawn
from tests.made_up_week import WEEK, ZONE

DIRECTORY = Path(__file__).parent / "cases"
STRETCH = 28
READ_EVERY = 300.0
ASSUMED_LOAD = 0.85
MEGA = 1e6
LONG_TEST = 4
"""Hour of the speed test that is a long one."""
TRAIN = 60
"""Datagrams of the packet trains of one test, each way."""
OTHERS = 3
"""Offices that share every outage of a case that is `together`."""


@dataclass(frozen=True, slots=True)
class Case:
    """A described line, and the right judgement."""

    file: str
    data: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.file}: {self.data['name']}"


def cases(*files: str, seed: int | None = None) -> list[Case]:
    """The cases of these files, a `*` in whose name stands for several. A file in which figures
    are ranges begins with the `seed` by which they are drawn; another one may be given."""
    found = []
    for path in [one for file in files for one in sorted(DIRECTORY.glob(f"{file}.yaml"))]:
        rows = yaml.safe_load(path.read_text())
        own = rows.pop(0)["seed"] if "seed" in rows[0] else 0
        found += [Case(path.stem, drawn(row, own if seed is None else seed)) for row in rows]
    return found


def judged(case: Case) -> Assessment:
    """The assessment of a case."""
    return assessed(case.data, evidence(case))


def evidence(case: Case) -> LineEvidence:
    """What was measured on the line of a case."""
    return _Maker(case.data, _config(case.data)).evidence()


def assessed(data: Mapping[str, Any], found: LineEvidence) -> Assessment:
    """The assessment of these measurements under the contract and the policy of a case's data."""
    config = _config(data)
    return assess(config, config.offices[0], found)


def wrong(case: Case, found: Assessment) -> str:
    """How the assessment differs from the case; empty if it is right."""
    data, text = case.data, [verdict.value for verdict in found.verdicts]
    lines = [f"is {text}, doubts {[d.value for d in found.doubts]}, "
            f"notes {[n.value for n in found.notes]}"]  # fmt: skip
    right = (data["is"], data.get("or", data["is"]))
    problems = [] if text[0] in right else [f"not {' or '.join(dict.fromkeys(right))}"]
    problems += [f"without {name}" for name in data.get("also", ()) if name not in text]
    problems += [f"says {name}" for name in data.get("not", ()) if name in text]
    doubts, notes = [d.value for d in found.doubts], [n.value for n in found.notes]
    problems += [f"no doubt {name}" for name in data.get("doubts", ()) if name not in doubts]
    problems += [f"no note {name}" for name in data.get("notes", ()) if name not in notes]
    if "slab" in data and found.slab != (data["slab"] and data["slab"] * MEGA):
        problems.append(f"slab {found.slab}")
    for name in ("condition", "reason"):
        if name in data and getattr(found.ground, name) != data[name]:
            problems.append(f"{name} {getattr(found.ground, name)}")
    return "; ".join([*problems, *lines]) if problems else ""


def _config(data: Mapping[str, Any]) -> Config:
    contract = data.get("contract", 4)
    link: dict[str, Any] | None = None
    if contract is not None:
        down, up = contract if isinstance(contract, list) else (contract, contract)
        link = {"contracted": f"{down} Mbit/s", "contracted_up": f"{up} Mbit/s"}
        if "sla" in data:
            link["sla"] = data["sla"]
    thresholds = {"framing": data["framing"]} if "framing" in data else {}
    office = {"id": "potka", "name": "Potka", "name_hi": "पोटका", "router": "10.8.0.1"}
    return Config.model_validate(
        {
            "district": {"id": "d", "name": "D", "name_hi": "द"},
            "hub": {"tls": False, "uplink": {"contracted": "34 Mbit/s"}},
            "thresholds": thresholds,
            "capacity": data.get("policy", {}),
            "offices": [office | ({"link": link} if link else {})],
        }
    )


class _Maker:
    """Makes the evidence of one case."""

    def __init__(self, data: Mapping[str, Any], config: Config) -> None:
        self._data = data
        self._district = config.district
        self._rng = np.random.default_rng(crc32(data["name"].encode()))
        self._days = data.get("days", STRETCH)
        self.end = WEEK.end
        self.start = self.end - timedelta(days=STRETCH)
        self._dates = [(self.start + timedelta(days=n)).date() for n in range(STRETCH)]
        self._spans = self._states()

    def evidence(self) -> LineEvidence:
        windows = office_windows(self._district, self._dates)
        others = [self._states()] * OTHERS if self._data.get("together") else []
        own = self._states(self._data.get("more", ()))
        return LineEvidence(
            start=self.start,
            end=self.end,
            stretch=self._dates,
            states=judge_spans([own, *others], windows)[0],
            tests=sorted(self._tests(), key=lambda test: test.started_at),
            calls=list(self._calls()),
            packets=self._packets(),
            traffic=self._traffic(),
            days=self._days,
        )

    def _pair(self, name: str, default: Any = None) -> tuple[Any, Any]:
        found = self._data.get(name, default)
        return (found[0], found[1]) if isinstance(found, list) else (found, found)

    @property
    def _night(self) -> tuple[Any, Any]:
        return self._pair("night", 3.92)

    def _night_of(self, day: date) -> tuple[Any, Any]:
        """The rates at night, which may have been others in the first days."""
        spec = self._data.get("before")
        if spec and day < self._dates[spec["days"]]:
            return spec["night"], spec["night"]
        return self._night

    def _moments(self, hours: tuple[int, ...], days: int) -> Iterator[datetime]:
        for day in self._dates[STRETCH - days :]:
            for hour in () if self._in("gap", day) else hours:
                yield datetime.combine(day, time(hour, 7), ZONE)

    def _tests(self) -> Iterator[Measurement]:
        days = min(self._days, self._data.get("tests", self._days))
        spread = self._data.get("spread", 0.01)
        shifts = {day: self._rng.normal() for day in self._dates}
        for at in self._moments((1, 4, 6, 11, 13, 15, 20, 22), days):
            rates = self._night_of(at.date())
            if in_office_hours(self._district, at):
                own = self._own(at.date())
                left = [
                    None if rate is None else max(rate - used, 0.2)
                    for rate, used in zip(rates, own, strict=True)
                ]
                rates = self._pair("day", left)
            elif rates[0] is None:
                continue
            if None in rates:
                continue
            if self._slow():
                rates = (self._data["slow"]["rate"],) * 2
            elif self._rainy(at.date()):
                rates = (self._data["rain"]["rate"],) * 2
            elif "backup" in self._data and self._backing_up(at):
                rates = (self._data["backup"]["rate"],) * 2
            held = "slow" in self._data and rates[0] == self._data["slow"]["rate"]
            noise = spread * (0.5 * shifts[at.date()] + 0.85 * self._rng.normal())
            values = {
                f"{way}load_bits_per_second": rate * MEGA * (1 + noise)
                for way, rate in zip(("down", "up"), rates, strict=True)
            }
            yield self._run(
                "bandwidth", at, values | self._lasting(at, noise), self._held_back(held)
            )
        if self._data.get("trains"):
            for at in self._moments((2, 5, 12, 14, 21), self._days):
                rate = self._data["trains"] * MEGA * (1 + 0.01 * self._rng.normal())
                values = {f"{way}load_capacity_bits_per_second": rate for way in ("down", "up")}
                yield self._run("bandwidth", at, values, {"path": "trains"} | self._train_counts())

    def _own(self, day: date) -> tuple[float, float]:
        """The office's own traffic in office hours, towards it and from it, Mbit/s."""
        if self._in("week", day):
            used: float = self._data["week"]["own"]
            return used, used
        return self._pair("own", ASSUMED_LOAD)

    def _backing_up(self, at: datetime) -> bool:
        """Whether the office fills its line outside of office hours."""
        first, last = self._data["backup"]["hours"]
        return bool(first <= at.hour < last)

    def _slow(self) -> bool:
        spec = self._data.get("slow")
        return spec is not None and self._rng.random() < spec["share"]

    def _lasting(self, at: datetime, noise: float) -> dict[str, float]:
        """The rate that lasts after the bucket of a policer is spent, where a long test was
        made."""
        days = self._data.get("sustained_days", STRETCH)
        place = self._dates.index(at.date())
        if "sustained" not in self._data or place % max(STRETCH // days, 1) or at.hour != LONG_TEST:
            return {}
        rates = zip(("down", "up"), self._pair("sustained"), strict=True)
        return {
            f"{way}load_sustained_bits_per_second": rate * MEGA * (1 + noise) for way, rate in rates
        }

    def _train_counts(self) -> dict[str, Any]:
        """How many datagrams of a train each way were sent and lost."""
        if "trains_lost" not in self._data:
            return {}
        share = 1 - (1 - self._data["trains_lost"]) ** 0.5
        return {
            name: number
            for way in ("down", "up")
            for name, number in (
                (f"{way}load_train_sent", TRAIN),
                (f"{way}load_train_lost", int(self._rng.binomial(TRAIN, share))),
            )
        }

    def _held_back(self, slow: bool) -> dict[str, Any]:
        """The cause that limited a speed test."""
        found: dict[str, Any] = {"path": "jharnet"}
        if self._data.get("at_least"):
            found |= {"download_at_least": True, "upload_at_least": True}
        limited = self._data.get("limited", "policer" if self._policed else None)
        if slow:
            limited = self._data["slow"].get("limited", limited)
        return found | ({"limited_by": limited} if limited else {})

    @property
    def _policed(self) -> bool:
        return "sustained" in self._data and bool(self._data.get("at_least"))

    def _calls(self) -> Iterator[Measurement]:
        spec = self._data.get("calls")
        if not spec:
            return
        for at in self._moments((11, 15), self._days):
            if not in_office_hours(self._district, at):
                continue
            values = {"grade": float(spec["grade"])}
            for way in ("down", "up"):
                values[f"{way}_audio_loss_ratio"] = spec["loss"] / 2 * self._rng.gamma(4, 1 / 4)
            yield self._run("conference", at, values, {"path": "jharnet"})

    def _run(
        self, probe: str, at: datetime, values: dict[str, float], conditions: dict[str, Any]
    ) -> Measurement:
        return Measurement(
            "potka", probe, at, 1.0, Outcome.OK, None, conditions, values,
            f"{probe}-{conditions['path']}-{at}",
        )  # fmt: skip

    def _packets(self) -> PacketCounts:
        spec, counts = self._data.get("loss", {}), PacketCounts()
        first = round(self.start.timestamp() * 1000) + (STRETCH - self._days) * 86_400_000
        at = np.arange(first, round(self.end.timestamp() * 1000), BLOCK_MS)
        at = at[[not self._in("gap", _day(int(one))) for one in at]]
        ratio = np.array([self._loss_at(int(one), spec) for one in at])
        day = (at - first) // 86_400_000
        ratio *= self._rng.gamma(20, 1 / 20, int(day.max()) + 1)[day]
        sent = np.full(len(at), 300.0)
        lost = self._rng.binomial(300, np.clip(ratio, 0, 1)).astype(np.float64)
        if spec.get("edges"):
            for span in self._spans:
                if span.state in DOWN:
                    place = round((span.start.timestamp() * 1000 - first) // BLOCK_MS)
                    lost[place] = 90.0
        counts.add(at, sent, sent - lost)
        return counts

    def _loss_at(self, at: int, spec: Mapping[str, Any]) -> float:
        moment = _moment(at)
        first, place = spec.get("first", 5), self._dates.index(moment.date())
        if "dates" in spec and not first <= place < first + spec["dates"]:
            return 0.0
        if self._rainy(moment.date()):
            return float(self._data["rain"]["loss"])
        if _in_office_hours(at):
            return self._loss_by_day(at, moment.hour, spec)
        if "backup" in self._data and self._backing_up(moment):
            return float(self._data["backup"]["loss"])
        evening = spec.get("evening", (0, 0, 0.0))
        return float(evening[2] if evening[0] <= moment.hour < evening[1] else spec.get("night", 0))

    def _loss_by_day(self, at: int, hour: int, spec: Mapping[str, Any]) -> float:
        """The loss in office hours."""
        if "hours" in spec and not spec["hours"][0] <= hour < spec["hours"][1]:
            return 0.0
        if spec.get("busy"):
            full = self._full_at(at)
            return float(spec["office"]) / max(self._data["full"], 1e-9) if full else 0.0
        return float(spec.get("office", 0.0))

    def _full_at(self, at: int) -> bool:
        share: float = self._data.get("full", 0.0)
        if self._in("week", _day(at)):
            share = self._data["week"].get("full", share)
        return (at // BLOCK_MS * 7919) % 1000 < share * 1000

    def _traffic(self) -> TrafficReadings:
        readings, own = TrafficReadings(), self._data.get("own")
        if own is None:
            return readings
        days = min(self._days, self._data.get("router_days", self._days))
        first = round(self.start.timestamp() * 1000) + (STRETCH - days) * 86_400_000
        begin = np.arange(first, round(self.end.timestamp() * 1000), BLOCK_MS)
        begin = begin[[not self._in("gap", _day(int(one))) for one in begin]]
        rates = np.array([self._used_at(int(one)) for one in begin])
        noise = 1 + 0.01 * self._rng.normal(size=len(rates))
        down, up = (rates[:, way] * MEGA * noise for way in (0, 1))
        readings.add(begin + BLOCK_MS, np.full(len(rates), READ_EVERY), down, up)
        return readings

    def _used_at(self, at: int) -> tuple[float, float]:
        """What the router counts in the five minutes from then, each way, Mbit/s."""
        moment = _moment(at)
        down, up = self._night
        line = ((down or 4) * 0.99, (up or 4) * 0.99)
        if not _in_office_hours(at):
            full = "backup" in self._data and self._backing_up(moment)
            return line if full else (0.02, 0.02)
        return line if self._full_at(at) else self._own(moment.date())

    def _states(self, more: Sequence[Mapping[str, Any]] = ()) -> list[Span]:
        """The states: up, except for the outages and unknown times."""
        known = self._data.get("known", 1.0)
        first = self.end - known * (self.end - self.start)
        first = max(first, self.start + timedelta(days=STRETCH - self._days))
        spec = [*self._data.get("down", ()), *more, *self._gap_states()]
        cuts = sorted(self._cuts(spec, first), key=lambda span: span.start)
        spans, reached = [], first
        for cut in cuts:
            if cut.start < reached:
                continue
            spans += [Span(OfficeState.UP, reached, cut.start), cut]
            reached = cut.end
        return [span for span in [*spans, Span(OfficeState.UP, reached, self.end)]
                if span.start < span.end]  # fmt: skip

    def _gap_states(self) -> Iterator[Mapping[str, Any]]:
        """The days of which nothing was recorded, as a time without a known state."""
        if gap := self._data.get("gap"):
            yield {
                "state": "unknown", "from": "00:00", "minutes": gap["dates"] * 1440,
                "first": gap["first"], "dates": 1,
            }  # fmt: skip

    def _in(self, name: str, day: date) -> bool:
        """Whether a day is one of those of `gap` or `week`."""
        spec = self._data.get(name)
        if spec is None:
            return False
        return bool(0 <= self._dates.index(day) - spec["first"] < spec["dates"])

    def _rainy(self, day: date) -> bool:
        spec = self._data.get("rain")
        if spec is None:
            return False
        return bool(self._dates.index(day) % spec["every"] == spec["every"] - 1)

    def _cuts(self, outages: Sequence[Mapping[str, Any]], first: datetime) -> Iterator[Span]:
        for spec in outages:
            days = [day for day in self._dates if datetime.combine(day, time(), ZONE) >= first]
            days = days[spec.get("first", 1 if "dates" in spec else 0) :]
            days = days[: spec.get("dates", STRETCH)]
            for number, day in enumerate(days):
                if number % spec.get("every", 1):
                    continue
                begin, end = (
                    datetime.combine(day, time.fromisoformat(spec.get(key, spec["from"])), ZONE)
                    for key in ("from", "to")
                )
                if end <= begin:
                    end += timedelta(days=1)
                if "minutes" in spec:
                    end = begin + timedelta(minutes=spec["minutes"])
                end += timedelta(days=spec.get("over", 0))
                if spec.get("rotate"):
                    shift = timedelta(hours=7 * number % 24)
                    begin, end = begin + shift, end + shift
                yield Span(OfficeState(spec["state"]), begin, min(end, self.end))


# All cases are of the same weeks and the same district.


@cache
def _moment(at: int) -> datetime:
    """A time in ms, in the district's zone."""
    return datetime.fromtimestamp(at / 1000, ZONE)


@cache
def _in_office_hours(at: int) -> bool:
    return in_office_hours(_config({}).district, _moment(at))


@cache
def _day(at: int) -> date:
    """The day in the district's zone of a time in ms."""
    return _moment(at).date()
