"""How long a dossier takes, and whether a forger who makes all hashes fit is caught.

Run: python -m tests.bench.dossier [--quick] [--json FILE] [--seed N]

The forger owns the database and the file. Records are removed, added, changed, re-ordered, re-dated
and given to others, in the database (`tests.forgery_database`) and in a dossier
(`tests.forgery_dossier`), each as far as it goes: with the chain as it was, with the chain rebuilt,
and with claims and papers made anew. A third party holds the true root.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from jharnet_monitor.dossier.verify import verify
from tests import forgery_database, forgery_dossier
from tests.bench.marks import Row, arguments, at_most, finish, note, within
from tests.dossier_support import Forger, filed
from tests.forgery_database import copied, sealed_database
from tests.forgery_dossier import Level, levels, traffic

DAYS = 15
ROUNDS_DATABASE, ROUNDS_DOSSIER = 7, 3
QUICK_WHOLE = 5
"""Kinds of forgery of a dossier for which claims and papers are made anew in a quick run."""


QUICK_TIMES = (3, 7)
"""Offices and days of the dossier that a quick run takes the time of."""


@dataclass(slots=True)
class Tally:
    """Forgeries by how far they went, and how many were caught with and without a root."""

    made: Counter[str] = field(default_factory=Counter)
    rooted: Counter[str] = field(default_factory=Counter)
    alone: Counter[str] = field(default_factory=Counter)
    quiet: dict[str, set[str]] = field(default_factory=dict)
    """The kinds that are not caught without a root, by how far they went or by the reason."""

    def add(self, level: str, kind: str, why: str, *, rooted: bool, alone: bool) -> None:
        """Count one forgery; `why` it may not be caught without a root."""
        self.made[level] += 1
        self.rooted[level] += rooted
        self.alone[level] += alone
        if not rooted:
            self.quiet.setdefault("not even by the root", set()).add(kind)
        elif not alone:
            self.quiet.setdefault(why or "it should be", set()).add(kind)


def forge_database(directory: Path, rounds: int, dice: random.Random, tally: Tally) -> None:
    """Forge a database in every way."""
    true, file = directory / "true.db", directory / "forged.db"
    root = sealed_database(true)
    if copied(true, file, dice).problems(root):
        raise SystemExit("the true database does not verify")
    for _ in range(rounds):
        for kind in forgery_database.KINDS:
            at = copied(true, file, dice)
            kind.forge(at)
            level = "database, chain kept"
            alone = bool(at.problems(None))
            rooted = alone or bool(at.problems(root))
            tally.add(level, kind.name, kind.alone, rooted=rooted, alone=alone)
            if kind.rebuilds:
                at.rebuild()
                level = "database, chain rebuilt"
                alone = bool(at.problems(None))
                rooted = alone or bool(at.problems(root))
                tally.add(level, kind.name, _WHOLE, rooted=rooted, alone=alone)


def forge_dossier(
    directory: Path, rounds: int, dice: random.Random, tally: Tally, *, quick: bool
) -> None:
    """Forge a dossier in every way; `quick` makes few papers again."""
    place = filed(directory, 2, DAYS, more=traffic(DAYS))
    place.build(directory / "true.zip")
    place.store.close()
    true = Forger.of(directory / "true.zip")
    root = true.links()[-1].root
    if verify(directory / "true.zip", root, lambda _: None).problems:
        raise SystemExit("the true dossier does not verify")
    raw = [kind.name for kind in forgery_dossier.KINDS if Level.WHOLE in levels(kind)]
    chosen = set(dice.sample(raw, QUICK_WHOLE)) if quick else None
    for _ in range(rounds):
        for kind in forgery_dossier.KINDS:
            for level in levels(kind):
                if level is not Level.KEPT and chosen is not None and kind.name not in chosen:
                    continue
                rooted, alone = forgery_dossier.caught(
                    kind, level, true, dice, directory / "forged.zip", root
                )
                why = _WHOLE if level is Level.WHOLE else ""
                tally.add(f"dossier, {level}", kind.name, why, rooted=rooted, alone=alone)


_WHOLE = "rebuilt as a whole: everything follows from the forged records, only the root differs"


def forgeries(directory: Path, dice: random.Random, *, quick: bool) -> tuple[list[Row], Tally]:
    """The rows on forgery."""
    tally = Tally()
    forge_database(directory, 1 if quick else ROUNDS_DATABASE, dice, tally)
    forge_dossier(directory, 1 if quick else ROUNDS_DOSSIER, dice, tally, quick=quick)
    kinds = len(forgery_database.KINDS) + len(forgery_dossier.KINDS)
    made = tally.made.total()
    rows = [
        within("kinds of forgery", kinds, 25, 1e9, ""),
        within("forgeries", made, 150 if quick else 1000, 1e9, ""),
        within("caught with --root", tally.rooted.total(), made, made, ""),
    ]
    for level, count in tally.made.items():
        rows.append(within(f"{level}: with --root", tally.rooted[level], count, count, ""))
        if level in ("database, chain rebuilt", f"dossier, {Level.WHOLE}"):
            rows.append(note(f"{level}: without", tally.alone[level], ""))
        else:
            cut = tally.quiet.get(forgery_database.CUT, set())
            missed = ROUNDS_DATABASE if not quick else 1
            low = count - (missed * len(cut) if level.startswith("database") else 0)
            rows.append(within(f"{level}: without", tally.alone[level], low, count, ""))
    return rows, tally


def times(directory: Path, offices: int, days: int) -> Iterator[Row]:
    """The rows on time."""
    place = filed(directory, offices, days)
    out = directory / "whole.zip"
    started = time.perf_counter()
    place.build(out)
    elapsed = time.perf_counter() - started
    yield at_most(f"dossier of {offices} offices x {days} days", elapsed, 30, "s")
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
        rows, tally = forgeries(directory, dice, quick=options.quick)
        rows += times(directory, *(QUICK_TIMES if options.quick else (11, 90)))
    used = time.process_time()
    rows.append(at_most("CPU of this run", used, 60, "s") if options.quick
                else note("CPU of this run", used, "s"))  # fmt: skip
    done = finish("dossier", rows, options)
    console = Console(width=120, highlight=False)
    for why, kinds in tally.quiet.items():
        console.print(f"\nNot caught without --root, {len(kinds)} kinds: {why}")
        console.print("  " + "; ".join(sorted(kinds)), markup=False)
    console.print(
        "\nNever caught, as nothing of it is sealed: texts of the letter, the list of mails, and"
        " what was false when it was recorded or changed before the root was mailed."
    )
    return done


if __name__ == "__main__":
    sys.exit(main())
