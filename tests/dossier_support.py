"""A district's months in a database for a dossier, and a forger who recomputes all hashes."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import sqlite3
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.config import Config
from jharnet_monitor.config.sealed_settings import settings_record
from jharnet_monitor.dossier import form, raw
from jharnet_monitor.dossier import sealed as chain_file
from jharnet_monitor.dossier.archive import json_bytes
from jharnet_monitor.dossier.build import build, sums
from jharnet_monitor.dossier.case import Case
from jharnet_monitor.dossier.claims import Claims
from jharnet_monitor.dossier.derive import derive
from jharnet_monitor.dossier.evidence import DossierEvidence
from jharnet_monitor.dossier.mailed import validated
from jharnet_monitor.dossier.papers import papers
from jharnet_monitor.dossier.settings import read_settings
from jharnet_monitor.dossier.verify import VerifyResult, verify
from jharnet_monitor.judge.calendar.period import Period, date_range
from jharnet_monitor.model import MADE_UP, Measurement, parse_utc
from jharnet_monitor.store import Store
from jharnet_monitor.store.chain import GENESIS, SealedPart, chunk_text, link
from jharnet_monitor.store.pruning import OF_THE_DATABASE, SETTINGS
from tests import made_up
from tests.bench.report import fill
from tests.made_up_week import WEEK, ZONE
from tests.made_up_week import drill as made_up_drill

MADE_AT = WEEK.end + timedelta(hours=8)


@dataclass(frozen=True, slots=True)
class Filed:
    """A database with months in it, and the period of the dossier to make."""

    store: Store
    config: Config
    period: Period

    def build(self, out: Path) -> Claims:
        """Build the dossier; gives its claims."""
        return build(self.store, self.config, self.period, out, MADE_AT, lambda _: None)


def check(forger: Forger, directory: Path, root: str | None = None) -> VerifyResult:
    """The verifier's result for a forged dossier."""
    return verify(forger.write(directory / "forged.zip"), root, lambda _: None)


def with_contract(config: Config, rate: float) -> Config:
    """The same with another contract of the first office."""
    first, *others = config.offices
    assert first.link is not None
    link = first.link.model_copy(update={"contracted": rate})
    offices = (first.model_copy(update={"link": link}), *others)
    return config.model_copy(update={"offices": offices})


def filed(
    directory: Path,
    offices: int,
    days: int,
    seats: int = 20,
    more: Iterable[Measurement] = (),
    *,
    sealed: bool = True,
) -> Filed:
    """The last `days` before the made-up week's end, sealed hour by hour as a hub does; `more` was
    measured as well. With `sealed`, the hub sealed its settings when it started an hour before. One
    minute in five has echo requests: with every minute tests of dossiers take 1.6 times as long.

    Without `more`, the database is a copy of one that is made once per process.
    """
    database = directory / f"{offices}-{days}.db"
    further = list(more)
    if further:
        _make(database, offices, days, seats, further, sealed=sealed)
    else:
        shutil.copyfile(_made_once(offices, days, seats, sealed=sealed), database)
    store = Store(f"sqlite:///{database}", ManualClock(MADE_AT))
    first = (WEEK.end - timedelta(days=days)).date()
    last = (WEEK.end - timedelta(days=1)).date()
    config = _config(database, offices, seats)
    return Filed(store, config, date_range(str(first), str(last), ZONE))


_MADE = tempfile.TemporaryDirectory(prefix="jhn-filed-")
"""Databases to copy; removed when the process ends."""


@cache
def _made_once(offices: int, days: int, seats: int, *, sealed: bool) -> Path:
    database = Path(_MADE.name) / f"{offices}-{days}-{seats}-{sealed}.db"
    _make(database, offices, days, seats, [], sealed=sealed)
    return database


def _config(database: Path, offices: int, seats: int) -> Config:
    config = made_up.config(offices, database=f"sqlite:///{database}")
    policy = config.capacity.model_copy(update={"seats": seats})
    return config.model_copy(update={"capacity": policy})


def _make(
    database: Path, offices: int, days: int, seats: int, more: list[Measurement], *, sealed: bool
) -> None:
    fill(database, offices, days, random.Random(1), latency_minutes=5)
    with _opened(database, MADE_AT) as store:
        store.add(more)
    in_order(database)
    drill = made_up_drill(made_up.config(11))
    with _opened(database, drill.started_at + timedelta(minutes=6)) as store:
        store.event_log.add_drill(drill)
    if sealed:
        start = WEEK.end - timedelta(days=days, hours=1)
        record = settings_record(_config(database, offices, seats))
        with _opened(database, start) as store:
            store.event_log.add_event(OF_THE_DATABASE, SETTINGS, start, record)
    with _opened(database, MADE_AT) as store:
        store.chain.seal()
        for week in range(1, days // 7):
            _mail(store, WEEK.end - timedelta(weeks=week))


@contextmanager
def _opened(database: Path, now: datetime) -> Iterator[Store]:
    store = Store(f"sqlite:///{database}", ManualClock(now))
    yield store
    store.close()


def _mail(store: Store, at: datetime) -> None:
    """The week's root as it was mailed then."""
    clock = store.mails._clock
    assert isinstance(clock, ManualClock)
    clock.step((at - clock.now()).total_seconds())
    name = f"root-{at:%G-W%V}"
    store.mails.prepare(name, f"<{name}@hub>", ["dio@example.in"], store.chain.root(at))
    store.mails.accepted(store.mails.of(name)[0])
    clock.step((MADE_AT - clock.now()).total_seconds())


def in_order(database: Path) -> None:
    """Number the records in the order in which a hub would have recorded them."""
    with sqlite3.connect(database) as connection:
        connection.execute("pragma synchronous=off")
        names = [row[1] for row in connection.execute("pragma table_info(measurements)")]
        others = ", ".join(f'"{n}"' for n in names if n not in ("number", "recorded_at"))
        connection.execute("create temp table held as select * from measurements")
        connection.execute("delete from measurements")
        connection.execute(
            f"insert into measurements (recorded_at, {others})"  # noqa: S608 - our own names
            f" select started_at + 60000, {others} from held order by started_at"
        )
        for table, moment in (("transitions", "at"), ("events", "at"), ("drills", "started_at")):
            connection.execute(
                f"update {table} set recorded_at = {moment}"  # noqa: S608 - our own names
            )


@dataclass(slots=True)
class Forger:
    """Someone who owns the file, changes it, and makes all hashes fit again."""

    files: dict[str, bytes] = field(default_factory=dict)
    more: Counter[tuple[str, int]] = field(default_factory=Counter)
    """Records added to a kind of a link, negative for removed ones; `rechain` seals them."""

    @classmethod
    def of(cls, path: Path) -> Forger:
        """Unpack a dossier."""
        with zipfile.ZipFile(path) as file:
            return cls({name: file.read(name) for name in file.namelist()})

    def copy(self) -> Forger:
        """Another one with the same files."""
        return Forger(dict(self.files), self.more.copy())

    def json(self, name: str) -> Any:
        """A file of JSON."""
        return json.loads(self.files[name])

    def set_json(self, name: str, data: Any) -> None:
        """Replace a file of JSON."""
        self.files[name] = json_bytes(data)

    def rehash(self) -> None:
        """Let hash report and manifest fit the present files."""
        manifest = self.json("manifest.json")
        manifest["files"] = self._values()
        made_up = manifest.get(MADE_UP) is True
        self.files["SHA256SUMS"] = sums(manifest["files"], made_up=made_up).encode()
        manifest["files"] = self._values()
        self.set_json("manifest.json", manifest)

    def rechain(self, *changed: str) -> str:
        """Let Parquet files and the whole chain fit the changed CSV files; gives the last root."""
        links = self.links()
        parts = [dict(one.parts) for one in links]
        for entry in self.json("manifest.json")["data"]:
            if entry["path"] in changed:
                self._reseal(entry, links, parts)
        self._drop_empty(links, parts)
        root, rows = GENESIS, []
        for one, sealed_parts in zip(links, parts, strict=True):
            chunk = chunk_text(one.begin, sealed_parts)
            root = link(root, chunk)
            row = {"begin": json.loads(chunk)["begin"], "chunk": chunk, "root": root, "pruned": []}
            rows.append(json.dumps(row, ensure_ascii=False) + "\n")
        self._remail([one.root for one in links], [json.loads(row)["root"] for row in rows])
        self.files["chain/links.jsonl"] = "".join(rows).encode()
        return root

    def write(self, path: Path) -> Path:
        """Put the dossier together again."""
        with zipfile.ZipFile(path, "w") as file:
            for name, content in self.files.items():
                file.writestr(name, content)
        return path

    def change_cells(self, name: str, column: str, change: Callable[[str, str], str]) -> int:
        """Change a column of measurements by office and cell; gives the number of changed cells."""
        head, *rows = self.files[name].decode().splitlines()
        place = head.split(",").index(column) - len(head.split(","))
        changed = 0
        for number, row in enumerate(rows):
            cells = row.split(",")
            before = cells[place]
            cells[place] = change(cells[1], before) if before else before
            changed += cells[place] != before
            rows[number] = ",".join(cells)
        self.files[name] = ("\n".join([head, *rows]) + "\n").encode()
        return changed

    def links(self) -> list[chain_file.Sealed]:
        """The chain."""
        return chain_file.from_jsonl(self.files["chain/links.jsonl"])

    def set_links(self, links: Iterable[chain_file.Sealed]) -> None:
        """Replace the chain."""
        self.files["chain/links.jsonl"] = chain_file.to_jsonl_lines(list(links))

    def rows(self, name: str) -> list[str]:
        """The lines of a CSV file without its head; no cell of ours has a line end in it."""
        return self.files[name].decode().splitlines()[1:]

    def set_rows(self, name: str, rows: Iterable[str]) -> None:
        """Replace them, and let the Parquet file fit."""
        head = self.files[name].decode().splitlines()[0]
        self.files[name] = ("\n".join([head, *rows]) + "\n").encode()
        kind = name.removeprefix("data/").rpartition("-")[0]
        table = form.typed(form.read(self.files[name], kind))
        self.files[name.replace(".csv", ".parquet")] = raw.parquet(table)

    def numbers(self, name: str) -> list[int]:
        """The link of each row of a CSV file."""
        [entry] = [e for e in self.json("manifest.json")["data"] if e["path"] == name]
        links = self.links()
        return [
            number
            for number in range(entry["links"][0], entry["links"][1] + 1)
            for _ in range(links[number].part_of(entry["kind"]).records)
        ]

    def remove(self, name: str, chosen: Callable[[str], bool]) -> set[int]:
        """Remove rows of a CSV file; gives their links."""
        kind, kept = name.removeprefix("data/").rpartition("-")[0], []
        found = set()
        for row, number in zip(self.rows(name), self.numbers(name), strict=True):
            if chosen(row):
                self.more[kind, number] -= 1
                found.add(number)
            else:
                kept.append(row)
        self.set_rows(name, kept)
        return found

    def case(self) -> Case:
        """The content from which the papers are set, with the claims as they are in the file."""
        manifest = self.json("manifest.json")
        config = read_settings(self.json("settings.json"))
        period = date_range(manifest["from"], manifest["to"], ZoneInfo(config.district.timezone))
        evidence = DossierEvidence(config, period)
        for entry in manifest["data"]:
            table = form.read(self.files[entry["path"]], entry["kind"])
            evidence.add(entry["kind"], form.typed(table))
        made_at = parse_utc(manifest["made_at"])
        until = chain_file.sealed_until(made_at, period.end)
        claims = Claims.from_json(self.json("claims.json"))
        mails = validated(self.json("chain/mailed-roots.json"))
        sums = self.files["SHA256SUMS"].decode()
        return Case(config, period, until, made_at, claims, evidence, self.links(), mails, sums)

    def restate(self) -> None:
        """Derive the claims from the files as they are now, and set all papers again."""
        case = self.case()
        claims = derive(case.evidence, case.until)
        self.set_json("claims.json", claims.to_json())
        self.rehash()
        stated = replace(case, claims=Claims.from_json(self.json("claims.json")),
                         sums=self.files["SHA256SUMS"].decode())  # fmt: skip
        for name in [name for name in self.files if name.startswith("drills/")]:
            del self.files[name]
        self.files |= dict(papers(stated))
        self.rehash()

    def _values(self) -> dict[str, Any]:
        return {
            name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
            for name, content in sorted(self.files.items())
            if name != "manifest.json"
        }

    def _reseal(
        self, entry: Any, links: list[chain_file.Sealed], parts: list[dict[str, SealedPart]]
    ) -> None:
        path, kind = entry["path"], entry["kind"]
        table = form.read(self.files[path], kind)
        self.files[path.replace(".csv", ".parquet")] = raw.parquet(form.typed(table))
        lines = [line.encode() for line in form.lines(table, kind).to_pylist()]
        row = 0
        for number in range(entry["links"][0], entry["links"][1] + 1):
            count = links[number].part_of(kind).records + self.more[kind, number]
            records = b"".join(lines[row : row + count])
            parts[number].pop(kind, None)
            if count:
                parts[number][kind] = SealedPart(count, hashlib.sha256(records).hexdigest())
            row += count

    def _drop_empty(
        self, links: list[chain_file.Sealed], parts: list[dict[str, SealedPart]]
    ) -> None:
        """An hour without remaining records has no link."""
        empty = [number for number, part in enumerate(parts) if not part]
        manifest = self.json("manifest.json")
        for entry in manifest["data"]:
            first, last = entry["links"]
            before, within = sum(n < first for n in empty), sum(n <= last for n in empty)
            entry["links"] = [first - before, last - within]
        for number in reversed(empty):
            del links[number], parts[number]
        self.set_json("manifest.json", manifest)

    def _remail(self, before: list[str], after: list[str]) -> None:
        mails = self.json("chain/mailed-roots.json")
        for mail in mails:
            mail["root"] = after[before.index(mail["root"])]
        self.set_json("chain/mailed-roots.json", mails)
