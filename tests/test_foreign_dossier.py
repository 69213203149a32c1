"""A dossier from a stranger: no file ends `verify` otherwise than with a problem, or fills the
memory, or writes on the terminal what it likes."""

from __future__ import annotations

import bz2
import contextlib
import csv
import io
import json
import lzma
import random
import struct
import tracemalloc
import zipfile
import zlib
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from jharnet_monitor.cli import app
from jharnet_monitor.dossier import form, raw
from jharnet_monitor.dossier.archive import ArchiveError, Reader, Writer, csv_bytes, json_bytes
from jharnet_monitor.dossier.build import FORMAT, MANIFEST_KEYS
from jharnet_monitor.dossier.mailed import validated
from jharnet_monitor.dossier.parquet_pages import unpacked_bytes
from jharnet_monitor.dossier.verify import verify
from jharnet_monitor.errors import UserError
from tests.dossier_support import Forger, filed
from tests.zip_support import set_header_fields

UNPACKED = 64 * 1024 * 1024
JSON_FILES = ("manifest.json", "settings.json", "claims.json", "chain/links.jsonl",
              "chain/mailed-roots.json")  # fmt: skip
DATA_FILES = tuple(f"data/{kind}-01.csv" for kind in ("transitions", "events", "drills",
                                                      "bandwidth", "conference"))  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 2**63, 10**400, 1e308, -1e308, 0.5, "", "x", "0" * 64, "\x1b[2K", "9" * 5000,
    "yesterday", "0001-01-01T00:00:00+23:59", "9999-12-31T23:00:00.000Z", "9999-12-31",
    "0001-01-01", "../x", [], [[]], {}, {"x": 1}, "Asia/Kolkata", "99999999 years",
)  # fmt: skip
"""What a value is replaced by."""


def _bomb(path: Path, method: int, packed: bytes) -> Path:
    """An archive with a manifest that states to unpack to 100 bytes."""
    name, size = b"manifest.json", 100
    sizes = (len(packed), size, len(name), 0)
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 46, 0, method, 0, 33, 0, *sizes) + name
    central = struct.pack("<4s6H3L5H2L", b"PK\1\2", 46, 46, 0, method, 0, 33, 0, *sizes,
                          0, 0, 0, 0, 0) + name  # fmt: skip
    place = len(local) + len(packed)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(central), place, 0)
    path.write_bytes(local + packed + central + end)
    return path


def _deflated(content: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(content) + packer.flush()


@pytest.mark.parametrize(
    ("method", "pack"),
    [(zipfile.ZIP_DEFLATED, _deflated), (zipfile.ZIP_BZIP2, bz2.compress),
     (zipfile.ZIP_LZMA, lzma.compress)],
)  # fmt: skip
def test_a_small_archive_does_not_fill_the_memory(tmp_path: Path, method: int, pack: Any) -> None:
    """Only the size that the archive states was limited: 654 bytes unpacked to 700 MiB."""
    path = _bomb(tmp_path / "x.zip", method, pack(bytes(UNPACKED)))
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveError, match=r"is damaged|is compressed in a way"):
            Reader(path)
        assert tracemalloc.get_traced_memory()[1] < UNPACKED / 8
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({b"PK\1\2": (6, 99)}, "x.zip: is not a ZIP archive, so not a dossier"),
        ({b"PK\1\2": (8, 0x20), b"PK\3\4": (6, 0x20)}, "manifest.json: is damaged: .*patched"),
        ({b"PK\1\2": (8, 0x40), b"PK\3\4": (6, 0x40)}, "manifest.json: is damaged: .*encrypt"),
    ],
)
def test_an_archive_that_python_cannot_read_is_a_problem(
    tmp_path: Path, changes: dict[bytes, tuple[int, int]], problem: str
) -> None:
    """A later version of the format, a patch, and strong encryption."""
    path = _bomb(tmp_path / "x.zip", zipfile.ZIP_DEFLATED, _deflated(bytes(100)))
    set_header_fields(path, changes)
    with pytest.raises(ArchiveError, match=problem):
        Reader(path)


def test_any_changed_header_is_a_problem_and_no_crash(tmp_path: Path) -> None:
    """Up to 4 bytes in or just behind one header of the archive at a time."""
    packed, draw, found = io.BytesIO(), random.Random(21), Counter[str]()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("manifest.json", json_bytes({"files": {}}), zipfile.ZIP_DEFLATED)
        archive.writestr("one.csv", b"office\n" * 40, zipfile.ZIP_DEFLATED)
        archive.writestr("two.csv", b"office\n" * 40)
    true, path = packed.getvalue(), tmp_path / "x.zip"
    headers = [at for at in range(len(true)) if true[at : at + 2] == b"PK"]
    for _ in range(3000):
        data, at = bytearray(true), draw.choice(headers) + draw.randrange(4, 46)
        for place in range(at, min(at + draw.choice((1, 2, 4)), len(true))):
            data[place] = draw.choice((0, 1, 0x7F, 0x80, 0xFF, draw.randrange(256)))
        if data == true:
            continue
        path.write_bytes(data)
        try:
            with Reader(path) as reader:
                for name in reader.names:
                    reader.read(name)
            found["read"] += 1
        except ArchiveError as error:
            found[str(error).partition(": ")[2][:10]] += 1
    assert found["read"] > 300 and found["is damaged"] > 300 and found["is not a Z"] > 100


POOL = pa.proxy_memory_pool(pa.default_memory_pool())
"""Counts what Arrow allocates; it has to outlive every array."""


def _parquet(columns: dict[str, pa.Array]) -> bytes:
    """A file whose schema states plain texts, packed as numbers of a dictionary."""
    out = io.BytesIO()
    plain = {
        name: one.cast(pa.large_string()) if pa.types.is_dictionary(one.type) else one
        for name, one in columns.items()
    }
    pq.write_table(pa.table(plain), out, compression="zstd")
    return out.getvalue()


def _repeated(text: str, rows: int) -> pa.Array:
    codes = pa.array(range(rows), pa.int32())
    return pa.DictionaryArray.from_arrays(pa.array([0] * rows, codes.type), pa.array([text]))


@pytest.mark.parametrize(
    ("columns", "answer"),
    [
        ({"office": _repeated("x", 100_000)}, "has another number of rows"),
        ({"office": _repeated("x" * 10_000, 5_000)}, "`office` differs"),
        (
            {"office": pa.array(["x" * 1_000_000] * 50).cast(pa.large_string())},
            "has another number",
        ),
        ({"office": pa.array([1] * 5_000)}, "has columns of another type"),
        ({"other": pa.array([1] * 5_000)}, "has different columns"),
    ],
)
def test_a_small_parquet_file_does_not_fill_the_memory(
    columns: dict[str, pa.Array], answer: str
) -> None:
    """99 kB unpacked to 1.2 GiB."""
    content = _parquet(columns)
    due = pa.table({"office": pa.array(["potka"] * 5_000, pa.large_string())})
    before = pa.default_memory_pool()
    pa.set_memory_pool(POOL)
    try:
        found = raw.parquet_differs(content, due)
    finally:
        pa.set_memory_pool(before)
    assert found is not None and found.startswith(answer)
    assert POOL.max_memory() < 20_000_000


def _varint(number: int, length: int = 0) -> bytes:
    """A number as Thrift writes it, with this many bytes at least."""
    found = list[int]()
    while number or len(found) < max(1, length):
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found[:-1], found[-1] & 127])


def _lying(content: bytes) -> bytes:
    """The file of one column, with a footer that states to unpack to 100 bytes."""
    place = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    stated = pq.read_metadata(io.BytesIO(content)).row_group(0).column(0).total_uncompressed_size
    true = _varint(2 * stated)
    assert true in content[place:]
    changed = content[place:].replace(true, _varint(200, len(true)))
    return content[:place] + changed


def test_what_a_parquet_file_states_is_not_believed() -> None:
    """A footer can state any size: 7 kB unpacked to 600 MiB. Nor may texts share beginnings."""
    content = _lying(_parquet({"office": pa.array(["x" * UNPACKED])}))
    column = pq.read_metadata(io.BytesIO(content)).row_group(0).column(0)
    assert column.total_uncompressed_size == 100
    due = pa.table({"office": pa.array(["potka"], pa.large_string())})
    assert raw.parquet_differs(content, due) == "unpacks to more than its CSV file"
    out, encoding = io.BytesIO(), {"office": "DELTA_BYTE_ARRAY"}
    pq.write_table(due, out, use_dictionary=False, column_encoding=encoding)
    assert "encoded in a way that no dossier is" in str(raw.parquet_differs(out.getvalue(), due))


def test_a_damaged_parquet_file_is_a_problem() -> None:
    """Bytes of its footer and its pages' headers changed, or cut off."""
    table = pa.table({"office": pa.array(["potka", None, "boram"] * 10, pa.large_string())})
    true, dice = raw.parquet(table), random.Random(1)
    assert raw.parquet_differs(true, table) is None
    for _ in range(300):
        changed = bytearray(true)
        changed[dice.randrange(len(true))] = dice.randrange(256)
        with contextlib.suppress(ValueError):
            assert unpacked_bytes(bytes(changed)) >= 0
        with contextlib.suppress(ValueError):
            assert unpacked_bytes(bytes(changed[dice.randrange(len(true)) :])) >= 0


def test_a_parquet_file_of_another_version_is_read() -> None:
    """Another version may write the same rows in other groups, packed or not; also no row."""
    offices = pa.array(["potka", None, "", "ऑफ़िस"] * 3000, pa.large_string())
    table = pa.table({"office": offices, "at": pa.array([1] * 12_000, pa.int64())})
    whole = raw._stamped(table)
    other = table.set_column(0, "office", pa.array(["potka"] * 12_000, pa.large_string()))
    for options in ({}, {"row_group_size": 1000}, {"use_dictionary": False, "compression": "none"}):
        out = io.BytesIO()
        pq.write_table(whole, out, **options)
        assert raw.parquet_differs(out.getvalue(), table) is None
        assert raw.parquet_differs(out.getvalue(), other) == "`office` differs from its CSV file"
        out = io.BytesIO()
        pq.write_table(whole.slice(0, 0), out, **options)
        assert raw.parquet_differs(out.getvalue(), table.slice(0, 0)) is None
        assert "another number of rows" in str(raw.parquet_differs(out.getvalue(), table))


HIDING = "x\x1b[2K\x1b[1Geverything agrees: 4,212 figures recomputed\x9b8m\u202e"


def test_what_a_file_says_reaches_the_terminal_escaped(tmp_path: Path) -> None:
    """A file name could overwrite the line that named the problem."""
    path = tmp_path / "x.zip"
    writer = Writer(path, datetime(2026, 11, 25, tzinfo=UTC))
    writer.files[HIDING] = {"sha256": "0" * 64, "bytes": 1}
    writer.close({key: None for key in MANIFEST_KEYS if key != "files"} | {"format": FORMAT})
    writer.abandon()
    for options in ((), ("--json",)):
        done = CliRunner().invoke(app, ["dossier", "verify", str(path), *options])
        assert done.exit_code == 1
        assert "[1Geverything agrees" in done.output
        assert all(c.isprintable() for c in done.output.replace("\n", ""))


@pytest.mark.parametrize("name", ["data/\x1b[2K", ""])
def test_a_file_in_a_dossier_has_a_printable_name(tmp_path: Path, name: str) -> None:
    """Another program that unpacks it prints the name. Without one, `verify` ended with a
    traceback."""
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), b"")
    with pytest.raises(ArchiveError, match="is not a valid name"):
        Reader(path)


@pytest.mark.parametrize("key", ["prepared_at", "accepted_at"])
def test_a_mail_without_a_valid_time_is_a_problem(key: str) -> None:
    """`verify` ended with a traceback."""
    mail = dict.fromkeys(("name", "recipient", "root", "message_id"), "x")
    times = {"prepared_at": "2026-11-25T06:00:00Z", "accepted_at": "2026-11-25T06:00:00Z"}
    assert validated([mail | times]) == [mail | times]
    for wrong in ("yesterday", "2026-11-25", "0001-01-01T00:00:00+23:59"):
        with pytest.raises(ArchiveError, match="no valid time"):
            validated([mail | times | {key: wrong}])


def _changed(data: Any, dice: random.Random) -> Any:
    """The same JSON with one value replaced, removed or added somewhere."""
    data = json.loads(json.dumps(data))
    node = data
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return dice.choice(VALUES)
        key = dice.choice(keys)
        if isinstance(node[key], dict | list) and node[key] and dice.random() < 0.85:
            node = node[key]
            continue
        if dice.random() < 0.1:
            del node[key]
        else:
            node[key] = dice.choice(VALUES)
        return data


def _fuzzed(true: Forger, dice: random.Random) -> Forger:
    """A dossier in one of whose files a value was changed, with all hashes made to fit."""
    forger = true.copy()
    name = dice.choice(JSON_FILES + DATA_FILES)
    if name in DATA_FILES:
        return _fuzzed_cell(forger, name, dice)
    if name.endswith(".jsonl"):
        lines = forger.files[name].decode().splitlines()
        place = dice.randrange(len(lines))
        lines[place] = json.dumps(_changed(json.loads(lines[place]), dice), ensure_ascii=False)
        forger.files[name] = ("\n".join(lines) + "\n").encode()
    else:
        forger.set_json(name, _changed(forger.json(name), dice))
    if name != "manifest.json":
        forger.rehash()
    return forger


def _fuzzed_cell(forger: Forger, name: str, dice: random.Random) -> Forger:
    """A dossier in which one cell of raw data was changed, and the chain made to fit."""
    head, *rows = csv.reader(io.StringIO(forger.files[name].decode()))
    row, place = dice.choice(rows), dice.randrange(len(head))
    if row[place].startswith("{"):
        row[place] = json.dumps(_changed(json.loads(row[place]), dice), ensure_ascii=False)
    else:
        row[place] = str(dice.choice(VALUES))
    forger.files[name] = csv_bytes(head, rows)
    with contextlib.suppress(form.FormError):  # a cell that can be read by nothing
        forger.rechain(name)
    forger.rehash()
    return forger


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Forger:
    """A true dossier of one office and seven days."""
    directory = tmp_path_factory.mktemp("small")
    place = filed(directory, 1, 7)
    place.build(directory / "small.zip")
    place.store.close()
    return Forger.of(directory / "small.zip")


def _problems(forger: Forger, directory: Path) -> list[str]:
    return verify(forger.write(directory / "x.zip"), None, lambda _: None, every=True).problems


@pytest.mark.parametrize(
    ("key", "value"),
    [("to", "9999-12-31"), ("to", "9999-12-30"), ("made_at", "0001-01-01T00:00:00.000Z"),
     ("made_at", "9999-12-31T23:59:59.000Z")],
)  # fmt: skip
def test_a_time_at_the_end_of_the_calendar_is_a_problem(
    small: Forger, tmp_path: Path, key: str, value: str
) -> None:
    """An hour more ended `verify` with a traceback."""
    forger = small.copy()
    forger.set_json("manifest.json", forger.json("manifest.json") | {key: value})
    [problem] = _problems(forger, tmp_path)
    assert problem.startswith("manifest.json: states no valid")


@pytest.mark.parametrize("ms", [253402300799999, -62135596800000, 2**62])
def test_a_record_at_the_end_of_the_calendar_is_a_problem(
    small: Forger, tmp_path: Path, ms: int
) -> None:
    """With a chain that fits."""
    forger, name = small.copy(), "data/events-01.csv"
    head, *rows = csv.reader(io.StringIO(forger.files[name].decode()))
    rows[-1][head.index("recorded_at")] = str(ms)
    forger.files[name] = csv_bytes(head, rows)
    forger.rechain(name)
    forger.rehash()
    [problem] = _problems(forger, tmp_path)
    assert problem.startswith(f"{name}: a record of `events` cannot be read")


@pytest.mark.parametrize("seed", range(12))
def test_any_changed_value_is_a_problem_and_no_crash(
    small: Forger, tmp_path: Path, seed: int
) -> None:
    """Values of wrong types, empty, huge or out of range, wherever in a dossier."""
    forger = _fuzzed(small, random.Random(seed))
    with contextlib.suppress(UserError):
        assert _problems(forger, tmp_path) or _without_tools(forger) == _without_tools(small)


def _without_tools(forger: Forger) -> dict[str, Any]:
    """All that follows from the measurements; the program's and its tools' versions do not."""
    manifest = forger.json("manifest.json")
    rest = {key: value for key, value in manifest.items() if key not in ("program", "tools")}
    return forger.files | {"manifest.json": rest}
