"""The hash chain inside a dossier: recomputed from the raw data, link by link.

The chain is there from its first link on, so every root that was ever mailed can be found in it.
Of the measurements only those are enclosed that the period needs; of all other parts of a link
their hashes stand in its chunk.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any

import pyarrow as pa

from jharnet_monitor.dossier.archive import ArchiveError
from jharnet_monitor.dossier.form import lines
from jharnet_monitor.model import format_utc, parse_utc
from jharnet_monitor.store.chain import GENESIS, SETTLE_MS, ChainLink, SealedPart, link

HINDSIGHT = timedelta(days=7)
"""What agents hand in later than this after the period is no evidence in it any more."""
HOUR = timedelta(hours=1)
SETTLED = timedelta(milliseconds=SETTLE_MS)


@dataclass(frozen=True, slots=True)
class Sealed:
    """One link as the dossier has it; `pruned` are kinds that the database no longer held."""

    begin: datetime
    chunk: str
    root: str
    pruned: tuple[str, ...] = ()

    @property
    def parts(self) -> dict[str, SealedPart]:
        """The parts by kind."""
        return {kind: SealedPart(**part) for kind, part in json.loads(self.chunk)["parts"].items()}

    def held(self, kind: str) -> SealedPart:
        """The part of a kind that must be enclosed."""
        return SealedPart(0, "") if kind in self.pruned else self.parts.get(kind, SealedPart(0, ""))


def written(links: Sequence[ChainLink]) -> bytes:
    """The chain as a file: a line of JSON a link."""
    rows = (
        {"begin": format_utc(one.begin), "chunk": one.chunk, "root": one.root,
         "pruned": sorted(one.pruned)}
        for one in links
    )  # fmt: skip
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def parsed(content: bytes) -> list[Sealed]:
    """The chain of a file; raises `ArchiveError`."""
    found = []
    for number, line in enumerate(content.splitlines(), 1):
        try:
            row = json.loads(line)
            one = Sealed(
                parse_utc(row["begin"]), str(row["chunk"]), str(row["root"]), tuple(row["pruned"])
            )
            bytes.fromhex(one.root)
            one.held("")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ArchiveError(f"chain/links.jsonl: line {number} is no link: {error!r}") from error
        found.append(one)
    return found


def breaks(links: Sequence[Sealed]) -> Iterator[str]:
    """Every link that does not follow from the one before it."""
    root = GENESIS
    for number, one in enumerate(links):
        if json.loads(one.chunk).get("begin") != format_utc(one.begin):
            yield f"chain/links.jsonl: link {number} names another hour than was sealed"
        if link(root, one.chunk) != one.root:
            yield (
                f"chain/links.jsonl: the chain breaks at link {number}"
                f" (hour from {one.begin:%Y-%m-%d %H:%M} UTC)"
            )
        root = one.root


def needed(begins: Sequence[datetime], start: datetime, end: datetime) -> range:
    """The links whose measurements the period needs: recorded in it, or handed in soon after.

    A clock that was set back lets hours follow each other out of order: then all between count.
    """
    wanted = [
        number
        for number, begin in enumerate(begins)
        if begin + HOUR > start and begin < end + HINDSIGHT
    ]
    return range(wanted[0], wanted[-1] + 1) if wanted else range(0)


def sealed_until(made_at: datetime, end: datetime) -> datetime:
    """Up to when a period was sealed when a dossier was made: every hour that was over then.

    An hour without a record has no link, and nothing is known of it.
    """
    hours = (made_at - SETTLED).astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return min(end, hours)


def daily_roots(links: Sequence[Sealed], days: Sequence[date], zone: tzinfo) -> dict[date, str]:
    """The root at the end of each day, as far as the chain goes by then."""
    roots: dict[date, str] = {}
    for day in days:
        midnight = datetime.combine(day + timedelta(days=1), time(), zone)
        over = [one.root for one in links if one.begin + HOUR <= midnight]
        if over and (not roots or over[-1] != list(roots.values())[-1]):
            roots[day] = over[-1]
    return roots


def unlike(
    table: pa.Table, path: str, kind: str, links: Sequence[Sealed], span: Sequence[int]
) -> Iterator[str]:
    """How a file's records differ from what was sealed in the links `span[0]`..`span[1]`."""
    text = lines(table, kind)
    buffers = text.buffers()
    offsets = memoryview(buffers[1]).cast("q")[text.offset : text.offset + len(text) + 1]
    data = memoryview(buffers[2] or b"")
    row = 0
    for number in range(span[0], span[1] + 1):
        part = links[number].held(kind)
        if not part.records:
            continue
        if row + part.records > len(text):
            yield f"{path}: holds fewer records than were sealed"
            return
        held = data[offsets[row] : offsets[row + part.records]]
        if hashlib.sha256(held).hexdigest() != part.sha256:
            yield (
                f"{path}: records {row + 1} to {row + part.records} are not those that were sealed"
                f" (hour from {links[number].begin:%Y-%m-%d %H:%M} UTC)"
            )
        row += part.records
    if row != len(text):
        yield f"{path}: holds {len(text) - row} records that were never sealed"


def gaps(
    files: Sequence[Mapping[str, Any]], links: Sequence[Sealed], wanted: Mapping[str, range]
) -> Iterator[str]:
    """Every kind of which records that the period needs are not enclosed."""
    for kind, span in wanted.items():
        covered = {
            number
            for file in files
            if file["kind"] == kind
            for number in range(file["links"][0], file["links"][1] + 1)
        }
        missing = [n for n in span if n not in covered and links[n].held(kind).records]
        if missing:
            begin = links[missing[0]].begin
            yield f"data: {kind} of the hour from {begin:%Y-%m-%d %H:%M} UTC is not enclosed"
