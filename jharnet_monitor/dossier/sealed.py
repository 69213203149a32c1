"""The hash chain in a dossier, recomputed from the raw data link by link.

The chain is complete from its first link, so that it contains every root that was ever mailed. Only
the measurements that the period needs are enclosed; for all other parts of a link, its chunk holds
the hashes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any

import pyarrow as pa

from jharnet_monitor.config.schema import LEAST_RETENTION
from jharnet_monitor.dossier.archive import ArchiveError, plausible, strict_json
from jharnet_monitor.dossier.form import EVENT_KINDS, LEFT_OUT, lines
from jharnet_monitor.model import MADE_UP, format_utc, parse_utc
from jharnet_monitor.probes import PRUNABLE
from jharnet_monitor.store.chain import (
    GENESIS,
    SETTLE_MS,
    ChainLink,
    SealedPart,
    chunk_problem,
    link,
)
from jharnet_monitor.store.pruning import PruningLog, PruningRule

LATE_DELIVERY = timedelta(days=7)
"""Measurements that agents deliver later than this after the period are not used for it."""
HOUR = timedelta(hours=1)
SETTLED = timedelta(milliseconds=SETTLE_MS)
RULE = PruningRule(PRUNABLE, timedelta(seconds=LEAST_RETENTION))
"""What retention may have pruned outside of the period."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """One link of the chain in a dossier; `pruned` are kinds no longer in the database, `made_up`
    says that nothing in it was measured.
    """

    begin: datetime
    chunk: str
    root: str
    pruned: tuple[str, ...] = ()
    made_up: bool = False

    @property
    def parts(self) -> dict[str, SealedPart]:
        """The sealed parts by kind."""
        return {kind: SealedPart(**part) for kind, part in json.loads(self.chunk)["parts"].items()}

    def part_of(self, kind: str) -> SealedPart:
        """The part of a kind; empty if the hour had no such records."""
        return self.parts.get(kind, SealedPart(0, ""))


def to_jsonl(links: Sequence[ChainLink], *, made_up: bool = False) -> bytes:
    """The chain as a file: one line of JSON per link."""
    return to_jsonl_lines(
        [
            Sealed(one.begin, one.chunk, one.root, tuple(sorted(one.pruned)), made_up)
            for one in links
        ]
    )


def to_jsonl_lines(links: Sequence[Sealed]) -> bytes:
    """The links as they are written in the file."""
    rows = (
        {"begin": format_utc(one.begin), "chunk": one.chunk, "root": one.root,
         "pruned": sorted(set(one.pruned)), **({MADE_UP: True} if one.made_up else {})}
        for one in links
    )  # fmt: skip
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def from_jsonl(content: bytes) -> list[Sealed]:
    """Parse the chain from a file; raises `ArchiveError`."""
    found = []
    for number, line in enumerate(content.split(b"\n")[:-1], 1):
        where = f"chain/links.jsonl: line {number}"
        try:
            one = _from_json(strict_json(line))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ArchiveError(f"{where} is not a link: {error!r}") from error
        malformed = chunk_problem(one.chunk, one.begin)
        if malformed:
            raise ArchiveError(f"{where}: the hour from {one.begin:%Y-%m-%d %H:%M} UTC {malformed}")
        found.append(one)
    if to_jsonl_lines(found) != content:
        raise ArchiveError("chain/links.jsonl: is not written as this program writes it")
    return found


def _from_json(row: Mapping[str, Any]) -> Sealed:
    begin, chunk, root, pruned = (row[name] for name in ("begin", "chunk", "root", "pruned"))
    if not (re.fullmatch("[0-9a-f]{64}", root) and all(isinstance(kind, str) for kind in pruned)):
        raise ValueError("it has no root, or kinds of records that are no texts")
    moment, made_up = plausible(parse_utc(begin)), row.get(MADE_UP) is True
    return Sealed(moment, str(chunk), root, tuple(pruned), made_up)


def chain_breaks(links: Sequence[Sealed]) -> Iterator[str]:
    """A message for every link that does not follow from the one before it."""
    root = GENESIS
    for number, one in enumerate(links):
        if link(root, one.chunk) != one.root:
            yield (
                f"chain/links.jsonl: the chain breaks at link {number}"
                f" (hour from {one.begin:%Y-%m-%d %H:%M} UTC)"
            )
        root = one.root


def pruned_inside(links: Sequence[Sealed | ChainLink], span: range) -> Iterator[str]:
    """A message for every part that the period needs and that is called pruned."""
    for number, one in enumerate(links):
        gone = set(one.pruned) - LEFT_OUT
        needed = [kind for kind in gone if number in span or kind in EVENT_KINDS]
        if needed:
            yield (
                f"{', '.join(sorted(needed))} of the hour from {one.begin:%Y-%m-%d %H:%M} UTC"
                " was pruned, and the period needs it"
            )


def pruned_outside(
    links: Sequence[Sealed], span: range, log: PruningLog, made_at: datetime
) -> Iterator[str]:
    """A message for every part outside of the period's hours that retention did not prune."""
    for number, one in enumerate(links):
        for kind in one.pruned:
            records = one.part_of(kind).records
            if (number in span and kind not in LEFT_OUT) or kind in EVENT_KINDS:
                continue
            wrong = log.problem(RULE, one.root, one.begin, kind, records, made_at)
            if wrong or not records:
                reason = wrong or f"`{kind}` is called pruned, though none was sealed"
                yield f"the hour from {one.begin:%Y-%m-%d %H:%M} UTC: {reason}"


def needed_links(begins: Sequence[datetime], start: datetime, end: datetime) -> range:
    """The links whose measurements the period needs: recorded in it, or delivered soon after.

    If a clock was set back, hours may be out of order; all links in between are then included.
    """
    wanted = [
        number
        for number, begin in enumerate(begins)
        if begin + HOUR > start and begin < end + LATE_DELIVERY
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
        part = links[number].part_of(kind)
        if not part.records:
            continue
        if row + part.records > len(text):
            yield f"{path}: contains fewer records than were sealed"
            return
        records = data[offsets[row] : offsets[row + part.records]]
        if hashlib.sha256(records).hexdigest() != part.sha256:
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
        missing = [n for n in span if n not in covered and links[n].part_of(kind).records]
        if missing:
            begin = links[missing[0]].begin
            yield f"data: {kind} of the hour from {begin:%Y-%m-%d %H:%M} UTC is not enclosed"
