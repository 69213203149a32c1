"""Forgeries of a dossier's file, one function a kind.

Manifest and hash report always fit again. A change of raw data is made at three levels: with the
chain as it was, with the chain rebuilt over it, and with claims and papers made again as well.
"""

from __future__ import annotations

import csv
import io
import json
import random
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from jharnet_monitor.config.sealed_settings import settings_hash
from jharnet_monitor.dossier.claims import Claims
from jharnet_monitor.dossier.form import csv_lines
from jharnet_monitor.dossier.letter import letter
from jharnet_monitor.dossier.sheets import sheets
from jharnet_monitor.dossier.verify import verify
from jharnet_monitor.i18n.words import LANGUAGES, words
from jharnet_monitor.model import Measurement
from jharnet_monitor.report.output.pdf import render_pdf
from jharnet_monitor.store.export import ExportRow
from jharnet_monitor.store.pruning import SETTINGS
from jharnet_monitor.store.rows import canonical
from tests import made_up
from tests.bench.claims import changed, figures
from tests.dossier_support import Forger
from tests.made_up_week import WEEK

Forge = Callable[[Forger, random.Random], None]
CALLS, TESTS, MINUTES, READINGS = (
    f"data/{probe}-01.csv" for probe in ("conference", "bandwidth", "latency", "utilisation")
)
STATES, EVENTS, DRILLS = (f"data/{table}-01.csv" for table in ("transitions", "events", "drills"))
OFFICES = ("golmuri-cum-jugsalai", "patamda")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of forgery of a dossier."""

    name: str
    forge: Forge
    raw: bool = False
    """Whether raw data were forged, so that the chain can be rebuilt over it."""
    restated: bool = False
    """Whether claims and papers can be made anew after it."""
    zipped: Callable[[Path], None] | None = None
    """What is done to the ZIP file itself."""


class Level(StrEnum):
    """The depth of a forgery; hash report and manifest are always made to fit."""

    KEPT = "chain kept"
    REBUILT = "chain rebuilt"
    RESTATED = "claims and papers made anew"
    WHOLE = "chain, claims and papers made anew"
    """Everything follows from the forged records: only a root from outside differs."""


def levels(kind: Kind) -> list[Level]:
    """The levels that a kind of forgery has."""
    if kind.raw:
        return [Level.KEPT, Level.REBUILT, Level.WHOLE]
    return [Level.KEPT, Level.RESTATED] if kind.restated else [Level.KEPT]


def caught(
    kind: Kind, level: Level, true: Forger, dice: random.Random, path: Path, root: str
) -> tuple[bool, bool]:
    """Whether one forgery of a kind is caught with the root, and without."""
    forger = true.copy()
    kind.forge(forger, dice)
    if level in (Level.REBUILT, Level.WHOLE):
        changed = [name for name in forger.files if forger.files[name] != true.files.get(name)]
        forger.rechain(*(name for name in changed if name.endswith(".csv")))
    if level in (Level.RESTATED, Level.WHOLE):
        forger.restate()
    elif kind.name not in _OF_THE_MANIFEST:
        forger.rehash()
    if forger.files == true.files and kind.zipped is None:
        raise AssertionError(f"{kind.name}: nothing was forged")
    forger.write(path)
    if kind.zipped is not None:
        kind.zipped(path)
    problems = verify(path, root, lambda _: None).problems
    if problems and not problems[0].startswith("--root"):
        return True, True  # the first problem is none of the root's
    return bool(problems), bool(verify(path, None, lambda _: None).problems)


def traffic(days: int) -> Iterator[Measurement]:
    """Counters of the routers of both offices, every ten minutes up to the week's end."""
    dice = random.Random(2)
    for office in OFFICES:
        for step in range(days * 144):
            at = WEEK.end - timedelta(days=days) + timedelta(minutes=10 * step)
            yield made_up.utilisation(office, at, 1e6 * dice.random(), 4e5 * dice.random())


# --- raw data


def _remove_one(name: str) -> Forge:
    def forge(at: Forger, dice: random.Random) -> None:
        row = dice.choice(at.rows(name))
        at.remove(name, lambda one: one == row)

    return forge


def _remove_called_pruned(name: str, chosen: Callable[[str], bool]) -> Forge:
    """All records of the hours that have one of those chosen; the hours are called pruned."""

    def forge(at: Forger, dice: random.Random) -> None:
        kind = name.removeprefix("data/").rpartition("-")[0]
        rows, numbers = at.rows(name), at.numbers(name)
        hours = {n for row, n in zip(rows, numbers, strict=True) if chosen(row)}
        hours = {n for n in hours if dice.random() < 0.8} or hours
        gone = {row for row, n in zip(rows, numbers, strict=True) if n in hours}
        at.remove(name, gone.__contains__)
        at.set_links(
            replace(one, pruned=(kind,)) if number in hours else one
            for number, one in enumerate(at.links())
        )

    return forge


def _remove(name: str, chosen: Callable[[str], bool]) -> Forge:
    def forge(at: Forger, _: random.Random) -> None:
        at.remove(name, chosen)

    return forge


def _remove_office(at: Forger, dice: random.Random) -> None:
    office = dice.choice(OFFICES)
    for name in (CALLS, TESTS, READINGS, STATES):
        at.remove(name, lambda row: office in row)


def _double(name: str, change: Callable[[str], str]) -> Forge:
    """A record once more, with a change, in the same hour."""

    def forge(at: Forger, dice: random.Random) -> None:
        rows, numbers = at.rows(name), at.numbers(name)
        place = dice.randrange(len(rows))
        at.more[name.removeprefix("data/").rpartition("-")[0], numbers[place]] += 1
        at.set_rows(name, [*rows[: place + 1], change(rows[place]), *rows[place + 1 :]])

    return forge


def _change(name: str, change: Callable[[str], str], share: float = 0.3) -> Forge:
    """Some of the rows are replaced."""

    def forge(at: Forger, dice: random.Random) -> None:
        rows = at.rows(name)
        new = [change(row) if dice.random() < share else row for row in rows]
        if new == rows:
            new = [change(row) for row in rows]
        at.set_rows(name, new)

    return forge


def _scale(name: str, column: str) -> Forge:
    """An office's figures become smaller."""

    def forge(at: Forger, dice: random.Random) -> None:
        office, factor = dice.choice(OFFICES), dice.uniform(0.3, 0.9)
        at.change_cells(
            name, column, lambda of, cell: repr(float(cell) * factor) if of == office else cell
        )
        at.set_rows(name, at.rows(name))

    return forge


def _grade(at: Forger, dice: random.Random) -> None:
    grade = repr(dice.choice((0.0, 2.0)))
    at.change_cells(CALLS, "grade", lambda _, cell: grade)
    at.set_rows(CALLS, at.rows(CALLS))


def _sealed_settings(at: Forger, _: random.Random) -> None:
    """A contract in the sealed settings and in the dossier's own, the event's hash made to fit."""
    rows = list(csv.reader(at.rows(EVENTS)))
    for row in rows:
        if row[1] == SETTINGS:
            settings = json.loads(row[-1])["settings"]
            settings["offices"][0]["link"]["contracted"] = "10Mbit/s"
            row[-1] = canonical({"settings": settings, "sha256": settings_hash(settings)})
    text = io.StringIO()
    text.writelines(
        csv_lines([ExportRow((r[0], r[1], int(r[2]), int(r[3]), r[4])) for r in rows], ())
    )
    at.set_rows(EVENTS, text.getvalue().splitlines())
    _put("offices.0.link.contracted", "10Mbit/s")(at, random.Random(0))


def _swap(name: str) -> Forge:
    def forge(at: Forger, dice: random.Random) -> None:
        rows = at.rows(name)
        place = dice.randrange(1, len(rows))
        rows[place - 1], rows[place] = rows[place], rows[place - 1]
        at.set_rows(name, rows)

    return forge


def _cell(number: int, change: Callable[[str], str]) -> Callable[[str], str]:
    """A change of one cell of a row, counted from 0; none before it has a comma in it."""

    def of(row: str) -> str:
        cells = row.split(",")
        cells[number] = change(cells[number])
        return ",".join(cells)

    return of


def _replace(old: str, new: str) -> Callable[[str], str]:
    return lambda row: row.replace(old, new)


def _later(cell: str) -> str:
    return str(int(cell) + 11 * 86_400_000)


def _earlier(cell: str) -> str:
    return str(int(cell) - 40 * 60_000)


def _other_office(row: str) -> str:
    one, other = OFFICES
    return row.replace(one, "\0").replace(other, one).replace("\0", other)


# --- settings and claims


def _settings(change: Callable[[Any], None]) -> Forge:
    def forge(at: Forger, _: random.Random) -> None:
        data = at.json("settings.json")
        change(data)
        at.set_json("settings.json", data)

    return forge


def _put(path: str, value: Any) -> Forge:
    """A setting, by its place, becomes another."""

    def change(data: Any) -> None:
        *way, last = path.split(".")
        for key in way:
            data = data[int(key) if key.isdigit() else key]
        data[last] = value

    return _settings(change)


def _swap_names(data: Any) -> None:
    one, other = data["offices"][:2]
    for key in ("name", "name_hi"):
        one[key], other[key] = other[key], one[key]


def _claim(at: Forger, dice: random.Random) -> None:
    claims = at.json("claims.json")
    at.set_json("claims.json", changed(claims, dice.choice(list(figures(claims))), dice))


def _last_digit(at: Forger, dice: random.Random) -> None:
    claims = at.json("claims.json")
    leaves = [leaf for leaf in figures(claims) if leaf[-1] in ("value", "low", "high")]
    node = claims
    *way, last = dice.choice([leaf for leaf in leaves if _of(claims, leaf)])
    for key in way:
        node = node[key]
    node[last] *= 1 + 1e-9
    at.set_json("claims.json", claims)


def _of(node: Any, leaf: tuple[str | int, ...]) -> Any:
    for key in leaf:
        node = node[key]
    return node


def _claimed_verdict(at: Forger, dice: random.Random) -> None:
    claims = at.json("claims.json")
    office = claims["offices"][dice.choice(OFFICES)]
    other = "upgrade" if office["verdict"] != "upgrade" else "repair"
    office |= {"verdict": other, "verdicts": [other]}
    at.set_json("claims.json", claims)


def _claims_without_office(at: Forger, dice: random.Random) -> None:
    claims = at.json("claims.json")
    del claims["offices"][dice.choice(OFFICES)]
    at.set_json("claims.json", claims)


def _twice(name: str) -> Forge:
    """A key occurs twice: the first value is ours, the second the true one."""

    def forge(at: Forger, dice: random.Random) -> None:
        key = dice.choice(list(at.json(name)))
        at.files[name] = at.files[name].replace(b"{", f'{{"{key}": 1,'.encode(), 1)

    return forge


# --- chain


def _links(change: Callable[[list[Any], random.Random], list[Any]]) -> Forge:
    def forge(at: Forger, dice: random.Random) -> None:
        at.set_links(change(at.links(), dice))

    return forge


def _lines(change: Callable[[dict[str, Any]], str]) -> Forge:
    """A line of the chain's file is written in another form."""

    def forge(at: Forger, dice: random.Random) -> None:
        lines = at.files["chain/links.jsonl"].decode().splitlines()
        place = dice.randrange(len(lines))
        lines[place] = change(json.loads(lines[place]))
        at.files["chain/links.jsonl"] = ("\n".join(lines) + "\n").encode()

    return forge


def _without_one(links: list[Any], dice: random.Random) -> list[Any]:
    place = dice.randrange(1, len(links) - 1)
    return links[:place] + links[place + 1 :]


def _swapped(links: list[Any], dice: random.Random) -> list[Any]:
    place = dice.randrange(1, len(links))
    links[place - 1], links[place] = links[place], links[place - 1]
    return links


def _count_less(row: dict[str, Any]) -> str:
    chunk = json.loads(row["chunk"])
    part = chunk["parts"][min(chunk["parts"])]
    part["records"] -= 1
    row["chunk"] = json.dumps(chunk, sort_keys=True, separators=(",", ":"))
    return json.dumps(row)


def _later_hour(row: dict[str, Any]) -> str:
    day = int(row["begin"][8:10]) % 28 + 1
    return json.dumps(row | {"begin": f"{row['begin'][:8]}{day:02}{row['begin'][10:]}"})


def _root_twice(row: dict[str, Any]) -> str:
    return json.dumps(row).replace("{", '{"root": "' + "0" * 64 + '", ', 1)


def _mailed(at: Forger, dice: random.Random) -> None:
    mails = at.json("chain/mailed-roots.json")
    dice.choice(mails)["root"] = f"{dice.getrandbits(256):064x}"
    at.set_json("chain/mailed-roots.json", mails)


# --- files


def _without_file(at: Forger, dice: random.Random) -> None:
    """A file of raw data, and its entry in the manifest."""
    manifest = at.json("manifest.json")
    entry = dice.choice(manifest["data"])
    manifest["data"].remove(entry)
    for name in (entry["path"], entry["path"].replace(".csv", ".parquet")):
        del at.files[name]
    at.set_json("manifest.json", manifest)


def _file_twice(at: Forger, dice: random.Random) -> None:
    """The same records under another name."""
    manifest = at.json("manifest.json")
    entry = dice.choice(manifest["data"])
    other = entry | {"path": entry["path"].replace("-01", "-02")}
    manifest["data"].append(other)
    for suffix in (".csv", ".parquet"):
        stems = (one["path"].removesuffix(".csv") + suffix for one in (entry, other))
        old, new = stems
        at.files[new] = at.files[old]
    at.set_json("manifest.json", manifest)


def _drop(*names: str) -> Forge:
    def forge(at: Forger, dice: random.Random) -> None:
        del at.files[dice.choice([name for name in names if name in at.files])]

    return forge


def _extra_file(*names: str) -> Forge:
    def forge(at: Forger, dice: random.Random) -> None:
        at.files[dice.choice(names)] = b"office,grade\n"

    return forge


def _paper_for_paper(at: Forger, dice: random.Random) -> None:
    name = dice.choice(("letter", "sheets", "method", "certificate"))
    at.files[f"{name}.hi.pdf"] = at.files[f"{name}.en.pdf"]


def _other_paper(at: Forger, dice: random.Random) -> None:
    """Letter or sheets set from claims with one figure changed."""
    case = at.case()
    claims = case.claims.to_json()
    leaves = list(figures(claims))
    while True:
        language = dice.choice(LANGUAGES)
        name, content = dice.choice((("letter", letter), ("sheets", sheets)))
        other = Claims.from_json(changed(claims, dice.choice(leaves), dice))
        data = content(replace(case, claims=other), words(language))
        if data != content(case, words(language)):  # else the paper does not show that figure
            at.files[f"{name}.{language}.pdf"] = render_pdf(f"{name}.typ", data, case.made_at)
            return


def _shorter(*names: str) -> Forge:
    """A list that follows from the data loses a line."""

    def forge(at: Forger, dice: random.Random) -> None:
        name = dice.choice(names)
        lines = at.files[name].splitlines(keepends=True)
        del lines[dice.randrange(1, len(lines))]
        at.files[name] = b"".join(lines)

    return forge


def _other_parquet(at: Forger, dice: random.Random) -> None:
    kept = at.files[CALLS]
    _grade(at, dice)
    at.files[CALLS] = kept


def _one_byte(at: Forger, dice: random.Random) -> None:
    names = [name for name in at.files if not name.startswith(("working", "manifest"))]
    name = dice.choice([name for name in names if at.files[name]])
    content = bytearray(at.files[name])
    content[dice.randrange(len(content))] ^= dice.randint(1, 255)
    at.files[name] = bytes(content)


def _nothing(at: Forger, dice: random.Random) -> None:
    """The files are true; the ZIP file is not."""


def _entry_twice(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo("claims.json")
        with archive.open("claims.json") as held:
            content = held.read()
        archive.NameToInfo.pop("claims.json")
        archive.writestr(info, content.replace(b'"tests": ', b'"tests": 1'))


def _before(path: Path) -> None:
    path.write_bytes(b"#!/bin/sh\n" + path.read_bytes())


def _comment(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"see page 2"


def _hidden(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("letter.hi.pdf.exe", b"?")
        archive.filelist.pop()


def _any(_: str) -> bool:
    return True


_OF_THE_MANIFEST = {"a byte changed, no hash redone", "a key twice in the manifest"}
KINDS = (
    Kind("a call removed", _remove_one(CALLS), raw=True),
    Kind("a speed test removed", _remove_one(TESTS), raw=True),
    Kind("a minute removed", _remove_one(MINUTES), raw=True),
    Kind("a reading removed", _remove_one(READINGS), raw=True),
    Kind("a change of state removed", _remove_one(STATES), raw=True),
    Kind("bad calls removed and called pruned",
         _remove_called_pruned(CALLS, lambda row: ",1.0," in row), raw=True),
    Kind("speed tests removed and called pruned", _remove_called_pruned(TESTS, _any), raw=True),
    Kind("minutes removed and called pruned", _remove_called_pruned(MINUTES, _any), raw=True),
    Kind("readings removed and called pruned", _remove_called_pruned(READINGS, _any), raw=True),
    Kind("outages removed and called pruned", _remove_called_pruned(STATES, _any), raw=True),
    Kind("drills removed and called pruned", _remove_called_pruned(DRILLS, _any), raw=True),
    Kind("the sealed settings removed", _remove(EVENTS, _any), raw=True),
    Kind("all records of an office removed", _remove_office, raw=True),
    Kind("a file of raw data removed with its entry", _without_file),
    Kind("a Parquet file removed", _drop(*(name.replace("csv", "parquet") for name in
                                           (CALLS, TESTS, MINUTES, STATES)))),
    Kind("a paper removed", _drop("letter.hi.pdf", "sheets.en.pdf", "outages.csv")),
    Kind("a working copy removed", _drop("working-copy/letter.hi.docx")),
    Kind("a link removed", _links(_without_one)),
    Kind("the first link removed", _links(lambda links, _: links[1:])),
    Kind("the last link removed", _links(lambda links, _: links[:-1])),
    Kind("an outage struck from the list", _shorter("outages.csv")),
    Kind("a day struck from the roots", _shorter("chain/daily-roots.csv")),
    Kind("an office struck from the claims", _claims_without_office),
    Kind("an office struck from the settings", _settings(lambda data: data["offices"].pop()),
         restated=True),
    Kind("a call added", _double(CALLS, _cell(0, lambda cell: cell + "x")), raw=True),
    Kind("a speed test added", _double(TESTS, _cell(0, lambda cell: cell + "x")), raw=True),
    Kind("a minute added", _double(MINUTES, _cell(0, lambda cell: cell + "x")), raw=True),
    Kind("a change of state added",
         _double(STATES, _replace("unreachable", "power_down")), raw=True),
    Kind("a file of raw data listed twice", _file_twice),
    Kind("a stray file", _extra_file("data/more.csv", "note.txt", "working-copy/other.docx",
                                "drills/drill-x.en.pdf", "data/latency-01.txt")),
    Kind("an office added to the settings", _settings(lambda data: data["offices"].append(
        data["offices"][0] | {"id": "new", "router": "10.99.0.1", "pc": None}))),
    Kind("an office's speeds changed", _scale(TESTS, "download_bits_per_second"), raw=True),
    Kind("an office's latency changed", _scale(MINUTES, "rtt_p50_seconds"), raw=True),
    Kind("an office's replies changed", _scale(MINUTES, "received"), raw=True),
    Kind("an office's traffic changed", _scale(READINGS, "download_bits_per_second"), raw=True),
    Kind("grades changed", _grade, raw=True),
    Kind("outcomes changed", _change(TESTS, _replace(",ok,", ",no_data,")), raw=True),
    Kind("conditions changed", _change(MINUTES, _replace("{}", '"{""under_load"":1}"')),
         raw=True),
    Kind("states changed", _change(STATES, _replace("unreachable", "power_down")),
         raw=True),
    Kind("a drill changed", _change(DRILLS, lambda row: row.replace('""grade"":3', '""grade"":4')
                                    .replace('""grade"":2', '""grade"":4')), raw=True),
    Kind("the sealed settings changed", _sealed_settings, raw=True),
    Kind("a figure claimed otherwise", _claim),
    Kind("the last digit of a figure claimed otherwise", _last_digit),
    Kind("a verdict claimed otherwise", _claimed_verdict),
    Kind("a key twice in the claims", _twice("claims.json")),
    Kind("a key twice in the settings", _twice("settings.json")),
    Kind("a key twice in the manifest", _twice("manifest.json")),
    Kind("a contract changed", _put("offices.0.link.contracted", "10Mbit/s"), restated=True),
    Kind("a promised availability changed", _put("offices.1.link.sla", "99.9%"), restated=True),
    Kind("seats changed", _put("offices.0.seats", 60), restated=True),
    Kind("a threshold changed", _put("thresholds.delivered", "98%"), restated=True),
    Kind("the grade to be reached changed", _put("thresholds.grade", 4), restated=True),
    Kind("the capacity policy changed", _put("capacity.conferences", 3), restated=True),
    Kind("the tariff changed", _put("capacity.tariff", ["2Mbit/s", "20Mbit/s"]), restated=True),
    Kind("the days required changed", _put("capacity.days", 5), restated=True),
    Kind("the time zone changed", _put("district.timezone", "Asia/Kathmandu"), restated=True),
    Kind("the interval of latency changed", _put("probes.latency.every", "5min"), restated=True),
    Kind("names of offices swapped", _settings(_swap_names), restated=True),
    Kind("a paper in place of another", _paper_for_paper),
    Kind("a paper set from other figures", _other_paper),
    Kind("a Parquet file with other figures", _other_parquet),
    Kind("a byte changed, no hash redone", _one_byte),
    Kind("the count in a chunk changed", _lines(_count_less)),
    Kind("a root twice in a link", _lines(_root_twice)),
    Kind("a mailed root replaced", _mailed),
    Kind("two calls swapped", _swap(CALLS), raw=True),
    Kind("two minutes swapped", _swap(MINUTES), raw=True),
    Kind("two links swapped", _links(_swapped)),
    Kind("the order of the offices changed",
         _settings(lambda data: data["offices"].reverse()), restated=True),
    Kind("speed tests re-dated", _change(TESTS, _cell(4, _later), 0.05), raw=True),
    Kind("calls re-dated", _change(CALLS, _cell(4, _later)), raw=True),
    Kind("recordings re-dated", _change(CALLS, _cell(5, _earlier), 0.05), raw=True),
    Kind("changes of state re-dated", _change(STATES, _cell(2, _earlier)), raw=True),
    Kind("a link re-dated", _lines(_later_hour)),
    Kind("speed tests given to the other office", _change(TESTS, _other_office), raw=True),
    Kind("calls given to the other office", _change(CALLS, _other_office), raw=True),
    Kind("outages given to the other office", _change(STATES, _other_office), raw=True),
    Kind("an entry twice in the ZIP file", _nothing, zipped=_entry_twice),
    Kind("bytes before the ZIP file", _nothing, zipped=_before),
    Kind("a comment in the ZIP file", _nothing, zipped=_comment),
    Kind("a file hidden in the ZIP file", _nothing, zipped=_hidden),
)  # fmt: skip
