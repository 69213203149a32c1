"""Makes the measurements of a case in `tests/cases/` and judges them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import yaml

from jharnet_monitor.config import Config
from jharnet_monitor.judge.calendar.hours import in_office_hours
from jharnet_monitor.judge.calendar.windows import office_windows
from jharnet_monitor.judge.line.assess import Assessment, LineEvidence, assess
from jharnet_monitor.judge.line.loss import BLOCK_MS, PacketCounts
from jharnet_monitor.judge.line.traffic import TrafficReadings
from jharnet_monitor.judge.outages.availability import DOWN
from jharnet_monitor.judge.outages.shared import judge_spans
from jharnet_monitor.judge.outages.timeline import Span
from jharnet_monitor.model import Measurement, OfficeState, Outcome
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


def cases(*files: str) -> list[Case]:
    """The cases of these files."""
    found = []
    for file in files:
        rows = yaml.safe_load((DIRECTORY / f"{file}.yaml").read_text())
        found += [Case(file, row) for row in rows]
    return found


def judged(case: Case) -> Assessment:
    """The assessment of a case."""
    config = _config(case.data)
    return assess(config, config.offices[0], _Maker(case.data, config).evidence())


def wrong(case: Case, found: Assessment) -> str:
    """How the assessment differs from the case; empty if it is right."""
    data, text = case.data, [verdict.value for verdict in found.verdicts]
    lines = [f"is {text}, doubts {[d.value for d in found.doubts]}, "
            f"notes {[n.value for n in found.notes]}"]  # fmt: skip
    problems = [] if text[0] == data["is"] else [f"not {data['is']}"]
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
            for hour in hours:
                yield datetime.combine(day, time(hour, 7), ZONE)

    def _tests(self) -> Iterator[Measurement]:
        days = min(self._days, self._data.get("tests", self._days))
        own = self._data.get("own", ASSUMED_LOAD)
        spread = self._data.get("spread", 0.01)
        shifts = {day: self._rng.normal() for day in self._dates}
        for at in self._moments((1, 4, 6, 11, 13, 15, 20, 22), days):
            rates = self._night_of(at.date())
            if in_office_hours(self._district, at):
                left = [None if rate is None else max(rate - own, 0.2) for rate in rates]
                rates = self._pair("day", left)
            elif rates[0] is None:
                continue
            if None in rates:
                continue
            if self._slow():
                rates = (self._data["slow"]["rate"],) * 2
            noise = spread * (0.5 * shifts[at.date()] + 0.85 * self._rng.normal())
            values = {
                f"{way}load_bits_per_second": rate * MEGA * (1 + noise)
                for way, rate in zip(("down", "up"), rates, strict=True)
            }
            yield self._run("bandwidth", at, values | self._lasting(at, noise), self._held_back())
        if self._data.get("trains"):
            for at in self._moments((2, 5, 12, 14, 21), self._days):
                rate = self._data["trains"] * MEGA * (1 + 0.01 * self._rng.normal())
                values = {f"{way}load_capacity_bits_per_second": rate for way in ("down", "up")}
                yield self._run("bandwidth", at, values, {"path": "trains"} | self._train_counts())

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

    def _held_back(self) -> dict[str, Any]:
        """The cause that limited the speed tests."""
        found: dict[str, Any] = {"path": "jharnet"}
        if self._data.get("at_least"):
            found |= {"download_at_least": True, "upload_at_least": True}
        limited = self._data.get("limited", "policer" if self._policed else None)
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
        moment = datetime.fromtimestamp(at / 1000, ZONE)
        if "dates" in spec and self._dates.index(moment.date()) not in range(5, 5 + spec["dates"]):
            return 0.0
        if not in_office_hours(self._district, moment):
            return float(spec.get("night", 0.0))
        if "hours" in spec and not spec["hours"][0] <= moment.hour < spec["hours"][1]:
            return 0.0
        if spec.get("busy"):
            full = self._full_at(at)
            return float(spec["office"]) / max(self._data["full"], 1e-9) if full else 0.0
        return float(spec.get("office", 0.0))

    def _full_at(self, at: int) -> bool:
        share: float = self._data.get("full", 0.0)
        return (at // BLOCK_MS * 7919) % 1000 < share * 1000

    def _traffic(self) -> TrafficReadings:
        readings, own = TrafficReadings(), self._data.get("own")
        if own is None:
            return readings
        first = round(self.start.timestamp() * 1000) + (STRETCH - self._days) * 86_400_000
        begin = np.arange(first, round(self.end.timestamp() * 1000), BLOCK_MS)
        line = self._night[0] or 4
        rates = []
        for one in begin.tolist():
            moment = datetime.fromtimestamp(one / 1000, ZONE)
            inside = in_office_hours(self._district, moment)
            rate = own if inside else 0.02
            rates.append(line * 0.99 if inside and self._full_at(one) else rate)
        down = np.array(rates) * MEGA * (1 + 0.01 * self._rng.normal(size=len(rates)))
        readings.add(begin + BLOCK_MS, np.full(len(rates), READ_EVERY), down, down)
        return readings

    def _states(self, more: Sequence[Mapping[str, Any]] = ()) -> list[Span]:
        """The states: up, except for the outages and unknown times."""
        known = self._data.get("known", 1.0)
        first = self.end - known * (self.end - self.start)
        first = max(first, self.start + timedelta(days=STRETCH - self._days))
        spec = [*self._data.get("down", ()), *more]
        cuts = sorted(self._cuts(spec, first), key=lambda span: span.start)
        spans, reached = [], first
        for cut in cuts:
            if cut.start < reached:
                continue
            spans += [Span(OfficeState.UP, reached, cut.start), cut]
            reached = cut.end
        return [span for span in [*spans, Span(OfficeState.UP, reached, self.end)]
                if span.start < span.end]  # fmt: skip

    def _cuts(self, outages: Sequence[Mapping[str, Any]], first: datetime) -> Iterator[Span]:
        for spec in outages:
            days = [day for day in self._dates if datetime.combine(day, time(), ZONE) >= first]
            days = days[spec.get("first", 1 if "dates" in spec else 0) :]
            days = days[: spec.get("dates", STRETCH)]
            for number, day in enumerate(days):
                if number % spec.get("every", 1):
                    continue
                begin, end = (
                    datetime.combine(day, time.fromisoformat(spec[key]), ZONE)
                    for key in ("from", "to")
                )
                if end <= begin:
                    end += timedelta(days=1)
                end += timedelta(days=spec.get("over", 0))
                if spec.get("rotate"):
                    shift = timedelta(hours=7 * number % 24)
                    begin, end = begin + shift, end + shift
                yield Span(OfficeState(spec["state"]), begin, min(end, self.end))
