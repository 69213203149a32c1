"""The hash chain in a dossier, recomputed from the raw data link by link.

The chain is complete from its first link, so that it contains every root that was ever mailed. Only
the measurements that the period needs are enclosed; for all other parts of a link, its chunk holds
the hashes.
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
"""Measurements that agents deliver later than this after the period are not used for it."""
HOUR = timedelta(hours=1)
SETTLED = timedelta(milliseconds=SETTLE_MS)


@dataclass(frozen=True, slots=True)
class Sealed:
    """One link of the chain in a dossier; `pruned` are kinds no longer in the database."""

    begin: datetime
    chunk: str
    root: str
    pruned: tuple[str, ...] = ()

    @property
    def parts(self) -> dict[str, SealedPart]:
        """The sealed parts by kind."""
        return {kind: SealedPart(**part) for kind, part in json.loads(self.chunk)["parts"].items()}

    def held(self, kind: str) -> SealedPart:
        """The part of a kind that must be enclosed; empty if it was pruned."""
        return SealedPart(0, "") if kind in self.pruned else self.parts.get(kind, SealedPart(0, ""))


def to_jsonl(links: Sequence[ChainLink]) -> bytes:
    """The chain as a file: one line of JSON per link."""
    rows = (
        {"begin": format_utc(one.begin), "chunk": one.chunk, "root": one.root,
         "pruned": sorted(one.pruned)}
        for one in links
    )  # fmt: skip
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def from_jsonl(content: bytes) -> list[Sealed]:
    """Parse the chain from a file; raises `ArchiveError`."""
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
            message = f"chain/links.jsonl: line {number} is not a link: {error!r}"
            raise ArchiveError(message) from error
        found.append(one)
    return found


def chain_breaks(links: Sequence[Sealed]) -> Iterator[str]:
    """A message for every link that does not follow from the one before it."""
    root = GENESIS
    for number, one in enumerate(links):
        if json.loads(one.chunk).get("begin") != format_utc(one.begin):
            yield f"chain/links.jsonl: link {number} has a different hour than was sealed"
        if link(root, one.chunk) != one.root:
            yield (
                f"chain/links.jsonl: the chain breaks at link {number}"
                f" (hour from {one.begin:%Y-%m-%d %H:%M} UTC)"
            )
        root = one.root


def needed_links(begins: Sequence[datetime], start: datetime, end: datetime) -> range:
    """The links whose measurements the period needs: recorded in it, or delivered soon after.

    If a clock was set back, hours may be out of order; all links in between are then included.
    """
    wanted = [
        number
        for number, begin in enumerate(begins)
        if begin + HOUR > start and begin < end + HINDSIGHT
    ]
    return range(wanted[0], wanted[-1] + 1) if wanted else range(0)


def sealed_until(made_at: datetime, end: datetime) -> datetime:
    """Until when a period was sealed at `made_at`: every hour that was over by then.

    An hour without records has no link; nothing is known about it.
    """
    hours = (made_at - SETTLED).astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return min(end, hours)


def daily_roots(links: Sequence[Sealed], days: Sequence[date], zone: tzinfo) -> dict[date, str]:
    """The root at the end of each day on which the chain grew."""
    roots: dict[date, str] = {}
    for day in days:
        midnight = datetime.combine(day + timedelta(days=1), time(), zone)
        over = [one.root for one in links if one.begin + HOUR <= midnight]
        if over and (not roots or over[-1] != list(roots.values())[-1]):
            roots[day] = over[-1]
    return roots


def record_differences(
    table: pa.Table, path: str, kind: str, links: Sequence[Sealed], span: Sequence[int]
) -> Iterator[str]:
    """How a file's records differ from those sealed in the links `span[0]` to `span[1]`."""
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
            yield f"{path}: contains fewer records than were sealed"
            return
        held = data[offsets[row] : offsets[row + part.records]]
        if hashlib.sha256(held).hexdigest() != part.sha256:
            yield (
                f"{path}: records {row + 1} to {row + part.records} are not those that were sealed"
                f" (hour from {links[number].begin:%Y-%m-%d %H:%M} UTC)"
            )
        row += part.records
    if row != len(text):
        yield f"{path}: contains {len(text) - row} records that were never sealed"


def missing_records(
    files: Sequence[Mapping[str, Any]], links: Sequence[Sealed], wanted: Mapping[str, range]
) -> Iterator[str]:
    """A message for every kind of record of which some that the period needs are not enclosed."""
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
