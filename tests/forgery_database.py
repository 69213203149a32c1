"""Forgeries of the database, one function a kind, and a small database to forge.

The forger owns the file. What lies outside of the hash is made to fit: marks of pruning, numbers of
rows, made-up events. `rebuild` then seals everything again, which only a root from outside can
reveal.
"""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.config import Config
from jharnet_monitor.config.sealed_settings import settings_record
from jharnet_monitor.judge.conference.drill import Drill, DrillState
from jharnet_monitor.model import OfficeState
from jharnet_monitor.probes import PRUNABLE
from jharnet_monitor.profiles import Profile
from jharnet_monitor.store import Store, Window
from jharnet_monitor.store.pruning import PRUNED, SETTINGS, PruningRule, pruning_data
from tests import made_up
from tests.made_up_week import WEEK, ZONE

RULE = PruningRule(PRUNABLE, timedelta(days=92))
START = WEEK.start
OLD_HOURS, HOURS = 8, 12
KEPT = timedelta(days=95)
"""By the sealed settings; no configuration may keep measurements for less than 92 days."""
YOUNG = timedelta(days=93)
LAST_NUMBER = 10**9
END = START + timedelta(hours=HOURS + 2)
OFFICES = ("golmuri-cum-jugsalai", "patamda")
LOG = ("transitions", "events", "windows", "drills")


def sealed_database(file: Path) -> str:
    """Write hours of 100 days ago, of which latency and counters were pruned, and of a day and a
    half; returns the root that somebody outside holds.
    """
    clock = ManualClock(START - timedelta(days=100))
    store = Store(f"sqlite:///{file}", clock)
    store.migrate()
    store.event_log.add_event("", SETTINGS, clock.now(), settings_record(_settings(2)))
    for _ in range(OLD_HOURS):
        _hour(store, clock)
    clock.step((START - YOUNG - clock.now()).total_seconds())
    _hour(store, clock)
    clock.step((START - clock.now()).total_seconds())
    store.chain.seal()
    store.retention.prune(clock.now() - KEPT, ZONE, PRUNABLE)
    store.event_log.add_event("", SETTINGS, clock.now(), settings_record(_settings(3)))
    for _ in range(HOURS):
        _hour(store, clock)
    clock.step(7200)
    store.chain.seal()
    root = store.chain.root()
    assert root is not None
    store.mails.prepare("root-2026-W47", "<m>", ["dio@example.in"], root)
    assert store.chain.verify(RULE) == []
    store.close()
    return root


def _settings(offices: int) -> Config:
    base = made_up.config(offices)
    kept = base.retention.model_copy(update={"raw": KEPT.total_seconds()})
    return base.model_copy(update={"retention": kept})


def _hour(store: Store, clock: ManualClock) -> None:
    """An hour of both offices: of every kind of record some."""
    for minute in range(0, 60, 10):
        for office in OFFICES:
            store.add([made_up.latency(office, clock.now(), 0.04 + minute / 9000)])
        clock.step(600)
    at = clock.now() - timedelta(minutes=5)
    clock.step(-300)
    for number, office in enumerate(OFFICES):
        store.add([
            made_up.bandwidth(office, at, 3.1e6 + number, 3e6),
            made_up.conference(office, at, 1 + (at.hour + number) % 4),
            made_up.utilisation(office, at, 1e6, 4e5),
        ])  # fmt: skip
        store.event_log.add_transition(office, OfficeState.UNREACHABLE, at, {})
        store.event_log.add_transition(office, OfficeState.UP, at, {"after": 60})
        store.event_log.add_event(office, "joined", at, {"boot_id": "b"})
    store.event_log.add_window(Window(OFFICES[0], at, at + timedelta(minutes=9), "सेवा"))
    store.event_log.add_drill(Drill(f"d{at:%d%H}", DrillState.DONE, Profile.P720, at, ()))
    clock.step(300)


@dataclass(slots=True)
class Forging:
    """A database that a forger can change."""

    file: Path
    dice: random.Random

    def sql(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        """Run one statement; returns its rows."""
        connection = sqlite3.connect(self.file)
        try:
            with connection:
                return connection.execute(statement, values).fetchall()
        finally:
            connection.close()

    def number(self, table: str, where: str = "1", first: int = 1) -> int:
        """The number of a random row of the newer hours."""
        recorded = int((START - timedelta(hours=1)).timestamp() * 1000)
        query = f"select number from {table} where recorded_at > {recorded} and {where}"  # noqa: S608
        rows = self.sql(query)
        return int(str(self.dice.choice(rows[first:-1])[0]))

    def link(self, kind: str = "", *, newer: bool = True) -> int:
        """The number of a random link with records of a kind, neither the first nor the last."""
        query = "select number, body from chunks order by number"
        rows = [(int(str(number)), str(body)) for number, body in self.sql(query)]
        rows = rows[OLD_HOURS + 3 : -1] if newer else rows[1:OLD_HOURS]
        return self.dice.choice([number for number, body in rows if kind in body])

    def rows_of(self, link: int, table: str) -> tuple[int, int]:
        """The first and last number of a table's rows in a link."""
        rows = self.sql("select upto from chunks where number in (?, ?) order by number",
                        link - 1, link)  # fmt: skip
        before, after = (json.loads(str(row[0]))[table] for row in rows)
        return before + 1, after

    def call_pruned(self, link: int, *kinds: str) -> None:
        """Mark kinds of a link as pruned."""
        [row] = self.sql("select pruned from chunks where number = ?", link)
        marked = json.loads(str(row[0])) | dict.fromkeys(kinds, int(END.timestamp() * 1000))
        self.sql("update chunks set pruned = ? where number = ?", json.dumps(marked), link)

    def rebuild(self) -> None:
        """Seal everything again from the first hour that differs, and let the log of mails fit."""
        store = Store(f"sqlite:///{self.file}", ManualClock(END))
        wrong = [one.link.number for one in store.chain.check(RULE) if one.problems]
        self.sql("delete from chunks where number >= ?", min(wrong, default=LAST_NUMBER))
        store.chain.seal()
        root = store.chain.root()
        store.close()
        self.sql("update mails set root = ?", root)

    def problems(self, root: str | None) -> list[str]:
        """What `db verify` finds, with and without a root."""
        store = Store(f"sqlite:///{self.file}", ManualClock(END))
        try:
            found = store.chain.verify(RULE)
            if root is not None and all(one.root != root for one in store.chain.links()):
                found.append(f"the root {root} is not in the chain")
        finally:
            store.close()
        return found


def copied(original: Path, file: Path, dice: random.Random) -> Forging:
    """A copy of the database to forge."""
    for leftover in ("-wal", "-shm"):
        file.with_name(file.name + leftover).unlink(missing_ok=True)
    shutil.copyfile(original, file)
    return Forging(file, dice)


# --- deletions


def _one_of(probe: str) -> Callable[[Forging], None]:
    def forge(at: Forging) -> None:
        at.sql("delete from measurements where number = ?",
               at.number("measurements", f"probe = '{probe}'"))  # fmt: skip

    return forge


def _hour_of(probe: str) -> Callable[[Forging], None]:
    def forge(at: Forging) -> None:
        link = at.link(probe)
        at.sql("delete from measurements where probe = ? and number between ? and ?", probe,
               *at.rows_of(link, "measurements"))  # fmt: skip
        at.call_pruned(link, probe)

    return forge


def _hours_of_log(table: str) -> Callable[[Forging], None]:
    def forge(at: Forging) -> None:
        link = at.link(table)
        first, last = at.rows_of(link, table)
        at.sql(f"delete from {table} where number between ? and ?", first, last)  # noqa: S608
        at.call_pruned(link, table)

    return forge


def _all_outages(at: Forging) -> None:
    at.sql("delete from transitions")
    for (number,) in at.sql("select number from chunks where body like '%transitions%'"):
        at.call_pruned(int(str(number)), "transitions")


def _bad_calls(at: Forging) -> None:
    """As reviewed: every hour with a call that was not perfect."""
    for (number,) in at.sql("select number from chunks"):
        link = int(str(number))
        if link > OLD_HOURS + 1 and at.dice.random() < 0.7:
            at.sql("delete from measurements where probe = 'conference' and number between ? and ?",
                   *at.rows_of(link, "measurements"))  # fmt: skip
            at.call_pruned(link, "conference")


def _office(at: Forging) -> None:
    office = at.dice.choice(OFFICES)
    for table in ("measurements", "transitions", "events", "windows"):
        at.sql(f"delete from {table} where office = ?", office)  # noqa: S608


def _old_hour(at: Forging) -> None:
    """An hour that retention left, marked as pruned long ago; no event says so."""
    at.sql("delete from measurements where probe = 'latency' and number between ? and ?",
           *at.rows_of(at_link := at.link("latency"), "measurements"))  # fmt: skip
    at.call_pruned(at_link, "latency")
    at.sql("update chunks set pruned = '{\"latency\":1}' where number = ?", at_link)


def _made_up_event(at: Forging) -> None:
    """Younger than what retention keeps, with an event of its pruning that is not sealed yet."""
    _pruned_by_hand(at, at.link("latency"))


def _kept_by_settings(at: Forging) -> None:
    """Older than the 92 days of every configuration, younger than the sealed settings keep."""
    _pruned_by_hand(at, OLD_HOURS + 2)


def _pruned_by_hand(at: Forging, link: int) -> None:
    at.sql("delete from measurements where probe = 'latency' and number between ? and ?",
           *at.rows_of(link, "measurements"))  # fmt: skip
    at.call_pruned(link, "latency")
    [(root, body)] = at.sql("select root, body from chunks where number = ?", link)
    records = json.loads(str(body))["parts"]["latency"]["records"]
    data = json.dumps(pruning_data(str(root), START, {"latency": records}))
    now = int(END.timestamp() * 1000)
    at.sql("insert into events (office, kind, at, data, recorded_at) values ('', ?, ?, ?, ?)",
           PRUNED, now, data, now)  # fmt: skip


def _pruning_event(at: Forging) -> None:
    """The events of what was really pruned."""
    at.sql("delete from events where kind = ?", PRUNED)


def _settings_event(at: Forging) -> None:
    at.sql("delete from events where number = (select max(number) from events where kind = ?)",
           SETTINGS)  # fmt: skip


def _shared_text(at: Forging) -> None:
    at.sql(
        "delete from texts where number = (select conditions from measurements where number = ?)",
        at.number("measurements"),
    )


def _link(at: Forging) -> None:
    """A whole hour, its link and its records."""
    link = at.link()
    for table in ("measurements", *LOG):
        first, last = at.rows_of(link, table)
        at.sql(f"delete from {table} where number between ? and ?", first, last)  # noqa: S608
    at.sql("delete from chunks where number = ?", link)


def _head(at: Forging) -> None:
    """The first hours."""
    link = at.link(newer=False)
    for table in ("measurements", *LOG):
        _, last = at.rows_of(link, table)
        at.sql(f"delete from {table} where number <= ?", last)  # noqa: S608
    at.sql("delete from chunks where number <= ?", link)


def _tail(at: Forging) -> None:
    """The last hours, and the mail that went out after them."""
    link = at.link()
    for table in ("measurements", *LOG):
        first, _ = at.rows_of(link, table)
        at.sql(f"delete from {table} where number >= ?", first)  # noqa: S608
    at.sql("delete from chunks where number >= ?", link)
    at.sql("delete from mails")


# --- additions


def _make_room(at: Forging, table: str, number: int) -> None:
    """Free a number in the middle: all later rows move on."""
    at.sql(f"update {table} set number = -number - 1 where number >= ?", number)  # noqa: S608
    at.sql(f"update {table} set number = -number where number < 0")  # noqa: S608


def _doubled(table: str, change: str, where: str = "1") -> Callable[[Forging], None]:
    def forge(at: Forging) -> None:
        number = at.number(table, where)
        _make_room(at, table, number)
        names = [str(row[1]) for row in at.sql(f"pragma table_info({table})")]
        others = [name for name in names if name != "number"]
        new = dict(part.split("=", 1) for part in change.split(";") if part)
        columns = ", ".join(f'"{name}"' for name in others)
        values = ", ".join(new.get(name, f'"{name}"') for name in others)
        at.sql(f"insert into {table} (number, {columns}) select ?, {values} from {table}"  # noqa: S608
               " where number = ?", number, number + 1)  # fmt: skip

    return forge


def _before_the_first(at: Forging) -> None:
    _doubled("measurements", "id='before'")(at)
    at.sql("update measurements set number = -7 where id = 'before'")


# --- changes


def _set(table: str, change: str, where: str = "1") -> Callable[[Forging], None]:
    def forge(at: Forging) -> None:
        number = at.number(table, where)
        at.sql(f"update {table} set {change} where number = ?", number)  # noqa: S608

    return forge


def _sealed_settings(at: Forging) -> None:
    at.sql("update events set data = replace(data, '4Mbit/s', '10Mbit/s') where kind = ?", SETTINGS)


def _condition(at: Forging) -> None:
    """A shared text, and so every measurement with it."""
    at.sql("update texts set body = '{\"under_load\":true}' where body = '{}'")


def _count(at: Forging) -> None:
    """The number of records in a chunk, which no hash of lines covers."""
    link = at.link()
    [(body,)] = at.sql("select body from chunks where number = ?", link)
    content = json.loads(str(body))
    kind = at.dice.choice(sorted(content["parts"]))
    content["parts"][kind]["records"] -= 1
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    at.sql("update chunks set body = ? where number = ?", text, link)


def _moved_border(at: Forging) -> None:
    """The last row of an hour belongs to the next one."""
    link = at.link()
    [(upto,)] = at.sql("select upto from chunks where number = ?", link)
    moved = json.loads(str(upto))
    moved["measurements"] -= 1
    at.sql("update chunks set upto = ? where number = ?", json.dumps(moved), link)


def _other_hour(at: Forging) -> None:
    at.sql("update chunks set begin = begin + 3600000 where number = ?", at.link())


def _mailed_root(at: Forging) -> None:
    at.sql("update mails set root = ?", f"{at.dice.getrandbits(256):064x}")


# --- orders


def _swapped(table: str, separate: int, where: str = "1") -> Callable[[Forging], None]:
    """Two rows `separate` numbers change places."""

    def forge(at: Forging) -> None:
        one = at.number(table, where)
        other = one - separate
        for number, to in ((one, -1), (other, one), (-1, other)):
            at.sql(f"update {table} set number = ? where number = ?", to, number)  # noqa: S608

    return forge


def _swapped_links(at: Forging) -> None:
    one = at.link()
    for number, to in ((one, -1), (one - 1, one), (-1, one - 1)):
        at.sql("update chunks set number = ? where number = ?", to, number)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of forgery; only a root reveals a rebuilt one."""

    name: str
    forge: Callable[[Forging], None]
    alone: str = ""
    """Why it is not caught without a root even if the chain is not rebuilt; empty if it is."""
    rebuilds: bool = True
    """Whether the chain can be rebuilt after it, or is itself what was forged."""


CUT = "nothing after the end says that there was more"
"""Why records cut off the end are caught by a later root alone."""
_HOUR = 3_600_000
_AFTER_ITS_LIKE = (
    "probe = 'latency' and number - 1 in (select number from measurements where probe = 'latency')"
)
"""The order of two kinds of records is not sealed: nothing depends on it."""
KINDS = (
    *(Kind(f"one record of {probe} removed", _one_of(probe))
      for probe in ("bandwidth", "conference", "latency", "utilisation")),
    *(Kind(f"an hour of {probe} removed and called pruned", _hour_of(probe))
      for probe in ("bandwidth", "conference", "latency", "utilisation")),
    *(Kind(f"an hour of {table} removed and called pruned", _hours_of_log(table)) for table in LOG),
    Kind("all changes of state removed and called pruned", _all_outages),
    Kind("bad calls removed and called pruned", _bad_calls),
    Kind("all records of an office removed", _office),
    Kind("an hour called pruned before prunings were sealed", _old_hour),
    Kind("a young hour removed, its pruning made up", _made_up_event),
    Kind("an hour removed that the sealed settings keep, its pruning made up", _kept_by_settings),
    Kind("events of prunings removed", _pruning_event),
    Kind("the last settings removed", _settings_event),
    Kind("a shared text removed", _shared_text, rebuilds=False),
    Kind("an hour removed with its link", _link),
    Kind("the first hours removed with their links", _head),
    Kind("the last hours removed with their links", _tail, alone=CUT, rebuilds=False),
    Kind("a good call added", _doubled("measurements", "id='x'", "probe = 'conference'")),
    Kind("a speed test added", _doubled("measurements", "id='x'", "probe = 'bandwidth'")),
    Kind("a change of state added", _doubled("transitions", "state='power_down'")),
    Kind("an event added", _doubled("events", "kind='goodbye'")),
    Kind("a planned window added", _doubled("windows", "reason='work'")),
    Kind("a drill added", _doubled("drills", "id='more'")),
    Kind("a record added before the first", _before_the_first, rebuilds=False),
    Kind("a speed changed", _set("measurements", "\"values\" = replace(\"values\", '3', '1')",
                                 "probe = 'bandwidth'")),
    Kind("an outcome changed", _set("measurements", "outcome = 'no_data'")),
    Kind("a cause changed", _set("measurements", "cause = 'host_overloaded'")),
    Kind("a duration changed", _set("measurements", "duration = duration + 1")),
    Kind("conditions changed", _condition),
    Kind("a state changed", _set("transitions", "state = 'power_down'", "state = 'unreachable'")),
    Kind("evidence of a state changed", _set("transitions", "evidence = '{\"uptime\":1}'")),
    Kind("an event changed", _set("events", "kind = 'goodbye'", "kind = 'joined'")),
    Kind("sealed settings changed", _sealed_settings),
    Kind("a planned window made longer", _set("windows", '"end" = "end" + 600000')),
    Kind("a drill changed", _set("drills", "body = replace(body, '720p', '360p')")),
    Kind("the count in a chunk changed", _count, rebuilds=False),
    Kind("a link's border moved", _moved_border, rebuilds=False),
    Kind("a mailed root replaced", _mailed_root, rebuilds=False),
    Kind("two neighbours swapped", _swapped("measurements", 1, _AFTER_ITS_LIKE)),
    Kind("two records of different hours swapped", _swapped("measurements", 40)),
    Kind("two changes of state swapped", _swapped("transitions", 1)),
    Kind("two links swapped", _swapped_links, rebuilds=False),
    Kind("a measurement re-dated", _set("measurements", f"started_at = started_at + {_HOUR}")),
    Kind("a recording re-dated", _set("measurements", f"recorded_at = recorded_at - {_HOUR}")),
    Kind("a change of state re-dated", _set("transitions", "at = at + 60000")),
    Kind("an event re-dated", _set("events", "at = at - 60000")),
    Kind("a link's hour re-dated", _other_hour, rebuilds=False),
    Kind("a measurement given to another office",
         _set("measurements", f"office = '{OFFICES[1]}'", f"office = '{OFFICES[0]}'")),
    Kind("an outage given to another office",
         _set("transitions", f"office = '{OFFICES[1]}'", f"office = '{OFFICES[0]}'")),
    Kind("a measurement given to another probe",
         _set("measurements", "probe = 'latency'", "probe = 'utilisation'")),
    Kind("a measurement given to another path", _set("measurements", "path = 'internet'")),
)  # fmt: skip
