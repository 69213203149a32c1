"""A hub's backup, and the hub that is restored from it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jharnet_monitor.clock import ManualClock, SystemClock
from jharnet_monitor.commands.acts import record_act
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.config.load import load_config
from jharnet_monitor.disk_queue import DiskQueue
from jharnet_monitor.errors import StoreError, UserError
from jharnet_monitor.hub.journal import Journal
from jharnet_monitor.hub.nightly_backup import RETRY, NightlyBackup
from jharnet_monitor.hub.outage_attribution import ALL_OFFICES
from jharnet_monitor.hub.records import HEARTBEAT_KEY, StartRecord, ValueRecord, write_out
from jharnet_monitor.hub.store_writer import StoreWriter
from jharnet_monitor.live import HubStatus
from jharnet_monitor.model import OfficeState, format_utc
from jharnet_monitor.security.tokens import matches
from jharnet_monitor.standby import restore as restore_module
from jharnet_monitor.standby import save as save_module
from jharnet_monitor.standby.manifest import (
    DATABASE,
    MANIFEST,
    WAITING,
    backups_in,
    read_manifest,
    sha256_of,
)
from jharnet_monitor.standby.restore import RESTORED, Restore
from jharnet_monitor.standby.save import save
from jharnet_monitor.store import Store
from jharnet_monitor.store.acts import OF_PEOPLE
from jharnet_monitor.store.lease import KEY
from jharnet_monitor.store.pruning import OF_THE_DATABASE
from tests.standby_support import hub_in
from tests.store_support import BOTH, START, Postgres


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL cluster for this file."""
    cluster = Postgres()
    yield cluster
    cluster.remove()


@pytest.mark.parametrize("kind", BOTH)
def test_a_hub_goes_on_on_another_machine(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Configuration, certificate, tokens, accounts, papers, what waited, and every sealed record;
    the lease of the old hub has come along and is ended."""
    old = tmp_path / "old"
    cluster = request.getfixturevalue("postgres") if kind == "postgresql" else None
    url = cluster.new_database() if cluster else "sqlite:///data/monitor.db"
    file = hub_in(old, url)
    backup = save(file, tmp_path / "away", 3)
    assert (backup.stat().st_mode & 0o777, backups_in(tmp_path / "away", "d")) == (0o700, [backup])
    shutil.rmtree(old)
    if cluster:
        for program in ("dropdb", "createdb"):
            cluster._run(program, f"--host={cluster.directory}", "--username=jharnet",
                         url.partition("@/")[2].partition("?")[0])  # fmt: skip

    done = Restore(backup, tmp_path / "new").run()
    config = load_config(done.config)  # with every file that it names
    assert (done.config, done.hours, done.records) == (tmp_path / "new/jharnet.yaml", 1, 40)
    assert matches("a-token", tmp_path / "new/secrets/potka")
    assert (tmp_path / "new/secrets/api").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "new/tls/ca.key").exists()
    assert (tmp_path / "new/reports/week.pdf").read_bytes() == b"%PDF signed"
    queue = DiskQueue(config.waiting_file, 100)
    assert queue.peek(9) == [("beat", "{}")]
    queue.close()
    store = Store(config.hub.database, SystemClock())
    event = store.event_log.last_event(OF_THE_DATABASE, RESTORED)
    assert event is not None
    assert len(store.measurements()) == 40
    lease = store.get_value(KEY)
    assert lease is not None
    store.ownership.lease._machine = "another machine"
    store.ownership.take()  # at once
    assert store.ownership.lease.term == lease["term"] + 1
    store.close()


def test_a_database_may_be_in_a_directory_of_any_name(tmp_path: Path) -> None:
    """Its URL writes Hindi letters and brackets otherwise: acts of people were not recorded, and
    records that wait, backups and the free space of the disk were those of another directory."""
    config = load_config(hub_in(tmp_path, "sqlite:///डाटा [1]/monitor.db"))
    place = tmp_path / "डाटा [1]"
    assert config.hub.database_file == place / "monitor.db"
    assert config.waiting_file == place / "monitor.db-waiting"
    assert config.sessions_file == place / "monitor.db-sessions"
    record_act(config, "tried", {})
    with closing(Store(config.hub.database, SystemClock())) as store:
        assert [e.data["what"] for e in store.event_log.events(OF_PEOPLE)] == ["tried"]


def test_a_backup_that_was_changed_restores_nothing(tmp_path: Path) -> None:
    """Neither a file that differs from the manifest, nor a record for which the manifest was
    corrected as well: the chain says so."""
    backup = save(hub_in(tmp_path / "old"), tmp_path / "away", 3)
    with closing(sqlite3.connect(backup / DATABASE)) as database, database:
        database.execute("UPDATE measurements SET duration = 61 WHERE number = 5")
    with pytest.raises(UserError, match="database: was changed or is not whole"):
        Restore(backup, tmp_path / "new").run()
    manifest = json.loads((backup / MANIFEST).read_text("utf-8"))
    held = manifest["files"][DATABASE]
    held["sha256"], held["size"] = sha256_of(backup / DATABASE), (backup / DATABASE).stat().st_size
    (backup / MANIFEST).write_text(json.dumps(manifest), "utf-8")
    with pytest.raises(UserError, match=r"hour from .*nothing was restored"):
        Restore(backup, tmp_path / "new").run()
    assert not list((tmp_path / "new").iterdir())


def test_what_is_there_is_set_aside_or_left(tmp_path: Path) -> None:
    """Nothing of a hub that is there is written over."""
    backup = save(hub_in(tmp_path / "old"), tmp_path / "away", 3)
    with pytest.raises(UserError, match=r"is not empty .*--replace sets aside"):
        Restore(backup, tmp_path / "old").run()
    Restore(backup, tmp_path / "old", replace=True).run()
    [earlier] = (tmp_path / "old").glob("before-restore-*")
    assert (earlier / "jharnet.yaml").exists()
    load_config(tmp_path / "old/jharnet.yaml")


@pytest.mark.parametrize("name", ["/etc/passwd", "config/../../x", "config/jharnet.yaml"])
def test_a_manifest_leads_nowhere_else(name: str, tmp_path: Path) -> None:
    """What a backup names lies in it; one that is cut off is refused in one line."""
    (tmp_path / MANIFEST).write_text(json.dumps({"format": 1, "files": {name: {}}}), "utf-8")
    with pytest.raises(UserError, match=r"outside of the backup|is not the manifest"):
        read_manifest(tmp_path)


WRONG: tuple[object, ...] = (
    None,
    True,
    1.5,
    10**30,
    "x",
    "0001-01-01T00:00:00+23:59",
    [],
    {"x": 1},
)


@pytest.mark.parametrize("text", ["", "[]", "null", '{"format": 1}', "[" * 100_000])
def test_what_is_no_manifest_is_one_line(text: str, tmp_path: Path) -> None:
    """Deep nesting ended the restore with a traceback."""
    (tmp_path / MANIFEST).write_text(text, "utf-8")
    with pytest.raises(UserError, match="is not the manifest"):
        read_manifest(tmp_path)


def test_a_manifest_with_any_other_value_is_one_line(tmp_path: Path) -> None:
    """A number in place of a text ended the restore with a traceback."""
    backup = save(hub_in(tmp_path / "old"), tmp_path / "away", 3)
    true = json.loads((backup / MANIFEST).read_text("utf-8"))
    keys = [key for key in (*true, *true["files"]) if key != "format"]
    for key, value in [(key, value) for key in keys for value in WRONG]:
        changed = json.loads(json.dumps(true))
        if key in changed["files"]:
            changed["files"][key]["size"] = value
        else:
            changed[key] = value
        (backup / MANIFEST).write_text(json.dumps(changed), "utf-8")
        try:
            Restore(backup, tmp_path / "new", replace=True).run()
        except UserError:
            continue
        assert type(value) is type(true[key]), key  # such as the name of the machine


def test_a_record_that_is_written_meanwhile_is_in_the_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It leaves the queue for the database between the two copies."""
    file = hub_in(tmp_path / "hub")
    copy = Store.backup

    def copy_then_move(store: Store, target: Path) -> None:
        copy(store, target)
        queue = DiskQueue(load_config(file).waiting_file, 100)
        queue.drop(["beat"])
        queue.close()

    monkeypatch.setattr(Store, "backup", copy_then_move)
    queue = DiskQueue(save(file, tmp_path / "away", 3) / WAITING, 100)
    assert queue.peek(9) == [("beat", "{}")]
    queue.close()


async def test_the_newer_of_two_copies_is_restored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The waiting records are copied before the database, which may have later ones: a heartbeat
    and a start that were written meanwhile change nothing."""
    file = hub_in(tmp_path / "hub")
    config, copy = load_config(file), Store.backup
    waiting = ValueRecord(HEARTBEAT_KEY, START)
    started = StartRecord(START, ("potka",), START - timedelta(hours=1))
    later = START + timedelta(minutes=5)

    def write_then_copy(store: Store, target: Path) -> None:
        started.write(store)
        ValueRecord(HEARTBEAT_KEY, later).write(store)
        copy(store, target)

    queue = DiskQueue(config.waiting_file, 100)
    queue.drop(["beat"])
    queue.put("start", json.dumps(write_out(started)))
    queue.put(HEARTBEAT_KEY, json.dumps(write_out(waiting)))
    queue.close()
    monkeypatch.setattr(Store, "backup", write_then_copy)
    done = Restore(save(file, tmp_path / "away", 3), tmp_path / "new").run()
    config = load_config(done.config)
    clock = ManualClock(START + timedelta(hours=1))
    store = Store(config.hub.database, clock)
    status = HubStatus()
    writer = StoreWriter(store, config.waiting_file, status, clock)
    await writer.open()
    assert status.writes_waiting == 2
    journal = Journal(writer, clock)
    await writer.write_later()
    assert store.get_value(HEARTBEAT_KEY) == format_utc(later)
    await journal.hub_started(["potka"])
    stops = [one.at for one in store.event_log.events(ALL_OFFICES) if one.kind == "hub_stopped"]
    assert stops == [START - timedelta(hours=1), later]
    assert status.writes_set_aside == 0
    await writer.close()
    store.close()


async def test_a_start_counts_from_the_later_heartbeat(tmp_path: Path) -> None:
    """That of the database, where an older one waits on disk."""
    clock = ManualClock(START)
    store = Store(f"sqlite:///{tmp_path}/monitor.db", clock)
    store.migrate()
    later = START - timedelta(minutes=5)
    ValueRecord(HEARTBEAT_KEY, later).write(store)
    StartRecord(START, ("potka",), START - timedelta(hours=1)).write(store)
    stops = [one.at for one in store.event_log.events(ALL_OFFICES) if one.kind == "hub_stopped"]
    assert stops == [later]
    store.close()


async def test_a_change_after_the_last_heartbeat_ends_with_the_crash(tmp_path: Path) -> None:
    """A state that began seconds before a crash would last as long as the hub is away. It is
    written once, and not after changes that a restored database already has."""
    clock = ManualClock(START)
    store = Store(f"sqlite:///{tmp_path}/monitor.db", clock)
    store.migrate()
    stopped = START - timedelta(hours=63)
    ValueRecord(HEARTBEAT_KEY, stopped).write(store)
    for office, seconds in (("potka", -60), ("boram", 6), ("patamda", 64 * 3600)):
        changed = stopped + timedelta(seconds=seconds)
        store.event_log.add_transition(office, OfficeState.UNREACHABLE, changed, {})
    for _ in range(2):
        StartRecord(START, ("potka", "boram", "patamda", "dumaria")).write(store)
    found = {o: [(t.state, t.at) for t in store.event_log.transitions(o)][1:]
             for o in ("potka", "boram", "patamda", "dumaria")}  # fmt: skip
    assert found == {
        "potka": [(OfficeState.MONITOR_DOWN, stopped)],
        "boram": [(OfficeState.MONITOR_DOWN, stopped + timedelta(seconds=6))],
        "patamda": [],
        "dumaria": [],
    }
    store.close()


def test_a_second_backup_leaves_the_running_one_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused; the first is completed."""
    file, away = hub_in(tmp_path / "hub"), tmp_path / "away"
    copy, later = Store.backup, ManualClock(START + timedelta(days=900))

    def copy_and_save_again(store: Store, target: Path) -> None:
        with pytest.raises(UserError, match="another backup is being made"):
            save(file, away, 3, later)
        copy(store, target)

    monkeypatch.setattr(Store, "backup", copy_and_save_again)
    made = save(file, away, 3)
    assert backups_in(away, "d") == [made]


def test_a_power_cut_leaves_the_backup_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder was renamed last and not written to the disk. A power cut took the name back, and
    the next backup deleted the folder as one that was never completed."""
    synced: list[tuple[Path, int]] = []
    away, sync = tmp_path / "away", os.fsync

    def noted(descriptor: int) -> None:
        place = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced.append((place, len(backups_in(away, "d"))))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    save(hub_in(tmp_path / "hub"), away, 3)
    assert synced[-1] == (away, 1)


def test_a_backup_among_the_papers_holds_no_backup(tmp_path: Path) -> None:
    """Neither an earlier one nor itself; the papers are in it."""
    file, clock = hub_in(tmp_path / "hub"), ManualClock(START)
    first = read_manifest(save(file, tmp_path / "hub/reports", 3, clock))
    clock.step(60)
    second = read_manifest(save(file, tmp_path / "hub/reports", 3, clock))
    assert "config/reports/week.pdf" in first.files
    assert first.files.keys() == second.files.keys()


def test_a_copy_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    """A file that is no database."""
    (tmp_path / DATABASE).write_bytes(b"x" * 5000)
    with pytest.raises(StoreError, match="the copy of the database cannot be read"):
        save_module._chain_of(tmp_path / DATABASE)


class Nights:
    """A hub's nightly backups under a clock of the test's own."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.directory = directory
        self.file = hub_in(directory / "hub", backup={"directory": str(directory / "made"),
                                                      "keep": 2, **settings})  # fmt: skip
        self.clock = ManualClock(datetime(2026, 11, 26, 3, 0, tzinfo=UTC))  # 08:30 in Jharkhand
        self.status = HubStatus()
        config = load_config(self.file)
        self.store = Store(config.hub.database, self.clock)
        self.backups = NightlyBackup(
            self.file, CurrentConfig(config), self.store, self.clock, self.status,
            lambda file: save(file, directory / "made", 2, self.clock),
        )  # fmt: skip

    def look(self, hours: float = 0) -> list[str]:
        """Let time pass and look once; the names of the backups."""
        self.clock.step(3600 * hours)
        asyncio.run(self.backups.run_once())
        return [one.name for one in backups_in(self.directory / "made", "d")]


def test_every_night_and_shipped(tmp_path: Path) -> None:
    """The first at once, then when it is due; one that was missed is caught up, old ones go."""
    (tmp_path / "away").mkdir()
    nights = Nights(tmp_path, ship=["cp", "-r", "{backup}", str(tmp_path / "away")])
    assert nights.look() == ["d-20261126T030000Z"]
    assert nights.look(17.9) == ["d-20261126T030000Z"]
    assert len(nights.look(0.2)) == 2  # 02:36
    assert nights.look(60)[-1] == "d-20261129T090600Z"
    away = [one.name for one in backups_in(tmp_path / "away", "d")]
    assert (away[0], len(away)) == ("d-20261126T030000Z", 3)
    assert len(backups_in(tmp_path / "made", "d")) == 2
    assert nights.status.backup_at == nights.clock.now()
    assert nights.status.backup_failures == 0
    nights.store.close()


def test_a_clock_that_was_ahead_stops_no_backup(tmp_path: Path) -> None:
    """None was made until that time had come, and no alert said so. Those of that time, had there
    been as many as are kept, also pushed out every new one as soon as it was made."""
    nights = Nights(tmp_path)
    nights.clock.step(365 * 86400)
    nights.look()
    ahead = nights.look(24)
    assert ahead == ["d-20271126T030000Z", "d-20271127T030000Z"]
    nights.clock.step(-366 * 86400)
    assert nights.look() == ["d-20261126T030000Z", ahead[1]]
    assert nights.status.backup_at == nights.clock.now()
    assert nights.look(24) == ["d-20261126T030000Z", "d-20261127T030000Z"]
    assert nights.look(0.1) == ["d-20261126T030000Z", "d-20261127T030000Z"]
    nights.clock.step(-0.5)  # an adjustment makes no second one
    assert len(nights.look(24)) == 2
    nights.store.close()


def test_the_alert_sees_no_backup_that_lies_ahead(tmp_path: Path) -> None:
    """While backups fail, the metric does not claim the one of a time that has not come."""
    nights = Nights(tmp_path)
    nights.clock.step(365 * 86400)
    nights.look()
    nights.clock.step(-365 * 86400)
    (tmp_path / "made").rename(tmp_path / "elsewhere")
    (tmp_path / "made").write_text("no directory", "utf-8")
    asyncio.run(nights.backups.run_once())
    assert (nights.status.backup_failures, nights.status.backup_at) == (1, None)
    nights.store.close()


def test_a_backup_that_does_not_arrive_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It counts as made only when it has been shipped."""
    nights = Nights(tmp_path, ship=["sh", "-c", "echo no route >&2; exit 7 # {backup}"])
    nights.look()
    assert "exit code 7: no route" in caplog.text
    assert (nights.status.backup_failures, nights.status.backup_at) == (1, None)
    nights.look(0.1)
    assert nights.status.backup_failures == 1
    nights.look(RETRY.total_seconds() / 3600)
    assert nights.status.backup_failures == 2
    assert nights.status.backup_due == datetime(2026, 11, 25, 21, 0, tzinfo=UTC)
    nights.store.close()


def test_a_retry_ships_the_backup_that_is_there(tmp_path: Path) -> None:
    """It pushes out no earlier night; the next night has its own backup."""
    away = tmp_path / "away"
    nights = Nights(tmp_path, ship=["cp", "-r", "{backup}", str(away / "d")])
    away.mkdir()
    (away / "d").mkdir()
    first = nights.look()
    (away / "d").rename(away / "unreachable")
    (away / "d").write_text("no directory", "utf-8")
    both = nights.look(24)
    assert (both[:1], len(both)) == (first, 2)
    for _ in range(3):
        assert nights.look(0.3) == both
    assert nights.status.backup_failures == 4
    (away / "d").unlink()
    (away / "unreachable").rename(away / "d")
    assert nights.look(0.3) == both
    assert sorted(one.name for one in (away / "d").iterdir()) == both
    assert nights.look(24)[0] == both[1]
    nights.store.close()


def test_what_the_configuration_must_say(tmp_path: Path) -> None:
    """A command that does not name the backup would ship nothing."""
    with pytest.raises(UserError, match=r"jharnet.yaml:\d+: backup: .ship. must name the backup"):
        hub_in(tmp_path, backup={"ship": ["rsync", "-a"]})
    assert restore_module.RESTORED == "restored"
