"""The format of the raw data: CSV columns, and how the chain's lines are rebuilt from them.

A cell holds the number exactly as it was sealed, so that the line that was hashed can be rebuilt
from the cells, for a whole file at once. An empty cell is null, an empty text is `""`. Times are in
milliseconds since 1970 (UTC).
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv

from jharnet_monitor.model import ROUND_TRIPS
from jharnet_monitor.store.export import ExportRow
from jharnet_monitor.store.records import EVENT_TABLES, FIELDS

EVENT_KINDS = tuple(table.name for table in EVENT_TABLES)
LEFT_OUT = frozenset({ROUND_TRIPS})
"""Kinds of records that are not enclosed, as no figure is made of them; the chain has their hashes,
and the hub's database keeps them."""
INTEGERS = frozenset(
    {"started_at", "recorded_at", "at", "until", "number", "supersedes", "begin", "end"}
)
NUMBERS = INTEGERS | {"duration"}
_SPECIAL = frozenset('",\r\n')


class FormError(Exception):
    """A file of raw data does not have the format that this program writes."""


def fields(kind: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Plain and JSON columns of a kind of record, without the values of a measurement."""
    if kind in EVENT_KINDS:
        return FIELDS[kind]
    return FIELDS["measurements"][0], ("conditions",)


def columns(kind: str, quantities: Sequence[str]) -> list[str]:
    """The columns of a kind's CSV file; the quantities of a measurement come last, sorted."""
    plain, texts = fields(kind)
    return [*plain, *texts, *quantities]


def csv_head(kind: str, quantities: Sequence[str]) -> str:
    """The header line of a file."""
    return ",".join(columns(kind, quantities)) + "\n"


def csv_lines(rows: Iterable[ExportRow], quantities: Sequence[str]) -> Iterator[str]:
    """One line per record."""
    wanted = tuple(quantities)
    cached = lru_cache(maxsize=20_000, typed=True)(_cell)
    for row in rows:
        first, *rest = row.fields
        cells = [_cell(first), *map(cached, rest)]
        if wanted and row.names == wanted:
            cells.append(row.values)
        else:
            fields = dict(zip(row.names, row.values.split(","), strict=False))
            cells.extend(fields.get(name, "") for name in wanted)
        yield ",".join(cells) + "\n"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        return repr(value)
    if not value or not _SPECIAL.isdisjoint(value):
        return '"' + value.replace('"', '""') + '"'
    return value


def read(content: bytes, kind: str) -> pa.Table:
    """A file as a table of texts; empty cells are null. Raises `FormError`."""
    head = content.partition(b"\n")[0].decode("utf-8", "replace").rstrip("\r").split(",")
    expected = columns(kind, sorted(head[len(columns(kind, ())) :]))
    if head != expected or len(set(head)) != len(head):
        raise FormError("its columns do not fit this kind of record")
    try:
        return pcsv.read_csv(
            io.BytesIO(content),
            parse_options=pcsv.ParseOptions(newlines_in_values=True),
            convert_options=pcsv.ConvertOptions(
                column_types={name: pa.large_string() for name in head},
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        ).combine_chunks()
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise FormError(f"cannot be read as CSV: {str(error).splitlines()[0]}") from error


def typed(table: pa.Table) -> pa.Table:
    """The same table with numeric columns, for Parquet and for figures; raises `FormError`."""
    kind_columns = set(FIELDS["measurements"][1]) | _text_columns()
    arrays = []
    for name in table.column_names:
        target = pa.large_string()
        if name in INTEGERS:
            target = pa.int64()
        elif name not in kind_columns:
            target = pa.float64()
        try:
            arrays.append(pc.cast(table[name], target))
        except pa.ArrowInvalid as error:
            raise FormError(f"`{name}` contains a value that is not a number") from error
    return pa.table(arrays, names=table.column_names)


@lru_cache(maxsize=1)
def _text_columns() -> frozenset[str]:
    named = {name for plain, texts in FIELDS.values() for name in (*plain, *texts)}
    return frozenset(named - NUMBERS)


def lines(table: pa.Table, kind: str) -> pa.LargeStringArray:
    """The lines of a file's records as in the chain, byte for byte as they were sealed."""
    plain, texts = fields(kind)
    parts: list[Any] = [
        pc.fill_null(table[name], "null") if name in NUMBERS else _quoted(table[name])
        for name in plain
    ]
    parts += [table[name] for name in texts]
    if kind not in EVENT_KINDS:
        quantities = table.column_names[len(plain) + len(texts) :]
        parts += list(_values(table, quantities))
    body = pc.binary_join_element_wise(*map(_large, parts), _text(","))
    return pc.binary_join_element_wise(_text("["), body, _text("]\n"), _text(""))


def _large(array: Any) -> Any:
    """One array of texts from an array or its chunks."""
    whole = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    return pc.cast(whole, pa.large_string())


def _quoted(column: Any) -> Any:
    """Texts as JSON strings, null as `null`."""
    codes = pc.dictionary_encode(pc.fill_null(column, "\0")).combine_chunks()
    texts = codes.dictionary.to_pylist()
    spelled = ["null" if t == "\0" else json.dumps(t, ensure_ascii=False) for t in texts]
    return pa.array(spelled, pa.large_string()).take(codes.indices)


def _values(table: pa.Table, quantities: Sequence[str]) -> Iterator[Any]:
    """The list of names and the list of numbers of each row."""
    rows = len(table)
    if not quantities:
        yield pa.array(["[]"] * rows, pa.large_string())
        yield pa.array(["[]"] * rows, pa.large_string())
        return
    texts = [_large(table[name]) for name in quantities]
    nothing = _text("")
    named = [
        pc.if_else(pc.is_valid(text), _text("," + json.dumps(name)), nothing)
        for name, text in zip(quantities, texts, strict=True)
    ]
    numbers = [
        pc.fill_null(pc.binary_join_element_wise(nothing, text, _text(",")), nothing)
        for text in texts
    ]
    for part in (named, numbers):  # every element starts with a comma; the first comma is removed
        joined = pc.utf8_slice_codeunits(pc.binary_join_element_wise(*part, nothing), 1)
        yield pc.binary_join_element_wise(_text("["), joined, _text("]"), nothing)


def _text(value: str) -> Any:
    return pa.scalar(value, pa.large_string())
