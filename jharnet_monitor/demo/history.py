"""A made-up district's past, for a database of its own: what report, letter and pages look like.

Everything is drawn from a stated law with a seed; nothing was measured. The first record is the
event `made_up`, and each other record says it too: a measurement in its conditions, a change of
state in its evidence, an event and a drill in their data. All are sealed in the hash chain and a
dossier's papers are derived from them, so that the mark cannot be taken off: whoever removes it
breaks the chain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.config import Config, Office
from jharnet_monitor.config.sealed_settings import settings_record
from jharnet_monitor.errors import UserError
from jharnet_monitor.judge.calendar.hours import in_office_hours
from jharnet_monitor.judge.conference.drill import (
    Drill,
    DrillDirection,
    DrillOffice,
    DrillState,
    UplinkDirection,
    UplinkLoad,
)
from jharnet_monitor.judge.faults import FAULT
from jharnet_monitor.model import (
    MADE_UP,
    Direction,
    Measurement,
    OfficeState,
    Outcome,
    format_utc,
)
from jharnet_monitor.profiles import Profile
from jharnet_monitor.store import Store
from jharnet_monitor.store.pruning import OF_THE_DATABASE, SETTINGS

SEED = 2026
LATENCY_EVERY = timedelta(minutes=10)
BANDWIDTH_EVERY = timedelta(hours=2)
TOGETHER = timedelta(hours=2)
"""Measurements of so long a time are stored at once."""
_MARKED = {MADE_UP: True}
_SMALL = 0.02
"""Standard deviation of a speed test's logarithm."""


@dataclass(frozen=True, slots=True)
class Character:
    """How an office's line behaves; shares are of the contract."""

    delivered: float = 0.985
    rtt: float = 0.03
    loss: float = 0.0005
    grade: int = 4
    limit: str = "none"
    power_cuts: float = 0.0
    """Power cuts a day."""
    line_faults: float = 0.02
    """Faults of the line a day."""
    seats: int = 8
    """Desks, which the configuration states."""
    weeks_bad: int | None = None
    """For how many weeks at the end it has been like this; before, it was good."""


GOOD = Character()
CHARACTERS: dict[str, Character] = {
    "boram": Character(rtt=0.035, grade=2, limit="rate", seats=30),
    "potka": Character(delivered=0.55, grade=2, limit="rate", weeks_bad=6),
    "dumaria": Character(rtt=0.055, loss=0.045, grade=1, limit="loss"),
    "gurabanda": Character(power_cuts=0.9, rtt=0.045),
    "baharagora": Character(line_faults=0.22, rtt=0.06, grade=3),
    "chakulia": Character(rtt=0.04, grade=3),
}
"""By office; the others are good."""


def fill(config: Config, database: Path, weeks: int, now: datetime) -> int:
    """Fill a new database with `weeks` whole weeks before this one, and this week up to `now`;
    returns the number of measurements. Raises `UserError` for a file that is there already.
    """
    if database.exists():
        raise UserError(f"{database}: is there already; a made-up past needs a database of its own")
    zone = ZoneInfo(config.district.timezone)
    today = now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    start = today - timedelta(days=today.weekday(), weeks=weeks)
    now = now.replace(second=0, microsecond=0)
    clock = ManualClock(start - timedelta(hours=1))
    store = Store(f"sqlite:///{database}", clock)
    try:
        store.migrate()
        return _Past(store, clock, config, start, now).write()
    finally:
        store.close()


class _Past:
    """Writes the past in the order in which a hub would have recorded it."""

    def __init__(
        self, store: Store, clock: ManualClock, config: Config, start: datetime, now: datetime
    ) -> None:
        self._store = store
        self._clock = clock
        self._config = config
        self._start = start
        self._now = now
        self._dice = np.random.default_rng(SEED)
        self._events: list[tuple[datetime, Callable[[], object]]] = []
        self._down: dict[str, list[tuple[datetime, datetime]]] = {}

    def write(self) -> int:
        """Write everything; returns the number of measurements."""
        log = self._store.event_log
        started = self._clock.now()
        log.add_event(OF_THE_DATABASE, MADE_UP, started, {"seed": SEED, **_MARKED})
        settings = settings_record(self._config) | _MARKED
        log.add_event(OF_THE_DATABASE, SETTINGS, started, settings)
        self._plan_outages()
        self._plan_drills()
        self._events.sort(key=lambda event: event[0])
        count, at = 0, self._start
        while at < self._now:
            end = min(at + TOGETHER, self._now)
            while self._events and self._events[0][0] < end:
                moment, happen = self._events.pop(0)
                self._at(moment)
                happen()
            self._at(end)
            made = [m for office in self._config.offices for m in self._measured(office, at, end)]
            count += len(self._store.add(made))
            at = end
        self._store.set_value("beat", format_utc(self._now))
        self._store.chain.seal()
        return count

    def _at(self, moment: datetime) -> None:
        self._clock.step((moment - self._clock.now()).total_seconds())

    def _character(self, office: str, at: datetime) -> Character:
        found = CHARACTERS.get(office, GOOD)
        if found.weeks_bad is not None and at < self._now - timedelta(weeks=found.weeks_bad):
            return GOOD
        return found

    def _measured(self, office: Office, start: datetime, end: datetime) -> Iterator[Measurement]:
        yield from self._latency(office.id, start, end)
        if not self._is_down(office.id, start):
            yield self._speed(office, start + timedelta(minutes=7))
        for hour in (11, 15):
            at = start.astimezone(self._start.tzinfo).replace(hour=hour, minute=2)
            works = in_office_hours(self._config.district, at)
            if start <= at < end and works and not self._is_down(office.id, at):
                yield self._call(office.id, at)

    def _latency(self, office: str, start: datetime, end: datetime) -> Iterator[Measurement]:
        steps = int((end - start) / LATENCY_EVERY)
        character = self._character(office, start)
        busy = 1.15 if in_office_hours(self._config.district, start) else 1.0
        rtts = character.rtt * busy * np.exp(self._dice.normal(0, 0.05, steps))
        lost = self._dice.binomial(60, character.loss, steps)
        for step in range(steps):
            at = start + step * LATENCY_EVERY
            if self._is_down(office, at):
                values = {"sent": 60.0, "received": 0.0, "loss_ratio": 1.0}
                yield self._run(office, "latency", at, 60.0, values, Outcome.FAILED, "no_reply")
                continue
            rtt, missing = float(rtts[step]), int(lost[step])
            values = {
                "sent": 60.0, "received": 60.0 - missing, "loss_ratio": missing / 60,
                "rtt_min_seconds": rtt * 0.93, "rtt_p50_seconds": rtt,
                "rtt_p95_seconds": rtt * 1.2, "rtt_max_seconds": rtt * 1.6,
                "jitter_seconds": rtt * 0.04, "pdv_seconds": rtt * 0.25,
            }  # fmt: skip
            yield self._run(office, "latency", at, 60.0, values)

    def _speed(self, office: Office, at: datetime) -> Measurement:
        rates = {}
        share = self._character(office.id, at).delivered
        left = 0.8 if in_office_hours(self._config.district, at) else 1.0
        for direction in Direction:
            contracted = 2e6 if office.link is None else office.link.rate(direction)
            noise = float(np.exp(-abs(self._dice.normal(0, _SMALL))))
            name = f"{direction.transfer}_bits_per_second"
            rates[name] = round(contracted * share * left * noise)
        values = {**rates, "idle_rtt_seconds": 0.04, "bytes_spent": 1_500_000.0}
        return self._run(office.id, "bandwidth", at, 6.0, values, path="jharnet")

    def _call(self, office: str, at: datetime) -> Measurement:
        character = self._character(office, at)
        grade = max(character.grade - int(self._dice.random() < 0.12), 0)
        values = {
            "grade": float(grade),
            "setup_seconds": 0.4,
            "rtt_p95_seconds": character.rtt * 1.5,
        }
        for way in Direction:
            values |= {
                f"{way}_video_loss_ratio": character.loss,
                f"{way}_audio_loss_ratio": character.loss,
                f"{way}_bits_per_second": 250_000.0 * (1 + grade),
                f"{way}_height": float((0, 0, 180, 360, 720)[grade]),
            }  # fmt: skip
        limit = character.limit if grade < 4 else "none"
        return self._run(
            office, "conference", at, 33.0, values, profile=Profile.P720.value, limited_by=limit
        )

    @staticmethod
    def _run(
        office: str,
        probe: str,
        at: datetime,
        duration: float,
        values: dict[str, float],
        outcome: Outcome = Outcome.OK,
        cause: str | None = None,
        **conditions: str,
    ) -> Measurement:
        return Measurement(
            office, probe, at, duration, outcome, cause, {**conditions, **_MARKED}, values,
            f"made-up-{probe}-{office}-{format_utc(at)}",
        )  # fmt: skip

    def _is_down(self, office: str, at: datetime) -> bool:
        return any(begin <= at < end for begin, end in self._down[office])

    def _plan_outages(self) -> None:
        """Outages of every office, one that all had at once, and the ledger's faults."""
        days = (self._now - self._start).days
        shared = self._now - timedelta(days=9, hours=5)
        for office in self._config.offices:
            character = CHARACTERS.get(office.id, GOOD)
            outages = [(shared, shared + timedelta(minutes=40), OfficeState.LINK_DOWN)]
            for state, rate, hours in (
                (OfficeState.POWER_DOWN, character.power_cuts, 2.0),
                (OfficeState.LINK_DOWN, character.line_faults, 5.0),
            ):
                for _ in range(int(self._dice.poisson(rate * days))):
                    begin = self._start + timedelta(days=float(self._dice.uniform(0, days)))
                    length = timedelta(hours=float(self._dice.exponential(hours)) + 0.1)
                    outages.append((begin, begin + length, state))
            self._events.append((self._start, self._transition(office.id, OfficeState.UP)))
            self._down[office.id] = []
            number = 0
            for begin, end, state in _without_overlap(sorted(outages, key=lambda one: one[0])):
                if end < self._now:
                    self._down[office.id].append((begin, end))
                    self._outage(office.id, begin, end, state)
                    long = end - begin > timedelta(hours=4) and state is OfficeState.LINK_DOWN
                    if long and begin != shared and number < 6:
                        number += 1
                        self._fault(office.id, number, begin, end)
        self._open_fault("potka")

    def _transition(self, office: str, state: OfficeState) -> Callable[[], object]:
        log = self._store.event_log
        return lambda: log.add_transition(office, state, self._clock.now(), _MARKED)

    def _outage(self, office: str, begin: datetime, end: datetime, state: OfficeState) -> None:
        log = self._store.event_log
        numbers: list[int] = []
        begin, end = (at.replace(microsecond=0) for at in (begin, end))

        def down() -> None:
            numbers.append(log.add_transition(office, OfficeState.UNREACHABLE, begin, _MARKED))

        def back() -> None:
            log.add_transition(office, OfficeState.UP, end, _MARKED)
            log.add_transition(office, state, begin, _MARKED, until=end, supersedes=numbers[0])

        self._events += [(begin, down), (end, back)]

    def _fault(self, office: str, number: int, begin: datetime, end: datetime) -> None:
        """An outage that was reported within the hour; the second one waited for a key."""
        reported = min(begin + timedelta(minutes=45), end)
        entries: list[tuple[datetime, dict[str, object]]] = [
            (reported, {"docket": f"JH/{number:03}/{office[:3].upper()}",
                        "reported_at": format_utc(reported), "reported_to": "NOC"}),
            (end, {"restored_at": format_utc(end)}),
        ]  # fmt: skip
        if number == 2:
            stop = {"from": format_utc(reported), "to": format_utc(reported + (end - reported) / 2),
                    "reason": "access"}  # fmt: skip
            entries.insert(1, (end, {"stops": [stop]}))
        for at, entry in entries:
            self._events.append((at, self._entry(office, number, entry)))

    def _open_fault(self, office: str) -> None:
        """A line that has been slow for days, reported and not mended."""
        reported = self._now - timedelta(days=5)
        entry = {"docket": "JH/SLOW/1", "reported_at": format_utc(reported), "reported_to": "NOC",
                 "note": "speed below the contract"}  # fmt: skip
        self._events.append((reported, self._entry(office, 7, entry)))

    def _entry(self, office: str, number: int, entry: Mapping[str, object]) -> Callable[[], object]:
        log = self._store.event_log
        data = {"fault": f"{office}-{number}", "set": entry, **_MARKED}
        return lambda: log.add_event(office, FAULT, self._clock.now(), data)

    def _plan_drills(self) -> None:
        """A drill of all blocks on the Wednesday of each fourth week, and of the last whole one."""
        weeks = (self._now - self._start).days // 7
        for week in {*range(0, weeks, 4), weeks - 1}:
            at = self._start + timedelta(weeks=week, days=2, hours=16)
            if week >= 0 and at < self._now - timedelta(hours=1):
                self._events.append((at + timedelta(minutes=6), self._drill(at)))

    def _drill(self, at: datetime) -> Callable[[], object]:
        offices = []
        for number, office in enumerate(self._config.offices):
            character = self._character(office.id, at)
            side = DrillDirection({"bits_per_second": 250_000.0 * (1 + character.grade),
                                   "video_loss_ratio": character.loss})  # fmt: skip
            if number == 6:
                offices.append(DrillOffice(office.id, outcome=Outcome.NO_DATA, cause="no_agent"))
                continue
            offices.append(
                DrillOffice(
                    office.id, joined=True, outcome=Outcome.OK, grade=character.grade,
                    limited_by=character.limit, up=side, down=side,
                )
            )  # fmt: skip
        uplink = UplinkLoad(
            down=UplinkDirection(rate=13.4e6, full=False, supported_calls=12),
            up=UplinkDirection(rate=12.9e6, full=False, supported_calls=12),
        )
        name = f"{at:%Y%m%d-%H%M%S}-made"
        drill = Drill(
            name, DrillState.DONE, Profile.P720, at, tuple(offices), minutes=5.0, uplink=uplink,
            made_up=True,
        )  # fmt: skip
        return lambda: self._store.event_log.add_drill(drill)


_Outage = tuple[datetime, datetime, OfficeState]


def _without_overlap(outages: Sequence[_Outage]) -> Iterator[_Outage]:
    """Those that begin an hour or more after the one before was over."""
    last: datetime | None = None
    for begin, end, state in outages:
        if last is None or begin > last + timedelta(hours=1):
            yield begin, end, state
            last = end
