"""How long a dossier takes, and whether a forger who recomputes all hashes is caught.

Run: python -m tests.bench.dossier [--quick] [--json FILE] [--seed N]

Each mutation changes a figure that is claimed: in the claims, in a paper alone, or in the raw data
with chain, hash report and manifest recomputed. Changes of single bytes leave the hashes as they
were. Finally the owner of the database changes it and rebuilds the whole chain.
"""

from __future__ import annotations

import copy
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from jharnet_monitor.dossier.case import Case
from jharnet_monitor.dossier.claims import Claims
from jharnet_monitor.dossier.evidence import DossierEvidence
from jharnet_monitor.dossier.letter import letter
from jharnet_monitor.dossier.sealed import from_jsonl, sealed_until
from jharnet_monitor.dossier.settings import read_settings
from jharnet_monitor.dossier.sheets import sheets
from jharnet_monitor.dossier.verify import verify
from jharnet_monitor.i18n.words import words
from jharnet_monitor.model import Measurement
from jharnet_monitor.report.output.pdf import render_pdf
from tests import made_up
from tests.bench.marks import Row, arguments, at_most, finish, note, within
from tests.dossier_support import MADE_AT, Filed, Forger, filed
from tests.made_up_week import WEEK

_COLUMNS = {
    "data/bandwidth-01.csv": ("download_bits_per_second", "upload_bits_per_second"),
    "data/conference-01.csv": ("grade",),
    "data/latency-01.csv": ("received", "rtt_p50_seconds"),
    "data/utilisation-01.csv": ("download_bits_per_second", "upload_bits_per_second"),
}
DAYS = 22
Leaf = tuple[str | int, ...]


def figures(node: Any, where: Leaf = ()) -> Iterator[Leaf]:
    """The path of every figure in the claims."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        if isinstance(value, dict | list):
            yield from figures(value, (*where, key))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield (*where, key)


def changed(claims: Any, leaf: Leaf, dice: random.Random) -> Any:
    """The claims with one figure changed by 3 to 50 per cent, a count by at least one."""
    forged = copy.deepcopy(claims)
    node = forged
    for key in leaf[:-1]:
        node = node[key]
    value = node[leaf[-1]]
    factor = 1 + dice.choice((-1, 1)) * dice.uniform(0.03, 0.5)
    if leaf[-1] == "grade":
        node[leaf[-1]] = (value + dice.randint(1, 4)) % 5
    elif isinstance(value, int):
        node[leaf[-1]] = value + dice.randint(1, 9)
    else:
        node[leaf[-1]] = value * factor if value else 0.125
    return forged


def caught(forger: Forger, path: Path, root: str | None = None) -> bool:
    """Whether the verifier finds a problem."""
    return bool(verify(forger.write(path), root, lambda _: None).problems)


def in_claims(true: Forger, count: int, dice: random.Random, path: Path) -> int:
    """Change a figure in `claims.json` and recompute all hashes: how many are caught."""
    claims = true.json("claims.json")
    leaves = list(figures(claims))
    found = 0
    for _ in range(count):
        forger = true.copy()
        forger.set_json("claims.json", changed(claims, dice.choice(leaves), dice))
        forger.rehash()
        found += caught(forger, path)
    return found


def in_papers(true: Forger, case: Case, count: int, dice: random.Random, path: Path) -> int:
    """Letter or sheets set from other figures than the claims: how many are caught."""
    claims = case.claims.to_json()
    leaves = list(figures(claims))
    found = made = 0
    while made < count:
        language = dice.choice(("hi", "en"))
        name, content = dice.choice((("letter", letter), ("sheets", sheets)))
        other = Claims.from_json(changed(claims, dice.choice(leaves), dice))
        forged = Case(case.config, case.period, case.until, case.made_at, other, case.evidence,
                      case.chain, case.mails, case.sums)  # fmt: skip
        data = content(forged, words(language))
        if data == content(case, words(language)):
            continue  # this paper does not show that figure
        made += 1
        forger = true.copy()
        forger.files[f"{name}.{language}.pdf"] = render_pdf(f"{name}.typ", data, case.made_at)
        forger.rehash()
        found += caught(forger, path)
    return found


def in_raw(true: Forger, count: int, dice: random.Random, path: Path) -> int:
    """Change an office's measurements and recompute chain and hashes: how many are caught."""
    offices = list(true.json("claims.json")["offices"])
    found = 0
    for _ in range(count):
        forger = true.copy()
        name = dice.choice(list(_COLUMNS))
        column, office = dice.choice(_COLUMNS[name]), dice.choice(offices)
        factor, grade = dice.uniform(0.3, 0.97), dice.choice((0.0, 2.0))

        def other(
            of: str,
            cell: str,
            column: str = column,
            office: str = office,
            factor: float = factor,
            grade: float = grade,
        ) -> str:
            if of != office:
                return cell
            return repr(grade if column == "grade" else float(cell) * factor)

        forger.change_cells(name, column, other)
        forger.rechain(name)
        forger.rehash()
        found += caught(forger, path)
    return found


def in_bytes(true: Forger, count: int, dice: random.Random, path: Path) -> tuple[int, Counter[str]]:
    """Change one byte of one file, and no hash: how many are caught, and in which files."""
    names = [name for name in true.files if not name.startswith("working-copy/")]
    found, where = 0, Counter[str]()
    for _ in range(count):
        forger = true.copy()
        name = dice.choice([n for n in names if n != "manifest.json"])
        content = bytearray(forger.files[name])
        content[dice.randrange(len(content))] ^= dice.randint(1, 255)
        forger.files[name] = bytes(content)
        where[name.split("/", maxsplit=1)[0]] += 1
        found += caught(forger, path)
    return found, where


def rebuilt(place: Filed, true: Forger, path: Path) -> tuple[bool, bool]:
    """Change the database and rebuild everything: whether it is caught without and with a root."""
    mailed = true.json("chain/mailed-roots.json")[-1]["root"]
    engine = place.store._engine
    with engine.begin() as connection:
        connection.exec_driver_sql("delete from chunks")
        connection.exec_driver_sql("delete from mails")
        connection.exec_driver_sql(
            "update measurements set outcome = 'failed' where probe = 'conference'"
        )
    place.build(path)
    quiet = bool(verify(path, None, lambda _: None).problems)
    return quiet, bool(verify(path, mailed, lambda _: None).problems)


def _traffic(dice: random.Random) -> Iterator[Measurement]:
    """Counters of the routers of both offices, every ten minutes."""
    for office in made_up.config(2).offices:
        for step in range(DAYS * 144):
            at = WEEK.end - timedelta(days=DAYS) + timedelta(minutes=10 * step)
            yield made_up.utilisation(office.id, at, 1e6 * dice.random(), 4e5 * dice.random())


def case_of(place: Filed, forger: Forger) -> Case:
    """The case from which the papers of a dossier were set."""
    config = read_settings(forger.json("settings.json"))
    return Case(config, place.period, sealed_until(MADE_AT, place.period.end), MADE_AT,
                Claims.from_json(forger.json("claims.json")), DossierEvidence(config, place.period),
                from_jsonl(forger.files["chain/links.jsonl"]),
                forger.json("chain/mailed-roots.json"),
                forger.files["SHA256SUMS"].decode())  # fmt: skip


def mutations(directory: Path, count: int, dice: random.Random) -> Iterator[Row]:
    """The rows on forgery, with `count` mutations of each kind."""
    place = filed(directory, 2, DAYS, more=_traffic(random.Random(2)))
    path = directory / "forged.zip"
    place.build(directory / "true.zip")
    true = Forger.of(directory / "true.zip")
    if verify(directory / "true.zip", None, lambda _: None).problems:
        raise SystemExit("the true dossier does not verify")
    part = count // 3
    for name, found, made in (
        ("claims", in_claims(true, count - 2 * part, dice, path), count - 2 * part),
        ("papers alone", in_papers(true, case_of(place, true), part, dice, path), part),
        ("raw data", in_raw(true, part, dice, path), part),
    ):
        yield within(f"figures changed in {name}, all hashed anew: caught", found, made, made, "")
    found, _ = in_bytes(true, count, dice, path)
    yield within("bytes changed: caught by the hashes", found, count, count, "")
    quiet, told = rebuilt(place, true, path)
    yield note("chain rebuilt as a whole: caught without --root", float(quiet), "")
    yield within("chain rebuilt as a whole: caught by --root", float(told), 1, 1, "")
    place.store.close()


def times(directory: Path, days: int) -> Iterator[Row]:
    """The rows on time, for eleven offices."""
    place = filed(directory, 11, days)
    out = directory / "whole.zip"
    started = time.perf_counter()
    place.build(out)
    elapsed = time.perf_counter() - started
    yield at_most(f"dossier of 11 offices x {days} days", elapsed, 30, "s")
    yield note("its size", out.stat().st_size / 1e6, "MB")
    started = time.perf_counter()
    found = verify(out, None, lambda _: None)
    yield note("verifying it", time.perf_counter() - started, "s")
    yield within("it verifies", float(not found.problems), 1, 1, "")
    yield note("records", found.records, "")
    yield note("figures derived anew", found.figures, "")
    place.store.close()


def main() -> int:
    """Run everything; 0 only if every mark is met."""
    options = arguments(__doc__)
    dice = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="jhn-dossier-") as name:
        directory = Path(name)
        rows = list(mutations(directory, 30 if options.quick else 252, dice))
        rows += times(directory, 14 if options.quick else 90)
    return finish("dossier", rows, options)


if __name__ == "__main__":
    sys.exit(main())
