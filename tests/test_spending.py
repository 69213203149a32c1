"""Bytes of an office's budget count on their day, once, whoever counts them and when."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.hub.recorder import UPDATE, Recorder
from jharnet_monitor.hub.store_writer import StoreWriter
from jharnet_monitor.live import Live
from jharnet_monitor.model import Measurement, Outcome
from jharnet_monitor.store import Store
from tests.support import make_config

MIDNIGHT = datetime(2026, 11, 25, 18, 30, tzinfo=UTC)
"""In India."""
MINUTE = timedelta(minutes=1)


class Bench:
    """A real store with its writer, and recorders as of several runs of the hub."""

    def __init__(self, directory: Path) -> None:
        self.clock = ManualClock(MIDNIGHT - 30 * MINUTE)
        self.current = CurrentConfig(make_config())
        self.live = Live(self.current)
        self.store = Store(f"sqlite:///{directory}/monitor.db", self.clock)
        self.store.migrate()
        self.writer = StoreWriter(self.store, directory / "w.db", self.live.hub, self.clock)

    def recorder(self) -> Recorder:
        """The recorder of a run of the hub that begins now."""
        return Recorder(self.current, self.writer, self.live, self.clock)

    def restarted(self) -> Recorder:
        """The same, with what the store holds."""
        recorder = self.recorder()
        recorder.restore_spent()
        return recorder


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """An empty database, half an hour before the day ends."""
    one = Bench(tmp_path)
    yield one
    one.store.close()


def speed_test(name: str, amount: int, at: datetime, seconds: float = 10.0) -> Measurement:
    """A speed test that spent bytes."""
    values = {"bytes_spent": float(amount)}
    return Measurement("potka", "bandwidth", at, seconds, Outcome.OK, values=values, id=name)


async def test_a_test_across_midnight_counts_on_both_days_after_a_restart(bench: Bench) -> None:
    """It did before; a restart after midnight counted it on the first day only."""
    recorder = bench.recorder()
    bench.clock.step(1800 - 5)
    await recorder.record(speed_test("across", 4000, bench.clock.now()))
    assert recorder.spent_today("potka") == bench.restarted().spent_today("potka") == 4000
    bench.clock.step(10)
    assert recorder.spent_today("potka") == bench.restarted().spent_today("potka") == 4000
    bench.clock.step(86400)
    assert recorder.spent_today("potka") == bench.restarted().spent_today("potka") == 0


async def test_what_is_charged_during_a_recount_counts_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recount runs in a thread: its result replaced what was charged meanwhile. What the store
    takes before it is charged is found twice, and counts once."""
    recorder = bench.recorder()
    await recorder.record(speed_test("earlier", 1, bench.clock.now()))
    read, arrived = bench.store.spent, list[str]()

    def spent(office: str, since: datetime, until: datetime) -> Any:
        if office != "potka":
            return read(office, since, until)
        handed_in = speed_test("handed in", 10, bench.clock.now())
        bench.store.add([handed_in])
        found = read(office, since, until)
        arrived.extend(found)
        for one in (handed_in, speed_test("not stored yet", 100, bench.clock.now())):
            recorder._update(one)
        recorder.charge("potka", 1000)
        return found

    monkeypatch.setattr(bench.store, "spent", spent)
    counting = Thread(target=recorder.restore_spent)
    counting.start()
    counting.join()
    assert sorted(arrived) == ["earlier", "handed in"]
    assert recorder.spent_today("potka") == 1111
    assert bench.live.offices["potka"].bytes_spent_today == 1111


def test_bytes_of_an_update_count_before_and_after_their_event(bench: Bench) -> None:
    """They are charged as they are sent, and recorded at the end of the round."""
    recorder = bench.recorder()
    for _ in range(3):
        recorder.charge("potka", 500)
        bench.clock.step(60)
    recorder.restore_spent()
    assert recorder.spent_today("potka") == 1500
    data = {"did": "fetched", "bytes": 1500}
    bench.store.event_log.add_event("potka", UPDATE, bench.clock.now(), data)
    recorder.restore_spent()
    bench.clock.step(1)
    assert recorder.spent_today("potka") == bench.restarted().spent_today("potka") == 1500
    bench.clock.step(1800)
    assert recorder.spent_today("potka") == bench.restarted().spent_today("potka") == 0


async def test_a_clock_that_was_ahead_renews_no_budget(bench: Bench) -> None:
    """Once it is set right, what was spent on the day that goes on still counts."""
    recorder = bench.recorder()
    await recorder.record(speed_test("before", 1000, bench.clock.now()))
    bench.clock.step(365 * 86400)
    assert recorder.spent_today("potka") == 0
    bench.clock.step(-365 * 86400)
    assert recorder.spent_today("potka") == 1000
    bench.clock.step(1800)
    assert recorder.spent_today("potka") == 0
