"""The raw data of a dossier: exported from the store into files, and read from the files."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jharnet_monitor.dossier import form
from jharnet_monitor.dossier.archive import ArchiveError, Reader
from jharnet_monitor.dossier.parquet_pages import unpacked_bytes
from jharnet_monitor.dossier.sealed import Sealed
from jharnet_monitor.store import Store
from jharnet_monitor.store.chain import ChainLink
from jharnet_monitor.store.export import ExportRow
from jharnet_monitor.store.records import EVENT_TABLES

RECORDS_A_FILE = 200_000
"""A file ends with the link in which it reaches this size, so that a spreadsheet can open it."""
MOST_TIMES, SLACK_BYTES = 2, 1_000_000
"""How much larger than the table of its CSV file a Parquet file may unpack."""
_BATCH_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class File:
    """One CSV file of raw data: the records of a kind in the links `first`..`last`."""

    kind: str
    first: int
    last: int
    number: int
    csv: bytes

    @property
    def stem(self) -> str:
        """Its path without the extension."""
        return f"data/{self.kind}-{self.number:02}"

    @property
    def entry(self) -> dict[str, Any]:
        """Its entry in the manifest."""
        return {"path": f"{self.stem}.csv", "kind": self.kind, "links": [self.first, self.last]}


def export(store: Store, links: Sequence[ChainLink], span: range) -> Iterator[File]:
    """All raw data: the event log from the beginning, measurements of the links in `span`."""
    if not span:
        return
    for table in EVENT_TABLES:
        part_links = [links[n] for n in wanted_links(table.name, span, len(links))]
        if any(table.name in one.parts for one in part_links):
            rows = store.export.event_log(table, part_links)
            yield File(table.name, 0, len(part_links) - 1, 1, _csv(table.name, rows, ()))
    inside = [links[n] for n in span]
    kinds = {kind for one in inside for kind in one.parts}
    probes = sorted(kinds - set(form.EVENT_KINDS) - form.LEFT_OUT)
    for probe in probes:
        for number, (first, last) in enumerate(_portions(links, span, probe), 1):
            part_links = [links[n] for n in range(first, last + 1)]
            quantities = store.export.quantities(probe, part_links)
            rows = store.export.measurements(probe, part_links)
            yield File(probe, first, last, number, _csv(probe, rows, quantities))


def wanted_links(kind: str, span: range, links: int) -> range:
    """The links whose records of a kind must be enclosed: of the `links` of the chain, where `span`
    are those of the period.

    Events are enclosed to the last: changed settings and prunings are told however late they came.
    """
    if kind == "events":
        return range(links)
    return range(span[-1] + 1) if kind in form.EVENT_KINDS else span


def _portions(links: Sequence[ChainLink], span: range, kind: str) -> Iterator[tuple[int, int]]:
    """The first and last link of each file of a kind."""
    first, count = span[0], 0
    for number in span:
        part = links[number].parts.get(kind)
        count += part.records if part else 0
        if count >= RECORDS_A_FILE or number == span[-1]:
            yield first, number
            first, count = number + 1, 0


def _csv(kind: str, rows: Iterator[ExportRow], quantities: Sequence[str]) -> bytes:
    text = io.StringIO()
    text.write(form.csv_head(kind, quantities))
    text.writelines(form.csv_lines(rows, quantities))
    return text.getvalue().encode()


def parquet(table: pa.Table) -> bytes:
    """A typed table as a Parquet file with timestamp columns."""
    out = io.BytesIO()
    pq.write_table(_stamped(table), out, compression="zstd")
    return out.getvalue()


def _stamped(table: pa.Table) -> pa.Table:
    """The table with milliseconds converted to timestamps, which readers show as dates."""
    for number, name in enumerate(table.column_names):
        if name in form.INTEGERS - {"number", "supersedes"}:
            stamp = pa.timestamp("ms", tz="UTC")
            table = table.set_column(number, name, table[name].cast(stamp))
    return table


def parquet_differs(content: bytes, table: pa.Table) -> str | None:
    """How a Parquet file differs from the typed table of its CSV file; None if it does not.

    A small file may state a billion rows, or rows that share one long text. So what it states is
    compared first, and texts are expanded only once they are known to be as long as those expected.
    """
    expected = _stamped(table)
    try:
        if unpacked_bytes(content) > MOST_TIMES * expected.nbytes + SLACK_BYTES:
            return "unpacks to more than its CSV file"
        if pq.read_schema(io.BytesIO(content)).names != expected.schema.names:
            return "has different columns than its CSV file"
        file = pq.ParquetFile(io.BytesIO(content), read_dictionary=_texts(expected))
        return _statement_differs(file, expected) or _rows_differ(file, expected)
    except (pa.ArrowException, OSError, ValueError, LookupError) as error:
        return "cannot be read as Parquet: {}".format(str(error).partition("\n")[0])


def _statement_differs(file: pq.ParquetFile, expected: pa.Table) -> str | None:
    if not _types_fit(file.schema_arrow, expected.schema):
        return "has columns of another type than its CSV file"
    if file.metadata.num_rows != len(expected):
        return "has another number of rows than its CSV file"
    return None


def _rows_differ(file: pq.ParquetFile, expected: pa.Table) -> str | None:
    row = 0
    for batch in file.iter_batches(_BATCH_ROWS):
        due = expected.slice(row, len(batch))
        row += len(batch)
        for name in expected.schema.names:
            if not _equal(batch[name], due[name]):
                return f"`{name}` differs from its CSV file"
    return None if row == len(expected) else "has another number of rows than its CSV file"


def _texts(table: pa.Table) -> list[str]:
    return [one.name for one in table.schema if pa.types.is_large_string(one.type)]


def _types_fit(found: pa.Schema, due: pa.Schema) -> bool:
    """Whether each column has the type expected; texts are read as numbers of a dictionary."""
    return all(
        pa.types.is_dictionary(one.type) and pa.types.is_string(one.type.value_type)
        if pa.types.is_large_string(other.type)
        else one.type == other.type
        for one, other in zip(found, due, strict=True)
    )


def _equal(found: pa.Array, due: pa.ChunkedArray) -> bool:
    """Whether a column of a batch is as expected."""
    if pa.types.is_dictionary(found.type):
        lengths = pc.binary_length(found.dictionary).take(found.indices)
        if pc.sum(lengths).as_py() != pc.sum(pc.binary_length(due)).as_py():
            return False
        found = found.dictionary.cast(pa.large_string()).take(found.indices)
    return bool(pa.chunked_array([found]).equals(due))


def data_entries(
    manifest: Mapping[str, Any], links: Sequence[Sealed], span: range
) -> list[dict[str, Any]]:
    """The validated list of raw data in the manifest; raises `ArchiveError`.

    Each kind's files cover the links of `wanted_links` once, in order and without a gap; a kind
    without records may be left out.
    """
    found = manifest.get("data")
    if not isinstance(found, list):
        raise ArchiveError("manifest.json: lists no raw data")
    nexts: dict[str, tuple[int, int]] = {}
    for entry in found:
        try:
            kind, (first, last) = entry["kind"], entry["links"]
            wanted = wanted_links(kind, span, len(links))
            number, begin = nexts.get(kind, (1, wanted[0]))
            fits = (
                entry == {"path": f"data/{kind}-{number:02}.csv", "kind": kind,
                          "links": [begin, last]}
                and re.fullmatch(r"[a-z0-9_-]{1,40}", kind) is not None
                and type(first) is type(last) is int
                and begin <= last <= wanted[-1]
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise ArchiveError(f"manifest.json: {entry!r} is not a file of raw data") from error
        if not fits:
            raise ArchiveError(f"manifest.json: {entry!r} is not the next file of raw data")
        nexts[kind] = number + 1, last + 1
    return found


def load(archive: Reader, entry: Mapping[str, Any]) -> tuple[pa.Table, pa.Table]:
    """The table of a file, as texts and typed; raises `ArchiveError`."""
    try:
        table = form.read(archive.read(entry["path"]), entry["kind"])
        return table, form.typed(table)
    except form.FormError as error:
        raise ArchiveError(f"{entry['path']}: {error}") from error
