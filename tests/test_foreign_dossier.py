"""A dossier from a stranger: no file ends `verify` otherwise than with a problem, or fills the
memory, or writes on the terminal what it likes."""

from __future__ import annotations

import bz2
import io
import lzma
import struct
import tracemalloc
import zipfile
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from jharnet_monitor.cli import app
from jharnet_monitor.dossier import raw
from jharnet_monitor.dossier.archive import ArchiveError, Reader, Writer
from jharnet_monitor.dossier.build import FORMAT, MANIFEST_KEYS

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
        ({"office": _repeated("x" * 1000, 100_000)}, "has another number of rows"),
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


def test_a_parquet_file_of_another_version_is_read() -> None:
    """Another version may write the same rows in other groups, packed or not."""
    offices = pa.array(["potka", None, "", "ऑफ़िस"] * 3000, pa.large_string())
    table = pa.table({"office": offices, "at": pa.array([1] * 12_000, pa.int64())})
    whole = raw._stamped(table)
    for options in ({"row_group_size": 1000}, {"use_dictionary": False, "compression": "none"}):
        out = io.BytesIO()
        pq.write_table(whole, out, **options)
        assert raw.parquet_differs(out.getvalue(), table) is None
        other = table.set_column(0, "office", pa.array(["potka"] * 12_000, pa.large_string()))
        assert raw.parquet_differs(out.getvalue(), other) == "`office` differs from its CSV file"


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


def test_a_file_in_a_dossier_has_a_printable_name(tmp_path: Path) -> None:
    """Another program that unpacks it prints the name."""
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data/\x1b[2K", b"")
    with pytest.raises(ArchiveError, match="is not a valid name"):
        Reader(path)
