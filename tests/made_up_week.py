"""A made-up week in a real store: eleven offices, each with its own fault."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.config import Config
from jharnet_monitor.judge.calendar.period import Period, week
from jharnet_monitor.judge.conference.drill import (
    Drill,
    DrillDirection,
    DrillOffice,
    DrillState,
    UplinkDirection,
    UplinkLoad,
)
from jharnet_monitor.model import Measurement, OfficeState, Outcome
from jharnet_monitor.profiles import Profile
from jharnet_monitor.store import Store
from tests import made_up

ZONE = ZoneInfo("Asia/Kolkata")
WEEK = week("2026-W47", ZONE)
MADE_AT = WEEK.end + timedelta(hours=8)
CONTRACT = 4e6
TROUBLES = ("good", "narrow", "slow", "lossy", "power", "line", "absent", "call", "far", "good", "")
"""By office, in the order of the configuration; the last one has no measurement at all."""
_GRADES = {"narrow": 1, "slow": 2, "lossy": 0, "far": 3}
_LIMITS = {"narrow": "rate", "slow": "rate", "lossy": "loss", "far": "delay"}
_SPEED = {"slow": 0.4}


@dataclass(slots=True)
class MadeWeek:
    """A store with a week in it, and all its records."""

    store: Store
    config: Config
    database: str
    measurements: list[Measurement] = field(default_factory=list)

    def of(self, office: str, probe: str, period: Period = WEEK) -> list[Measurement]:
        """The measurements of an office's probe within a period."""
        return [
            m
            for m in self.measurements
            if (m.office, m.probe) == (office, probe) and period.start <= m.started_at < period.end
        ]

    def values(self, office: str, probe: str, name: str) -> list[float]:
        """One quantity of the week; JharNet's path alone, and never during a test of ours."""
        return [
            m.values[name]
            for m in self.of(office, probe)
            if name in m.values and m.route == "jharnet" and not m.conditions.get("under_load")
        ]


def config(database: str, troubles: Sequence[str] = TROUBLES, **report: Any) -> Config:
    """An office for each trouble, with its contract."""
    base = made_up.config(len(troubles), database=database)
    settings = {"directive": "Test all blocks.", "directive_hi": "सभी प्रखण्डों की जाँच करें।"}
    offices = tuple(  # 4 Mbit/s as delivered is too little for 40 seats, and enough for 5
        office.model_copy(update={"seats": 40 if trouble == "narrow" else 5})
        for office, trouble in zip(base.offices, troubles, strict=True)
    )
    report_settings = base.report.model_copy(update=settings | report)
    return base.model_copy(update={"report": report_settings, "offices": offices})


def make(
    directory: Path,
    *,
    weeks: int = 4,
    every_minutes: int = 60,
    troubles: Sequence[str] = TROUBLES,
    drilled: bool = True,
) -> MadeWeek:
    """Fill a database in `directory` with the week and those before it."""
    database = f"sqlite:///{directory / 'week.db'}"
    made = MadeWeek(Store(database, ManualClock(MADE_AT)), config(database, troubles), database)
    made.store.migrate()
    period, periods = WEEK, []
    for _ in range(weeks):
        periods.append(period)
        period = period.before()
    for seed, one in enumerate(reversed(periods)):
        for office, trouble in zip(made.config.offices, troubles, strict=True):
            if trouble:
                measured = list(_measured(office.id, trouble, one, every_minutes, seed))
                made.measurements += measured
                made.store.add(measured)
                _states(made.store, office.id, trouble, one)
    if drilled:
        made.store.event_log.add_drill(drill(made.config, troubles))
    return made


def _measured(
    office: str, trouble: str, period: Period, minutes: int, seed: int
) -> Iterator[Measurement]:
    chance = random.Random(f"{office} {seed}")
    at = period.start
    while at < period.end:
        lost = chance.choice((2, 3, 4)) if trouble == "lossy" else int(chance.random() < 0.05)
        far = 0.4 if trouble == "far" else 0.03
        yield made_up.latency(office, at, far + chance.random() / 100, lost)
        at += timedelta(minutes=minutes)
    for hour in range(0, 168, 4):
        at = period.start + timedelta(hours=hour, minutes=7)
        rate = CONTRACT * _SPEED.get(trouble, 0.96) * (1 - chance.random() / 50)
        if trouble == "absent":
            yield made_up.no_data(office, "bandwidth", at)
            continue
        yield made_up.bandwidth(office, at, rate, rate * 0.98)
        if hour % 24 == 0:
            yield made_up.bandwidth(office, at, rate * 0.7, rate * 0.6, "internet")
        yield _during_a_test(office, at)
    for day in range(6):
        for hour in (11, 15):
            yield _call(office, trouble, period.start + timedelta(days=day, hours=hour), chance)


def _during_a_test(office: str, at: datetime) -> Measurement:
    """A minute of latency while a test of ours filled the line: it does not count."""
    values = {"sent": 60.0, "received": 40.0, "loss_ratio": 1 / 3, "rtt_p50_seconds": 1.9}
    loaded = {"under_load": ["bandwidth"]}
    return Measurement(office, "latency", at, 60.0, Outcome.OK, None, loaded, values)


def _call(office: str, trouble: str, at: datetime, chance: random.Random) -> Measurement:
    if trouble == "absent":
        return made_up.no_data(office, "conference", at)
    if trouble == "call":
        values = {"grade": 0.0}
        return Measurement(office, "conference", at, 9.0, Outcome.FAILED, "udp_blocked", {}, values)
    grade = _GRADES.get(trouble, 4) - (chance.random() < 0.2)
    held = made_up.conference(office, at, max(grade, 0))
    limit = {"limited_by": _LIMITS.get(trouble, "none")}
    return Measurement(
        office, "conference", at, 33.0, Outcome.OK, None, limit, held.values, held.id
    )


def _states(store: Store, office: str, trouble: str, period: Period) -> None:
    """Up all week, except for two hours a day in which power or line fail."""
    note = store.event_log.add_transition
    note(office, OfficeState.UP, period.start, {})
    if trouble not in ("power", "line"):
        return
    really = OfficeState.POWER_DOWN if trouble == "power" else OfficeState.LINK_DOWN
    for day in range(7):
        begin = period.start + timedelta(days=day, hours=13)
        end = begin + timedelta(hours=2)
        number = note(office, OfficeState.UNREACHABLE, begin, {})
        note(office, OfficeState.UP, end, {})
        note(office, really, begin, {}, until=end, supersedes=number)


def drill(config: Config, troubles: Sequence[str] = TROUBLES) -> Drill:
    """A drill of the week, without the offices that are absent."""
    side = DrillDirection({"bits_per_second": 1.61e6, "video_loss_ratio": 0.0123})
    offices = [
        DrillOffice(office.id, outcome=Outcome.NO_DATA, cause="no_agent")
        if trouble in ("absent", "")
        else DrillOffice(
            office.id, joined=True, outcome=Outcome.OK, grade=_GRADES.get(trouble, 4),
            limited_by=_LIMITS.get(trouble, "none"), up=side, down=side,
        )
        for office, trouble in zip(config.offices, troubles, strict=True)
    ]  # fmt: skip
    return Drill(
        "20261118-053000-a1b2", DrillState.DONE, Profile.P720,
        WEEK.start + timedelta(days=2, hours=11), tuple(offices), minutes=5.0,
        uplink=UplinkLoad(
            down=UplinkDirection(rate=17.1e6, full=False, supported_calls=9),
            up=UplinkDirection(rate=16.2e6, full=True, supported_calls=7),
        ),
    )  # fmt: skip
