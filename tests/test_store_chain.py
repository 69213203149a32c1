"""The chain, what may be pruned of it, copies of a database in use, and the `db` commands."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from zoneinfo import ZoneInfo

import pytest
import yaml

from jharnet_monitor.cli import main
from jharnet_monitor.clock import ManualClock
from jharnet_monitor.judge.conference.drill import Drill, DrillState
from jharnet_monitor.model import OfficeState, Outcome
from jharnet_monitor.probes import PRUNABLE
from jharnet_monitor.profiles import Profile
from jharnet_monitor.store import Store, Window
from jharnet_monitor.store.chain import GENESIS, link
from jharnet_monitor.store.pruning import PRUNED, SETTINGS, PruningRule, pruning_data
from jharnet_monitor.store.tables import to_ms
from tests.conftest import find_program
from tests.store_support import BOTH, START, Bench, Postgres, bench_of, one

HOUR = timedelta(hours=1)
INDIA = ZoneInfo("Asia/Kolkata")
RULE = PruningRule(PRUNABLE, timedelta(days=92))


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """One cluster for the file."""
    cluster = Postgres()
    yield cluster
    cluster.remove()


@pytest.fixture(params=BOTH)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """An empty, migrated database of each kind."""
    yield from bench_of(request, tmp_path)


def fill(bench: Bench, hours: int = 4) -> None:
    """Hours of measurements and of everything that the event log holds, sealed."""
    event_log = bench.store.event_log
    for hour in range(hours):
        bench.store.add([one(f"{hour}-{n}", hour * 60 + n) for n in range(5)])
        bench.store.add([one(f"b{hour}", hour * 60, probe="bandwidth", values={"bytes_spent": 1})])
        event_log.add_transition("potka", OfficeState.UP, bench.clock.now(), {"पोटका": True})
        event_log.add_event("potka", "joined", bench.clock.now(), {"boot_id": "b"})
        event_log.add_window(Window(None, START, START + HOUR, "सेवा"))
        event_log.add_drill(Drill("d", DrillState.RUNNING, Profile.P720, START, (), minutes=hour))
        bench.clock.step(3600)
    bench.clock.step(3600)
    assert bench.store.chain.seal() == hours


def test_an_hour_is_sealed_when_it_is_over_and_never_again(bench: Bench) -> None:
    """No hour is sealed early or twice; every link follows from the one before."""
    fill(bench)
    chain = bench.store.chain
    assert chain.seal() == 0
    root = chain.root()
    bench.store.add([one("now")])
    assert chain.seal() == 0, "the hour is not over"
    bench.clock.step(3700)
    assert chain.seal() == 1
    assert chain.verify() == []
    assert chain.root() != root
    before = GENESIS
    for one_link in chain.links():
        assert link(before, one_link.chunk) == one_link.root
        before = one_link.root


def test_the_root_follows_from_the_records_alone(bench: Bench) -> None:
    """The lines of an hour suffice to recompute its link without the database."""
    fill(bench, 2)
    first = bench.store.chain.links()[0]
    lines: dict[str, list[bytes]] = {}
    for kind, line in bench.store.chain.records(first):
        lines.setdefault(kind, []).append(line)
    parts = {
        kind: {"records": len(every), "sha256": hashlib.sha256(b"".join(every)).hexdigest()}
        for kind, every in lines.items()
    }
    chunk = json.dumps({"begin": "2026-11-23T06:00:00.000Z", "parts": parts},
                       sort_keys=True, separators=(",", ":"))  # fmt: skip
    assert hashlib.sha256(bytes(32) + chunk.encode()).hexdigest() == first.root
    assert json.loads(lines["latency"][0]) == [
        "0-0", "potka", "latency", "jharnet", 1795415400000, 1795415400000, 60.0, "ok", None, {},
        ["received", "rtt_p50_seconds", "sent"], [59.0, 0.041, 60.0],
    ]  # fmt: skip


def _call_pruned(kind: str, number: int, at: datetime = START) -> str:
    """The statement that marks a kind of a link's records as pruned, as retention once did."""
    pruned = json.dumps({kind: to_ms(at)})
    return f"UPDATE chunks SET pruned = '{pruned}' WHERE number = {number}"  # noqa: S608 - our own


CHANGES = [
    ("UPDATE measurements SET \"values\" = '[59.0,0.040,60.0]' WHERE id = '1-2'", "latency"),
    ("UPDATE measurements SET office = 'boram' WHERE id = '1-2'", "latency"),
    ("UPDATE measurements SET probe = 'bandwidth' WHERE id = '1-2'", "bandwidth"),
    ("DELETE FROM measurements WHERE id = '1-4'", "latency"),
    ("UPDATE measurements SET number = number + 1000 WHERE id = '1-4'", "latency"),
    ("UPDATE texts SET body = '{\"under_load\":true}' WHERE body = '{}'", "latency"),
    ("UPDATE transitions SET state = 'power_down' WHERE number = 2", "transitions"),
    ("DELETE FROM events WHERE number = 2", "events"),
    ('UPDATE windows SET "end" = "end" + 1 WHERE number = 2', "windows"),
    ("UPDATE drills SET body = '{}' WHERE number = 2", "drills"),
    ("UPDATE chunks SET body = replace(body, 'latency', 'Latency') WHERE number = 2", "chunk"),
    ("UPDATE chunks SET root = '00' || substr(root, 3) WHERE number = 2", "breaks here"),
    ("DELETE FROM chunks WHERE number = 2", "breaks here"),
    ("UPDATE chunks SET begin = begin + 3600000 WHERE number = 2", "as another hour"),
    ("UPDATE texts SET number = number + 100", "latency"),
    ("UPDATE measurements SET \"values\" = x'00' WHERE id = '1-2'", "latency"),
    *(
        (delete + "; " + _call_pruned(kind, 2), kind)
        for kind, delete in {
            "bandwidth": "DELETE FROM measurements WHERE id = 'b1'",
            "latency": "DELETE FROM measurements WHERE id LIKE '1-_'",
            "transitions": "DELETE FROM transitions WHERE number = 2",
            "events": "DELETE FROM events WHERE number = 2",
            "windows": "DELETE FROM windows WHERE number = 2",
            "drills": "DELETE FROM drills WHERE number = 2",
            "ntp": "DELETE FROM windows WHERE number > 9",
        }.items()
    ),
]


def test_every_change_of_what_is_sealed_is_found_and_named(bench: Bench) -> None:
    """A value, a place, a record gone or moved, a state, a link: the hour and kind are named."""
    fill(bench)
    file = Path(bench.url.removeprefix("sqlite:///"))
    statements = CHANGES if bench.url.startswith("sqlite") else CHANGES[:1]
    whole = b"" if len(statements) == 1 else _whole(bench, file)
    for statement, named in statements:
        if whole:
            for leftover in ("-wal", "-shm"):
                file.with_name(file.name + leftover).unlink(missing_ok=True)
            file.write_bytes(whole)
        for part in statement.split("; "):
            bench.sql(part)
        fresh = Store(bench.url, bench.clock)
        problems = fresh.chain.verify(RULE)
        fresh.close()
        assert problems, statement
        assert named in " ".join(problems), (statement, problems)
        assert "the hour from 2026-11-23 " in problems[0]


def _whole(bench: Bench, file: Path) -> bytes:
    bench.store.close()
    bench.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    return file.read_bytes()


def test_what_is_slipped_in_afterwards_is_found(bench: Bench) -> None:
    """A row between two sealed ones, under a number that was free."""
    bench.store.add([one("a")])
    bench.sql("UPDATE measurements SET number = 10")
    bench.clock.step(7200)
    bench.store.chain.seal()
    bench.sql(
        "INSERT INTO measurements SELECT 5, 'x', office, probe, path, started_at, recorded_at, "
        'duration, outcome, cause, bytes_spent, conditions, names, "values", NULL, NULL '
        "FROM measurements"
    )
    assert "had 1 records of `latency`, now has 2" in bench.store.chain.verify()[0]


def test_clock_steps_tear_no_chain(bench: Bench) -> None:
    """Ten years forward and back again: everything is sealed once, in order, and verifies."""
    decade = 10 * 365 * 86400
    for name, step in (("a", decade), ("b", -decade), ("c", 7200)):
        bench.store.add([one(name)])
        bench.clock.step(step)
    bench.store.chain.seal()
    bench.store.add([one("d")])
    bench.clock.step(decade)
    bench.store.add([one("e")])
    bench.store.chain.seal()
    bench.clock.step(7200 - decade)
    bench.store.add([one("f")])
    bench.clock.step(7200)
    bench.store.chain.seal()
    links = bench.store.chain.links()
    assert sum(link.parts["latency"].records for link in links) == 6
    assert bench.store.chain.verify() == []


def test_what_comes_late_extends_the_chain(bench: Bench) -> None:
    """An agent hands in yesterday's measurements: they are today's records."""
    fill(bench)
    roots = [one.root for one in bench.store.chain.links()]
    bench.store.add([one("late", -1440)])
    bench.clock.step(7200)
    bench.store.chain.seal()
    links = bench.store.chain.links()
    assert [one.root for one in links][:4] == roots
    assert links[4].parts["latency"].records == 1


def test_the_root_of_a_period_is_that_of_its_last_hour(bench: Bench) -> None:
    """An hour belongs to the period in which it begins."""
    fill(bench)
    links = bench.store.chain.links()
    begins = [one_link.begin for one_link in links]
    for since in begins:
        for until in (*begins, *(begin + timedelta(minutes=1) for begin in begins)):
            within = bench.store.chain.links(since, until)
            root = bench.store.chain.root_within(since, until)
            assert root == (within[-1].root if within else None)
    assert bench.store.chain.root_within(links[-1].begin, links[-1].begin) is None


def test_daily_roots_are_those_of_the_districts_midnight(bench: Bench) -> None:
    """A day's root is the last of the hours that were over by 24:00 IST (18:30 UTC)."""
    for hour in range(40):
        bench.store.add([one(f"m{hour}", hour * 60)])
        bench.clock.step(3600)
    bench.store.chain.seal()
    links = bench.store.chain.links()
    roots = bench.store.chain.daily_roots(date(2026, 11, 22), date(2026, 11, 24), INDIA)
    before_midnight = [one.root for one in links if one.begin < START.replace(hour=18, minute=0)]
    assert roots == {date(2026, 11, 23): before_midnight[-1], date(2026, 11, 24): links[-5].root}
    assert bench.store.chain.root(datetime(2026, 11, 23, 18, 30, tzinfo=UTC)) == before_midnight[-1]
    assert bench.store.chain.root(START) is None


def test_pruning_leaves_the_chain_whole_and_days_behind(bench: Bench) -> None:
    """Latency is pruned by sealed hours; its days, totals, and all rare records stay."""
    fill(bench)
    bench.store.add([one("bad", 1, outcome=Outcome.FAILED, cause="no_reply", values={"sent": 60})])
    bench.clock.step(7200)
    bench.store.chain.seal()
    bench.clock.step(93 * 86400)
    totals, root = bench.store.tallies.all(), bench.store.chain.root()
    assert bench.store.retention.prune(START, INDIA, PRUNABLE) == 0
    assert bench.store.retention.prune(START + timedelta(days=1), INDIA, PRUNABLE) == 21
    assert bench.store.retention.prune(START + timedelta(days=1), INDIA, PRUNABLE) == 0
    assert {m.probe for m in bench.store.measurements()} == {"bandwidth"}
    assert bench.store.chain.verify(RULE) == []
    assert "retention never prunes them" in bench.store.chain.verify()[0]
    assert (bench.store.tallies.all(), bench.store.chain.root()) == (totals, root)
    [day] = bench.store.retention.days(date(2026, 11, 23), date(2026, 11, 24))
    assert day.outcomes == {"ok": 20, "failed": 1}
    assert day.values["sent"] == {
        "n": 21, "sum": 1260.0, "min": 60.0, "p5": 60.0, "p50": 60.0, "p95": 60.0, "max": 60.0,
    }  # fmt: skip
    bench.sql("INSERT INTO measurements SELECT 2, 'x', office, 'latency', path, started_at, "
              "recorded_at, duration, outcome, cause, bytes_spent, conditions, names, \"values\", "
              "NULL, NULL FROM measurements WHERE id = 'b0'")  # fmt: skip
    assert "exist, though all were pruned" in bench.store.chain.verify(RULE)[0]


def test_each_pruning_is_an_event_that_the_chain_seals(bench: Bench) -> None:
    """The event counts what was pruned; without it, nothing explains why the records are
    missing."""
    fill(bench)
    bench.clock.step(93 * 86400)
    bench.store.event_log.add_event("", SETTINGS, bench.clock.now(), {})
    assert bench.store.retention.prune(START + timedelta(days=1), INDIA, PRUNABLE) == 20
    events = [e for e in bench.store.event_log.events("") if e.kind == PRUNED]
    links = bench.store.chain.links()
    assert [e.data["root"] for e in events] == [one.root for one in links]
    assert all(e.data["records"] == {"latency": 5} for e in events)
    bench.clock.step(7200)
    assert bench.store.chain.seal() == 1
    assert bench.store.chain.links()[-1].parts["events"].records == 5
    assert [one.unsealed for one in bench.store.chain.check(RULE)] == [frozenset()] * 5
    bench.sql("UPDATE events SET data = replace(data, ':5', ':4') WHERE kind = 'pruned'")
    problems = bench.store.chain.verify(RULE)
    assert "had 5 records of `latency`, but pruned were 4" in problems[0]
    bench.sql("DELETE FROM events WHERE kind = 'pruned'")
    assert "had 5 records of `events`, now has 1" in bench.store.chain.verify(RULE)[-1]


def test_what_retention_still_keeps_cannot_be_called_pruned(bench: Bench) -> None:
    """An event made up for an hour that is 91 days old explains nothing."""
    fill(bench)
    bench.clock.step(91 * 86400)
    first = bench.store.chain.links()[0]
    data = pruning_data(first.root, first.begin, {"latency": 5})
    bench.store.event_log.add_event("", PRUNED, bench.clock.now(), data)
    bench.sql("DELETE FROM measurements WHERE number IN (1, 2, 3, 4, 5)")
    bench.sql(_call_pruned("latency", 1))
    [problem] = bench.store.chain.verify(RULE)
    assert "were removed when they were 91 days old" in problem


def test_pruning_without_events_is_reported(bench: Bench) -> None:
    """A database of an older program verifies; what is pruned once there are events needs one."""
    fill(bench)
    bench.clock.step(93 * 86400)
    bench.sql("DELETE FROM measurements WHERE number IN (1, 2, 3, 4, 5)")
    bench.sql(_call_pruned("latency", 1, bench.clock.now()))
    assert bench.store.chain.verify(RULE) == []
    assert [bool(one.unsealed) for one in bench.store.chain.check(RULE)] == [True] + 3 * [False]
    bench.sql("UPDATE events SET kind = 'settings' WHERE number = 1")
    assert "were removed without an event" in " ".join(bench.store.chain.verify(RULE))


def test_a_changed_hour_is_not_pruned(bench: Bench) -> None:
    """Otherwise the change could not be found any more."""
    fill(bench)
    bench.clock.step(93 * 86400)
    bench.sql("DELETE FROM measurements WHERE id = '1-2'")
    assert bench.store.retention.prune(START + timedelta(days=1), INDIA, PRUNABLE) == 15
    [problem] = bench.store.chain.verify(RULE)
    assert "had 5 records of `latency`, now has 4" in problem


def test_what_lies_outside_of_the_links_is_found(bench: Bench) -> None:
    """A row before the first, and a mailed root that the chain does not lead to."""
    fill(bench)
    assert list(bench.store.chain.strays()) == []
    bench.sql("UPDATE windows SET number = -1 WHERE number = 1")
    bench.store.mails.prepare("root-2026-W48", "<m>", ["dio@example.in"], "0" * 64)
    strays = " ".join(bench.store.chain.strays())
    assert "`windows` has 1 rows before the first" in strays
    assert "mailed with root-2026-W48 is not in the chain" in strays


def test_a_copy_made_while_others_write_is_whole(tmp_path: Path) -> None:
    """Measurements come in all the while; the copy opens, verifies, and needs no other file."""
    bench, done = Bench(f"sqlite:///{tmp_path / 'monitor.db'}"), Event()
    fill(bench)

    def write() -> None:
        number = 0
        while not done.is_set():
            bench.store.add([one(f"w{number}-{n}", number) for n in range(100)])
            number += 1

    writer = Thread(target=write)
    writer.start()
    try:
        for _ in range(3):
            bench.store.backup(tmp_path / "copies" / "copy.db")
    finally:
        done.set()
        writer.join()
    assert [file.name for file in (tmp_path / "copies").iterdir()] == ["copy.db"]
    copy = Store(f"sqlite:///{tmp_path / 'copies' / 'copy.db'}", ManualClock(START))
    assert copy.chain.verify() == []
    assert copy.chain.root() == bench.store.chain.root()
    assert len(copy.measurements()) % 100 == 24
    copy.close()
    bench.store.close()


@pytest.mark.server("initdb", "pg_ctl", "pg_dump", "pg_restore")
def test_a_dump_of_postgresql_restores(postgres: Postgres, tmp_path: Path) -> None:
    """What pg_restore makes of the copy is the same chain."""
    bench = Bench(postgres.new_database())
    fill(bench)
    file = tmp_path / "copy.dump"
    bench.store.backup(file)
    url, restore = postgres.new_database(), find_program("pg_restore")
    assert restore is not None
    subprocess.run([restore, f"--dbname={url}", str(file)], check=True)
    copy = Store(url, bench.clock)
    assert copy.chain.verify() == []
    assert copy.chain.root() == bench.store.chain.root()
    copy.close()
    bench.store.close()


def test_the_commands_distinguish_intact_from_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`db verify` ends with 0, 1 or 2; `migrate`, `backup` and `prune` say what they did."""
    config = tmp_path / "jharnet.yaml"
    office = {"id": "potka", "name": "Potka", "name_hi": "पोटका", "router": "10.8.3.1"}
    config.write_text(yaml.safe_dump({
        "district": {"id": "e", "name": "E", "name_hi": "पू"}, "offices": [office],
        "hub": {"tls": "off", "database": "sqlite:///monitor.db",
                "uplink": {"contracted": "34 Mbit/s"}},
        "retention": {"raw": "3660d"},  # `prune` goes by the computer's clock
    }))  # fmt: skip

    def db(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["", "db", *arguments, "--config", str(config)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out + err

    code, output = db("verify")
    assert (code, "no database yet" in output) == (1, True)
    assert db("migrate") == (0, "schema 0004\n")
    bench = Bench(f"sqlite:///{tmp_path / 'monitor.db'}")
    fill(bench)
    code, output = db("verify", "--json", "--root", bench.store.chain.links()[1].root)
    assert json.loads(output) == {"ok": True, "hours": 4, "records": 40, "problems": [],
                                "pruned": {}, "root": bench.store.chain.root()}  # fmt: skip
    assert db("verify", "--root", "0" * 64)[0] == 1
    code, output = db("verify", "--root", "abc")
    assert (code, "must be the 64 hexadecimal digits" in output) == (2, True)
    assert " kB" in db("backup", str(tmp_path / "copy.db"))[1]
    assert "0 records" in db("prune")[1]
    bench.sql("DELETE FROM measurements WHERE id = '2-2'")
    code, output = db("verify")
    assert (code, "08:00 UTC: had 5 records of `latency`, now has 4" in output) == (1, True)
    code, output = db("pack")
    assert (code, "3 hours packed; " in output, bench.store.chain.unpacked()) == (0, True, None)
    assert "08:00 UTC: had 5 records of `latency`, now has 4" in db("verify")[1]
    bench.store.close()
