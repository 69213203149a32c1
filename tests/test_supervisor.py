"""A part that fails starts again, is counted and named, and blocks no other part."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from jharnet_monitor.clock import ManualClock, SystemClock
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.errors import StoreError
from jharnet_monitor.hub import daemon as hub_daemon
from jharnet_monitor.hub.health import Health
from jharnet_monitor.hub.office_monitor import OfficeMonitor
from jharnet_monitor.hub.outage_attribution import OutageAttribution, ReviewSchedule
from jharnet_monitor.hub.recorder import Recorder
from jharnet_monitor.hub.records import HEARTBEAT_KEY
from jharnet_monitor.hub.runner import Runner
from jharnet_monitor.hub.store_writer import StoreWriter
from jharnet_monitor.live import Live, OfficeLive, PastOutage
from jharnet_monitor.mail.schedule import ReportScheduler
from jharnet_monitor.metrics import MetricsRegistry
from jharnet_monitor.model import OfficeState, format_utc, parse_utc
from jharnet_monitor.store import Store, Window
from jharnet_monitor.supervisor import PartStatus, Supervisor
from jharnet_monitor.wire.intake import Vitals
from tests.support import make_config
from tests.test_reload import RunningHub, hub_at_work

START = datetime(2026, 11, 25, tzinfo=UTC)


class Bench:
    """The parts of a hub that watch offices, on the test's clock."""

    def __init__(self, directory: Path, now: datetime = START) -> None:
        self.clock = ManualClock(now)
        self.current = CurrentConfig(make_config())
        self.live = Live(self.current)
        self.store = Store(f"sqlite:///{directory}/monitor.db", self.clock)
        self.store.migrate()
        self.writer = StoreWriter(self.store, directory / "waiting.db", self.live.hub, self.clock)
        recorder = Recorder(self.current, self.writer, self.live, self.clock)
        runner = Runner(
            self.current, self.clock, lambda _: None, recorder.spent_today, recorder.record
        )
        self.monitor = OfficeMonitor(
            self.current, self.clock, self.live, recorder, self.writer, runner
        )
        self.health = Health(self.live.hub, self.current, self.clock, self.store)

    async def seconds(self, count: int) -> None:
        """Let seconds pass, with time for threads."""
        for _ in range(count):
            await self.clock.advance(1)
            await asyncio.sleep(0.01)


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    """The same, with an empty database."""
    one = Bench(tmp_path)
    yield one
    one.store.close()


async def test_a_failed_part_starts_again_with_growing_pauses() -> None:
    """It is counted by name, is failing for a while, and then healthy again."""
    clock, status = ManualClock(START), PartStatus()
    supervisor, began = Supervisor(clock, status), list[float]()

    async def part() -> None:
        began.append(clock.monotonic())
        if len(began) < 4:
            raise KeyError("unexpected")
        await asyncio.Event().wait()

    supervisor.start("reports", part)
    await clock.advance(60)
    assert began == [0, 1, 3, 7]
    assert status.restarts["reports"] == 3
    assert status.failing(clock.monotonic()) == ["reports"]
    await clock.advance(120)
    assert status.failing(clock.monotonic()) == []
    await supervisor.stop()


async def test_one_failing_read_does_not_end_the_watch(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One error of one step ended heartbeat, windows, states and reviews for
    good, in silence; now it is counted, named on `/-/ready`, and the others continue."""

    def broken(*_: Any) -> None:
        raise OverflowError("unexpected")

    monkeypatch.setattr(bench.store.event_log, "windows", broken)
    steps = Supervisor(bench.clock, bench.live.hub.parts)
    bench.monitor.start_steps(steps)
    watching = asyncio.create_task(bench.health.run(lambda: 0.0))
    await bench.seconds(15)
    assert bench.live.hub.parts.restarts["planned work"] > 0
    async with asyncio.timeout(20):  # the heartbeat goes on, by a thread
        while str(bench.store.get_value("beat")) <= "2026-11-25T00:00:05":
            await bench.seconds(1)
    assert bench.health.ready() == (False, "failed and was started again: planned work")
    read = MetricsRegistry(bench.live, bench.clock).get_sample_value
    assert (read("jharnet_part_restarts_total", {"part": "planned work"}) or 0) > 0
    monkeypatch.undo()
    await bench.seconds(200)
    assert bench.health.ready() == (True, "ready")
    await steps.stop()
    watching.cancel()


async def test_one_offices_trouble_stays_its_own(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A review that failed for one office ended the watch of all, and kept the hub
    from starting."""
    outage = PastOutage(OfficeState.LINK_DOWN, START, START + timedelta(minutes=5), START)

    def recorded_outage(self: OutageAttribution, office: str) -> PastOutage:
        if office == "potka":
            raise OverflowError("date value out of range")
        return outage

    monkeypatch.setattr(OutageAttribution, "recorded_outage", recorded_outage)
    await bench.monitor.restore()
    assert bench.live.offices["potka"].last_outage is None
    assert bench.live.offices["boram"].last_outage == outage
    assert bench.live.hub.parts.restarts["outage reviews"] == 1


async def test_a_review_that_failed_is_repeated(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unexpected error removed the review, so the office kept its old cause. It is repeated
    after 5 minutes; meanwhile new evidence causes the usual two."""
    outage = PastOutage(OfficeState.LINK_DOWN, START, START + timedelta(minutes=5), START)
    reviews = list[float]()

    def review(self: OutageAttribution, office: str) -> PastOutage:
        reviews.append(bench.clock.monotonic())
        if len(reviews) < 6:
            raise OverflowError("unexpected")
        return outage

    monkeypatch.setattr(OutageAttribution, "review", review)
    schedule = bench.monitor._reviews
    schedule.schedule_review("potka")
    for second in range(1500):
        if second == 640:
            schedule.schedule_review("potka")
        await bench.clock.advance(1)
        await schedule.run_due()
    assert reviews == [3, 45, 345, 643, 685, 985]
    assert bench.live.offices["potka"].last_outage == outage
    assert bench.live.hub.parts.restarts["outage reviews"] == 5


async def test_evidence_that_keeps_arriving_delays_no_review() -> None:
    """An agent that hands in days of records sends a batch every second or two: each postponed all
    reviews, so that the cause was not known before the last batch."""
    live, clock = Live(CurrentConfig(make_config())), ManualClock(START)
    reviews = list[float]()
    attribution = SimpleNamespace(review=lambda _: reviews.append(clock.monotonic()))
    schedule = ReviewSchedule(attribution, live, clock)  # type: ignore[arg-type]
    for second in range(120):
        if second < 60:
            schedule.schedule_review("potka")
        await clock.advance(1)
        await schedule.run_due()
    assert reviews == [45, 62, 90], "62: soon after the last batch"


async def test_reviews_that_fail_leave_the_others_their_turn() -> None:
    """After a start each of 100 offices is reviewed once, one in a second, though 99 fail."""
    known = PastOutage(OfficeState.LINK_DOWN, START, START + timedelta(minutes=5), START)
    live, clock = Live(CurrentConfig(make_config())), ManualClock(START)
    offices, reviewed = [f"o{number}" for number in range(100)], list[str]()
    live.offices = {office: OfficeLive() for office in offices}

    def review(office: str) -> PastOutage:
        reviewed.append(office)
        if office != offices[-1]:
            raise OverflowError("unexpected")
        return known

    attribution = SimpleNamespace(recorded_outage=lambda _: known, review=review)
    schedule = ReviewSchedule(attribution, live, clock)  # type: ignore[arg-type]
    await schedule.restore(offices)
    for _ in offices:
        await clock.advance(1)
        await schedule.run_due()
    assert reviewed == offices


async def test_a_change_is_live_before_anything_else_happens(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the first write was slow, a second look at the evidence ran between a
    change and its becoming live, and the state stayed wrong for ever."""
    seen = bench.monitor._tracker.offices["potka"]
    held = asyncio.Event()
    write = bench.writer.write

    async def slow(*records: Any) -> None:
        await held.wait()
        await write(*records)

    monkeypatch.setattr(bench.writer, "write", slow)
    bench.monitor._tracker.uplink_answers = True
    seen.router = seen.pc = True
    first = asyncio.create_task(bench.monitor._update_states())
    await asyncio.sleep(0)
    seen.router = seen.pc = False
    second = asyncio.create_task(bench.monitor._update_states())
    await asyncio.sleep(0)
    assert bench.live.offices["potka"].state is OfficeState.UNREACHABLE
    held.set()
    await asyncio.gather(first, second)
    assert bench.live.offices["potka"].state is OfficeState.UNREACHABLE
    states = [t.state for t in bench.store.event_log.transitions("potka")]
    assert states == [OfficeState.UP, OfficeState.UNREACHABLE]


async def test_a_state_is_not_stored_after_a_later_one(bench: Bench) -> None:
    """The uplink returns, and milliseconds later an office's router answers. Its `up` was stored
    before the `unreachable` of the first look, which then lasted until the next change."""
    seen, monitor = bench.monitor._tracker.offices["potka"], bench.monitor
    works = True
    monitor._latency_monitor.uplink_is_up = lambda: works  # type: ignore[method-assign]
    seen.router = seen.pc = True
    await monitor._update_states()
    for works, answers in ((False, False), (True, False), (True, True)):
        seen.router = seen.pc = answers
        first = asyncio.create_task(monitor._update_states())
        await asyncio.sleep(0)
        bench.clock._pass(0.04)
        if (works, answers) == (True, False):
            continue  # while that is written, the router answers
        await first
    await asyncio.gather(*(t for t in asyncio.all_tasks() if t is not asyncio.current_task()))
    found = sorted(bench.store.event_log.transitions("potka"), key=lambda t: t.number)
    assert [t.state.value for t in found] == ["up", "uplink_down", "unreachable", "up"]


async def test_planned_work_ends_while_the_database_is_away(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that was cut hours after the window was `planned` until the database came back."""

    def away(*_: Any) -> None:
        raise StoreError("connection refused")

    monitor, event_log = bench.monitor, bench.store.event_log
    hour = timedelta(hours=1)
    for office, begin, end in (("potka", 0, 1), ("boram", 2, 3), (None, 4, 5)):
        event_log.add_window(Window(office, START + begin * hour, START + end * hour, "works"))
    await monitor._update_planned()
    monkeypatch.setattr(event_log, "windows", away)
    found = []
    for _ in range(6):
        await monitor._update_planned()
        found.append(sorted(monitor._tracker.planned))
        bench.clock._pass(3600)
    every = sorted(bench.live.offices)
    assert found == [["potka"], [], ["boram"], [], every, []]


async def test_the_sessions_that_a_stop_closes_change_no_state(bench: Bench) -> None:
    """An office whose agent alone proves the line was `unreachable` from the stop of the hub until
    the next start, however long. The last heartbeat says when the hub stopped to watch."""
    monitor = bench.monitor
    await monitor.note_start()
    monitor._tracker.uplink_answers = True
    await monitor.agent_connected("potka", Vitals("b", 60.0, 0))
    await bench.seconds(7)
    await monitor.end()
    await monitor.agent_disconnected("potka", goodbye=False)
    await monitor._update_states()
    assert [t.state for t in bench.store.event_log.transitions("potka")] == [OfficeState.UP]
    assert bench.store.get_value(HEARTBEAT_KEY) == format_utc(bench.clock.now())
    kinds = [e.kind for e in bench.store.event_log.events("potka")]
    assert kinds == ["joined", "left"], "what was seen is kept as evidence"


async def test_a_stop_writes_a_last_heartbeat(tmp_path: Path) -> None:
    """The time without a hub counts from there, and not from up to 10 s before."""
    async with hub_at_work(tmp_path) as one:
        await asyncio.sleep(1.0)
        ended = one.hub.clock.now()
    beat = Store(f"sqlite:///{tmp_path}/monitor.db", SystemClock()).get_value(HEARTBEAT_KEY)
    assert beat is not None and parse_utc(beat) >= ended - timedelta(milliseconds=1)


async def test_what_could_not_be_pruned_at_night_is_pruned_by_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where headquarters is switched off at night, or the database was locked, nothing was ever
    pruned. It is pruned once a day."""
    answers: list[int | StoreError] = [StoreError("database is locked"), 7, 7]

    def prune(*_: Any) -> int:
        answer = answers.pop(0)
        if isinstance(answer, StoreError):
            raise answer
        return answer

    async with hub_at_work(tmp_path) as one:
        hub, zone = one.hub, ZoneInfo("Asia/Kolkata")
        job = hub.schedule._scheduler.get_job("prune")
        morning = datetime(2026, 11, 25, 9, tzinfo=zone)
        assert job.trigger.get_next_fire_time(None, morning) == morning.replace(minute=37)
        monkeypatch.setattr(hub.store.retention, "prune", prune)
        monkeypatch.setattr(hub_daemon, "LEAST_KEPT_HOURS", 0)
        with pytest.raises(StoreError):
            await hub._prune()
        await hub._prune()
        await hub._prune()
        assert answers == [7]
        monkeypatch.setattr(hub, "clock", ManualClock(hub.clock.now() + timedelta(days=1)))
        await hub._prune()
        assert answers == []


async def test_a_link_cut_while_the_database_is_away_is_not_forgotten(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cut while PostgreSQL was stopped was `up` → `up` in the ledger."""

    def away(*_: Any) -> None:
        raise StoreError("connection refused")

    seen = bench.monitor._tracker.offices["potka"]
    with monkeypatch.context() as broken:
        for name in ("add_transition", "add_event"):
            broken.setattr(bench.store.event_log, name, away)
        for answers in (True, False, True):
            seen.router = seen.pc = answers
            bench.clock._pass(60)
            await bench.monitor._update_states()
    await bench.writer.write_later()
    found = bench.store.event_log.transitions("potka")
    assert [t.state.value for t in found] == ["up", "unreachable", "up"]
    assert [(t.at - START).total_seconds() for t in found] == [60, 120, 180]


async def test_the_reports_do_not_end_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unexpected error in the sending of mails ended the daemon, at each start."""

    async def broken(self: ReportScheduler, **_: Any) -> None:
        raise UnicodeEncodeError("ascii", "é", 0, 1, "unexpected")

    monkeypatch.setattr(ReportScheduler, "run_once", broken)
    one = RunningHub(tmp_path)
    task = asyncio.create_task(one.hub.run())
    async with asyncio.timeout(20):
        while not one.hub.live.hub.parts.restarts["reports"] and not task.done():
            await asyncio.sleep(0.02)
    assert not task.done()
    one.hub.stop()
    await asyncio.wait_for(task, 20)
