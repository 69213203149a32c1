"""Wrong clocks and odd calendars: no stall, no burst, no wrong week.

The hub's clock is stepped (NTP, a dead battery: 1970 and 2036, and back) while it pings on a
simulated network, stores, and seals; every week of 26 years is compared with another calendar, at
the instants around IST's midnight and UTC's; and two hundred agents whose clocks are wrong hand in
what they measured.

    python -m tests.faults.time [--quick] [--json FILE] [--seed N]
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.hub.recorder import Recorder
from jharnet_monitor.hub.store_writer import StoreWriter
from jharnet_monitor.judge.calendar.period import week, week_of
from jharnet_monitor.live import Live
from jharnet_monitor.mail.schedule import due_weeks
from jharnet_monitor.model import Measurement, Outcome, format_utc
from jharnet_monitor.store import Store
from jharnet_monitor.store.retention import cutoff
from jharnet_monitor.wire.agent_clock import AgentClock
from jharnet_monitor.wire.intake import read_batch
from tests.bench.marks import Row, arguments, at_most, finish, note
from tests.latency_support import settings_for
from tests.support import make_config
from tests.test_latency_monitor import MonitorRun, Step

IST = ZoneInfo("Asia/Kolkata")
STEPS = {
    "NTP: one hour back": -3600.0,
    "NTP: one hour ahead": 3600.0,
    "dead battery: 1970": -56.9 * 365.25 * 86400,
    "dead battery: 2036": 9.4 * 365.25 * 86400,
}
SIMULATED_AGENTS = 200


def at_steps() -> Iterator[Row]:
    """Echo requests, records and seals while the hub's clock is stepped there and back."""
    for name, seconds in STEPS.items():
        run = MonitorRun(settings_for({"router": "10.8.1.1"}))

        def step(by: float, one: MonitorRun = run) -> Step:
            return lambda: one.clock.step(by)

        asyncio.run(run.advance(30.0, step(seconds), 60.0, step(-seconds), 60.0))
        gaps = [b - a for (a, _), (b, _) in pairwise(run.network.sent)]
        yield at_most(f"{name}: longest pause of echo requests", max(gaps), 1.01, "s")
        yield at_most(f"{name}: shortest gap below 1 s by", 1.0 - min(gaps), 0.01, "s")
        wrong = [c for c in run.changes if c.answers is not True]
        yield at_most(f"{name}: offices called down", len(wrong), 0, "times")
        yield from stored_over(name, seconds)


def stored_over(name: str, seconds: float) -> Iterator[Row]:
    """Measurements are stored and sealed before, during and after a step, without a burst."""
    with tempfile.TemporaryDirectory(prefix="jhn-time-") as directory:
        clock = ManualClock(datetime(2026, 11, 25, 6, tzinfo=UTC))
        store = Store(f"sqlite:///{directory}/monitor.db", clock)
        store.migrate()
        began = time.monotonic()
        for number, by in enumerate((0.0, seconds, -seconds)):
            clock.step(by)
            for hour in range(3):
                minute = Measurement("potka", "latency", clock.now(), 60.0, Outcome.OK,
                                     values={"sent": 60.0}, id=f"m{number}{hour}")  # fmt: skip
                store.add([minute])
                clock._pass(3600)
                store.chain.seal()
        clock._pass(86400)
        store.chain.seal()
        took = time.monotonic() - began
        links, problems = store.chain.links(), store.chain.verify()
        sealed = sum(part.records for one in links for part in one.parts.values())
        store.close()
    yield at_most(f"{name}: stored and not sealed", 9 - sealed, 0, "measurements")
    yield at_most(f"{name}: hours sealed for nine measurements", len(links), 9, "hours")
    yield at_most(f"{name}: problems of the chain", len(problems), 0, "")
    yield at_most(f"{name}: seconds that it took", took, 30.0, "s")


def days(first: int, last: int) -> Iterator[date]:
    """Every day of these years."""
    day = date(first, 1, 1)
    while day.year <= last:
        yield day
        day += timedelta(days=1)


def calendars(first: int, last: int) -> Iterator[Row]:
    """Weeks, leap days, years' ends and the district's midnight, against another calendar."""
    wrong_weeks = wrong_days = 0
    longest = sum(1 for y in range(first, last + 1) if date(y, 12, 28).isocalendar().week == 53)
    for day in days(first, last):
        midnight = datetime(day.year, day.month, day.day, tzinfo=IST)
        for hours in (0, 5 + 29 / 60, 5.5, 23.999):
            moment = midnight + timedelta(hours=hours)
            here = moment.astimezone(UTC).astimezone(IST)
            found, known = week_of(here.date(), IST), day.isocalendar()
            named = f"{known.year}-W{known.week:02}"
            wrong_weeks += found.stem.rpartition("weekly-")[2] != named
            wrong_weeks += not found.start <= moment < found.end
            wrong_weeks += (found.end - found.start) != timedelta(days=7)
            wrong_weeks += week(named, IST).start != found.start
            wrong_days += cutoff(moment, 86400.0, IST).astimezone(IST).hour != 0
    yield note("days compared", len(list(days(first, last))), "days")
    yield note("years with a week 53 among them", longest, "years")
    yield at_most("wrong weeks", wrong_weeks, 0, "")
    yield at_most("retention cut elsewhere than at midnight", wrong_days, 0, "")
    config = make_config(report={"to": ["dc@example.in"]})
    for year in (1970, 1999, 2026, 2036, 2099):
        began = time.monotonic()
        now = datetime(year, 12, 31, 23, 59, tzinfo=UTC)
        due = due_weeks(config, datetime(1970, 1, 1, tzinfo=UTC), now)
        yield at_most(f"{year}: reports due at once", len(due), 5, "weeks")
        yield at_most(f"{year}: seconds to see that", time.monotonic() - began, 1.0, "s")


def budgets() -> Iterator[Row]:
    """The day of the byte budget begins at IST's midnight, 18:30 UTC, over years' ends too."""
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="jhn-time-") as directory:
        for day in (date(2026, 11, 25), date(2026, 12, 31), date(2028, 2, 28), date(2028, 2, 29)):
            clock = ManualClock(datetime(day.year, day.month, day.day, 18, 0, tzinfo=UTC))
            current = CurrentConfig(make_config())
            store = Store(f"sqlite:///{directory}/{day}.db", clock)
            store.migrate()
            live = Live(current)
            writer = StoreWriter(store, Path(directory) / f"{day}.w", live.hub, clock)
            recorder = Recorder(current, writer, live, clock)
            recorder.restore_spent()
            spent = Measurement("potka", "bandwidth", clock.now(), 2.0, Outcome.OK,
                                conditions={"bytes_spent": 1000})  # fmt: skip
            recorder._update(spent)
            for minutes, expected in ((0, 1000), (29, 1000), (2, 0), (330, 0)):
                clock._pass(minutes * 60)
                wrong += recorder.spent_today("potka") != expected
            store.close()
    yield at_most("budgets of the wrong day", wrong, 0, "")


def agents(seed: int) -> Iterator[Row]:
    """Agents whose clocks are wrong, or are set in between: the traces in the record."""
    chance = random.Random(seed)
    worst, refused, corrected = 0.0, 0, 0
    for number in range(SIMULATED_AGENTS):
        clock = AgentClock()
        booted = datetime(2026, 11, 24, tzinfo=UTC) - timedelta(seconds=chance.uniform(0, 1e6))
        now = datetime(2026, 11, 25, 6, tzinfo=UTC)
        error = chance.choice((-56.9 * 3.156e7, 9.4 * 3.156e7, -3600.0, 3600.0, 30.0, 0.5, 0.0))
        for beat in range(chance.randint(1, 20)):
            note_frame = now + timedelta(seconds=2 * beat)
            journey = chance.expovariate(10)
            uptime = (note_frame - booted).total_seconds() - journey
            clock.note_frame(f"b{number}", round(uptime, 1), note_frame)
        began = [booted + timedelta(seconds=chance.uniform(10, 3000)) for _ in range(5)]
        items = []
        for index, at in enumerate(began):
            set_right = index >= 3  # NTP set the clock in between
            displayed = at + timedelta(seconds=0.0 if set_right else error)
            uptime = round((at - booted).total_seconds(), 1)
            items.append({
                "id": f"a{number}m{index}", "office": "potka", "probe": "latency",
                "started_at": format_utc(displayed), "duration_seconds": 60.0, "outcome": "ok",
                "cause": None, "values": {"sent": 60.0, "received": 60.0},
                "conditions": {"path": "agent_hub", "boot_id": f"b{number}",
                               "uptime_seconds": uptime},
            })  # fmt: skip
        batch = read_batch({"items": items}, "potka", note_frame, clock)
        refused += len(batch.refused)
        for one, at in zip(batch.accepted, began, strict=False):
            worst = max(worst, abs((one.started_at - at).total_seconds()))
            corrected += "clock_offset_seconds" in one.conditions
    yield note("agents with a wrong clock: measurements", 5 * SIMULATED_AGENTS, "")
    yield note("agents with a wrong clock: corrected", corrected, "measurements")
    yield at_most("agents with a wrong clock: refused", refused, 0, "measurements")
    yield at_most("agents with a wrong clock: largest error left", worst, 2.0, "s")


def main() -> int:
    """Check all of it; `--quick` compares three years instead of 26."""
    options = arguments(__doc__)
    years = (2026, 2028) if options.quick else (2015, 2040)
    rows = [*at_steps(), *calendars(*years), *budgets(), *agents(options.seed)]
    return finish("Clocks and calendars", rows, options)


if __name__ == "__main__":
    sys.exit(main())
