"""Records that the database does not accept wait on disk, in order, and are written once."""

from __future__ import annotations

import asyncio
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.errors import RefusedRecordError, StoreError, Trouble
from jharnet_monitor.hub import store_writer
from jharnet_monitor.hub.health import Health
from jharnet_monitor.hub.recorder import Recorder
from jharnet_monitor.hub.records import (
    DrillRecord,
    EventRecord,
    MeasurementRecord,
    StateRecord,
    ValueRecord,
    is_written,
)
from jharnet_monitor.hub.store_writer import MOST_TRIES, StoreWriter
from jharnet_monitor.judge.conference.drill import Drill, DrillState
from jharnet_monitor.live import Live
from jharnet_monitor.metrics import MetricsRegistry
from jharnet_monitor.model import Measurement, OfficeState, Outcome, format_utc
from jharnet_monitor.profiles import Profile
from jharnet_monitor.store import Store
from tests.support import make_config

NOW = datetime(2026, 11, 25, tzinfo=UTC)


class Bench:
    """A writer, and a database that can be taken away."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.monkeypatch = monkeypatch
        self.clock = ManualClock(NOW)
        self.current = CurrentConfig(make_config())
        self.live = Live(self.current)
        self.store = Store(f"sqlite:///{directory}/monitor.db", self.clock)
        self.store.migrate()
        self.writer = self.new_writer()

    def new_writer(self) -> StoreWriter:
        """As after a restart."""
        return StoreWriter(self.store, self.directory / "w.db", self.live.hub, self.clock)

    def take_away(self) -> None:
        """Every write fails from now on."""

        def away(*_: Any, **__: Any) -> None:
            raise StoreError("hub.database: gone")

        self.monkeypatch.setattr(self.store, "add", away)
        self.monkeypatch.setattr(self.store, "set_value", away)
        for name in ("add_event", "add_transition", "add_drill"):
            self.monkeypatch.setattr(self.store.event_log, name, away)

    def bring_back(self) -> None:
        """Writes succeed again."""
        self.monkeypatch.undo()


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A writer on an empty database."""
    one = Bench(tmp_path, monkeypatch)
    yield one
    one.store.close()


def minute(name: str) -> Measurement:
    """A minute of latency."""
    return Measurement("potka", "latency", NOW, 60.0, Outcome.OK, values={"sent": 60.0}, id=name)


async def test_nothing_is_forgotten_while_the_database_is_away(bench: Bench) -> None:
    """Measurements, events and states of that time are all there later, the
    states in their order, and the newest value of a key."""
    bench.take_away()
    for number in range(3):
        await bench.writer.write(MeasurementRecord(minute(f"m{number}")))
        await bench.writer.write(ValueRecord("beat", NOW + timedelta(seconds=number)))
    for state in (OfficeState.UNREACHABLE, OfficeState.UP):
        await bench.writer.write(StateRecord("potka", state, NOW, {}))
    await bench.writer.write(EventRecord("potka", "joined", NOW, {"boot_id": "b"}))
    assert bench.live.hub.writes_waiting == 7
    assert bench.live.hub.database_failing
    bench.bring_back()
    await bench.writer.write_later()
    assert bench.live.hub.writes_waiting == 0
    assert not bench.live.hub.database_failing
    assert [m.id for m in bench.store.measurements()] == ["m0", "m1", "m2"]
    assert [t.state.value for t in bench.store.event_log.transitions("potka")] == [
        "unreachable",
        "up",
    ]
    assert [e.kind for e in bench.store.event_log.events("potka")] == ["joined"]
    assert bench.store.get_value("beat") == format_utc(NOW + timedelta(seconds=2))


async def test_what_waits_outlives_the_hub(bench: Bench) -> None:
    """It is written at the next start, before anything else; what was written already is not
    written twice."""
    bench.take_away()
    await bench.writer.write(MeasurementRecord(minute("m")), EventRecord("potka", "left", NOW, {}))
    bench.bring_back()
    EventRecord("potka", "left", NOW, {}).write(bench.store)  # and then the power failed
    await bench.writer.close()
    again = bench.new_writer()
    await again.open()
    await again.write_later()
    assert [m.id for m in bench.store.measurements()] == ["m"]
    assert [e.kind for e in bench.store.event_log.events("potka")] == ["left"]
    await again.close()


async def test_events_that_differ_only_in_their_data_are_all_kept(bench: Bench) -> None:
    """Router and PC of an office answered in the same millisecond, and one event was lost; one that
    was written already is still not written twice."""
    events = [EventRecord("potka", "reached", NOW, {"role": role, "answers": True, "rtt": 0.1 + 0.2,
                                                    "note": "पोटका"})
              for role in ("router", "pc")]  # fmt: skip
    bench.writer.hold(Trouble.LOCKED)
    await bench.writer.write(*events)
    events[1].write(bench.store)  # and then the power failed
    await bench.writer.release()
    assert bench.live.hub.writes_waiting == 0
    stored = bench.store.event_log.events("potka")
    assert sorted(one.data["role"] for one in stored) == ["pc", "router"]


async def test_order_holds_while_something_waits(bench: Bench) -> None:
    """Records that arrive when the database is back are written after those that wait."""
    bench.take_away()
    await bench.writer.write(StateRecord("potka", OfficeState.UNREACHABLE, NOW, {}))
    bench.bring_back()
    await bench.writer.write(StateRecord("potka", OfficeState.UP, NOW, {}))
    await bench.writer.write_later()
    assert bench.store.event_log.last_transitions(["potka"])["potka"].state is OfficeState.UP


async def test_a_record_that_can_never_be_written_holds_back_none(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """It is set aside, and logged."""
    bench.take_away()
    await bench.writer.write(MeasurementRecord(minute("good")))
    bench.bring_back()
    bench.writer._queue.put("bad", '["NoSuchRecord", {}]')
    bench.writer._queue.put("worse", "not json")
    await bench.writer.write_later()
    assert [m.id for m in bench.store.measurements()] == ["good"]
    assert bench.live.hub.writes_waiting == 0
    assert caplog.text.count("is set aside") == 2


async def test_a_database_that_hangs_holds_up_no_probe(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL that hung for 100 s held up everything; a record waits on disk then."""
    monkeypatch.setattr(store_writer, "LONGEST_WRITE_SECONDS", 1.0)
    answers, add = threading.Event(), bench.store.add

    def hung(measurements: Any) -> Any:
        answers.wait(90)
        return add(measurements)

    monkeypatch.setattr(bench.store, "add", hung)
    async with asyncio.timeout(60):
        for number in range(4):
            await bench.writer.write(MeasurementRecord(minute(f"m{number}")))
    assert bench.live.hub.writes_waiting == 4
    answers.set()
    async with asyncio.timeout(60):
        while bench.live.hub.writes_waiting:  # an answer may take its time on a busy machine
            await bench.writer.write_later()
    assert [m.id for m in bench.store.measurements()] == ["m0", "m1", "m2", "m3"]


async def test_the_reason_stays_known_behind_a_database_that_does_not_answer(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One write waited for a lock and said so; those behind it got no answer in time, replaced the
    reason by "does not answer", and piled up."""
    monkeypatch.setattr(store_writer, "LONGEST_WRITE_SECONDS", 1.0)
    unlocked = threading.Event()
    tried: list[str] = []

    def locked(measurements: list[Measurement]) -> Any:
        tried.append(measurements[0].id)
        if len(tried) > 1:
            unlocked.wait(90)
        raise StoreError("database is locked", Trouble.LOCKED)

    monkeypatch.setattr(bench.store, "add", locked)
    async with asyncio.timeout(60):
        for name in ("first", "begun", "behind", "behind"):
            with pytest.raises(StoreError):
                await bench.writer.add([minute(name)])
    assert bench.live.hub.database_trouble is Trouble.LOCKED
    unlocked.set()
    await asyncio.sleep(0.1)
    assert tried == ["first", "begun"]


async def test_an_agents_batch_is_not_taken_while_the_database_is_away(bench: Bench) -> None:
    """The agent keeps it, so nothing of it waits here or is shown."""
    recorder = Recorder(bench.current, bench.writer, bench.live, bench.clock)
    bench.take_away()
    with pytest.raises(StoreError):
        await recorder.hand_in([minute("m")])
    assert not bench.live.offices["potka"].latest
    assert bench.live.hub.writes_waiting == 0


@pytest.mark.parametrize("error", [RefusedRecordError("NUL in text"), OverflowError("too large")])
async def test_a_batch_with_a_record_that_is_never_taken_gets_through(
    bench: Bench, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """It was tried for ever, and blocked all that its agent measured afterwards. Now it is kept on
    disk, counted, named, and tried again by a hub of another version."""
    add, tries = bench.store.add, list[int]()

    def refuses(measurements: Any) -> Any:
        if any(m.id == "bad" for m in measurements):
            tries.append(len(measurements))
            raise error
        return add(measurements)

    bench.monkeypatch.setattr(bench.store, "add", refuses)
    recorder = Recorder(bench.current, bench.writer, bench.live, bench.clock)
    await recorder.hand_in([minute("a"), minute("bad"), minute("z")])
    await recorder.record(minute("bad"))
    await recorder.record(minute("later"))
    assert [m.id for m in bench.store.measurements()] == ["a", "z", "later"]
    assert tries == [3, *[1] * MOST_TRIES, 1]
    status = bench.live.hub
    assert (status.writes_set_aside, status.writes_waiting) == (2, 0)
    assert not status.database_failing
    read = MetricsRegistry(bench.live, bench.clock).get_sample_value
    assert read("jharnet_database_set_aside_records") == 2
    health = Health(status, bench.current, bench.clock, bench.store)
    health._ticked = bench.clock.monotonic()
    assert health.ready() == (
        True,
        "ready; 2 records that the database refused are set aside",
    )
    assert "set aside in" in caplog.text
    await bench.writer.close()
    bench.bring_back()
    same = bench.new_writer()
    await same.open()
    assert (status.writes_set_aside, status.writes_waiting) == (2, 0)
    await same.close()
    bench.monkeypatch.setattr(store_writer, "_NOT_TAKEN", "not stored by 99")
    newer = bench.new_writer()
    await newer.open()
    await newer.write_later()
    assert "bad" in [m.id for m in bench.store.measurements()]
    assert status.writes_set_aside == 0
    await newer.close()


async def test_measurements_on_a_full_disk_wait_in_memory(bench: Bench) -> None:
    """Database and queue stand on the same disk, which has no room: it is shown anyway."""
    recorder = Recorder(bench.current, bench.writer, bench.live, bench.clock)
    queue = bench.writer._queue
    queue.open()
    assert queue._db is not None
    (pages,) = queue._db.execute("PRAGMA page_count").fetchone()
    queue._db.execute(f"PRAGMA max_page_count={pages}")
    bench.take_away()
    for number in range(100):
        await recorder.record(minute(f"m{number:03}"))
    assert "latency" in bench.live.offices["potka"].latest
    assert bench.live.hub.writes_waiting == 100
    bench.bring_back()
    assert queue._db is not None
    queue._db.execute("PRAGMA max_page_count=1000000")
    await bench.writer.write_later()
    assert len(bench.store.measurements()) == 100


class FullDisk:
    """A small disk without room, for the queue alone."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def fill(self) -> None:
        """Leave no byte."""
        with suppress(OSError), (self.place / "filler").open("wb", buffering=0) as filler:
            while filler.write(bytes(4096)):
                pass

    def clear(self) -> None:
        """There is room again."""
        (self.place / "filler").unlink()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[FullDisk]:
    """A disk of its own; needs root."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "jhn-queue", place], check=True)
    yield FullDisk(place)
    subprocess.run(["umount", "--lazy", place], check=True)


def event_kinds(bench: Bench) -> list[str]:
    """The kinds of the stored events of one moment, in the order of recording."""
    return [one.kind for one in bench.store.event_log.events("potka")]


@pytest.mark.root
@pytest.mark.parametrize("recorded", [0, 2])
@pytest.mark.parametrize("existed", [True, False])
async def test_a_start_on_a_full_disk_loses_nothing(
    bench: Bench, small_disk: FullDisk, recorded: int, existed: bool
) -> None:
    """What was recorded meanwhile stayed in memory until the process ended, counted as nothing, and
    what had waited since before the start on disk. Both are written as soon as there is room."""
    bench.directory = small_disk.place
    if existed:
        earlier = bench.new_writer()
        earlier.hold(Trouble.FULL)
        await earlier.write(EventRecord("potka", "earlier", NOW, {}))
        await earlier.close()
    small_disk.fill()
    writer = bench.new_writer()
    await writer.open()
    writer.hold(Trouble.FULL)
    for number in range(recorded):
        await writer.write(EventRecord("potka", f"kind{number}", NOW, {}))
    assert bench.live.hub.writes_waiting == recorded
    small_disk.clear()
    await writer.release()
    await writer.write(EventRecord("potka", "later", NOW, {}))
    await writer.write_later()
    expected = [f"kind{number}" for number in range(recorded)]
    assert event_kinds(bench) == ["earlier"] * existed + [*expected, "later"]
    assert (bench.live.hub.writes_waiting, writer._queue.unwritten) == (0, 0)
    await writer.close()


@pytest.mark.root
async def test_a_database_elsewhere_gets_what_a_full_disk_cannot_hold(
    bench: Bench, small_disk: FullDisk
) -> None:
    """The disk of the queue stays full, PostgreSQL is back: records do not pile up in memory."""
    bench.directory = small_disk.place
    (small_disk.place / "w.db").touch()
    small_disk.fill()
    writer = bench.new_writer()
    await writer.open()
    writer.hold(Trouble.AWAY)
    for number in range(3):
        await writer.write(EventRecord("potka", f"kind{number}", NOW, {}))
    assert bench.live.hub.writes_waiting == 3
    await writer.release()
    await writer.write(EventRecord("potka", "later", NOW, {}))
    assert event_kinds(bench) == ["kind0", "kind1", "kind2", "later"]
    assert (bench.live.hub.writes_waiting, writer._queue.unwritten) == (0, 0)
    assert not bench.live.hub.database_failing
    await writer.close()


async def test_a_drill_waits_once_however_often_it_is_written(bench: Bench) -> None:
    """The hub writes it again until the database has it."""
    drill = Drill("d", DrillState.DONE, Profile.P720, NOW, ())
    bench.take_away()
    for _ in range(3):
        await bench.writer.write(DrillRecord(drill))
    assert bench.live.hub.writes_waiting == 1
    bench.bring_back()
    assert not is_written(DrillRecord(drill), bench.store)
    await bench.writer.write_later()
    assert is_written(DrillRecord(drill), bench.store)
    assert bench.store.event_log.drill("d") == drill
