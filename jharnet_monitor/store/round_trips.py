"""The round trip of every packet, as it is sealed and as an hour of it is packed.

A record belongs to a measurement and holds one number per packet: the round trip in whole
`ROUND_TRIP_UNIT`s, null without a reply. Its line in the hash chain is one JSON list:
`[office, probe, path, started_at, [4112, null, …]]`.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

from jharnet_monitor.errors import StoreError, Trouble
from jharnet_monitor.store.columns import join, pack_integers, split, unpack_integers

_LEVEL = 9


class RoundTrips(NamedTuple):
    """The packets of one measurement; `number` is that of the measurement's row."""

    number: int
    office: str
    probe: str
    path: str
    started_at: int
    packets: tuple[int | None, ...]

    def line(self) -> bytes:
        """The line in the hash chain."""
        text = json.dumps(self[1:], ensure_ascii=False, separators=(",", ":"))
        return f"{text}\n".encode()


def pack_round_trips(records: Iterable[RoundTrips]) -> bytes:
    """Records of an hour, each series compressed by itself."""
    series: dict[tuple[str, str, str], list[RoundTrips]] = {}
    for one in records:
        series.setdefault(one[1:4], []).append(one)
    names = json.dumps(list(series), ensure_ascii=False, separators=(",", ":")).encode()
    return join([names, *(zlib.compress(_block(some), _LEVEL) for some in series.values())])


def unpack_round_trips(
    body: bytes, office: str | None = None, path: str | None = None
) -> Iterator[RoundTrips]:
    """The records of an hour, or those of an office or path; raises `StoreError` if damaged."""
    try:
        names, *blocks = split(body)
        for series, block in zip(json.loads(names), blocks, strict=True):
            if office in (None, series[0]) and path in (None, series[2]):
                yield from _records(series, zlib.decompress(block))
    except (ValueError, LookupError, TypeError, zlib.error) as error:
        raise StoreError(
            "the packed round trips of an hour are damaged; `jharnet-monitor db verify` names it",
            Trouble.DAMAGED,
        ) from error


def _block(records: Sequence[RoundTrips]) -> bytes:
    """Each record's fastest packet, and of every packet how much slower it was, plus 1; 0 is a
    packet without a reply."""
    fastest = [min((p for p in r.packets if p is not None), default=0) for r in records]
    slower = [
        0 if packet is None else packet - low + 1
        for record, low in zip(records, fastest, strict=True)
        for packet in record.packets
    ]
    return join([
        pack_integers([len(records), len(slower)]),
        pack_integers([one.number for one in records]),
        pack_integers([one.started_at for one in records]),
        pack_integers([len(one.packets) for one in records]),
        pack_integers(fastest),
        pack_integers(slower),
    ])  # fmt: skip


def _records(series: Sequence[str], block: bytes) -> Iterator[RoundTrips]:
    sizes, *columns = split(block)
    count, total = unpack_integers(sizes, 2)
    *heads, slower = columns
    numbers, starts, lengths, fastest = (unpack_integers(head, count) for head in heads)
    rest = unpack_integers(slower, total)
    ends = accumulate(lengths, initial=0)
    office, probe, path = series
    for number, start, low, (begin, end) in zip(
        numbers, starts, fastest, pairwise(ends), strict=True
    ):
        packets = tuple(low + one - 1 if one else None for one in rest[begin:end])
        yield RoundTrips(number, office, probe, path, start, packets)
