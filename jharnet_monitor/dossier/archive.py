"""The ZIP file: the writer adds the manifest last; the reader limits every size."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import struct
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

from jharnet_monitor.errors import UserError, is_one_line
from jharnet_monitor.security.damaged_zip import DamagedZipError, reading_zip

MANIFEST = "manifest.json"
WORKING = "working-copy/"
"""Folder of files for editing: listed in the manifest but not verified."""
LARGEST = 512 * 1024 * 1024
"""Largest unpacked size of one file in bytes; files of this program are at most a third of it."""
LARGEST_JSON = 32 * 1024 * 1024
"""The same for a file that is read as JSON as a whole, which then takes 20 times as much memory."""
MOST_FILES = 10_000
MOST_BYTES = 64 * 1024**3
"""Largest unpacked size of all files in bytes; 264 offices over a year take a third of it."""

FIRST_YEAR, LAST_YEAR = 1970, 2999
"""Years in which the times of a dossier lie, so that no arithmetic on them leaves the calendar."""

_LOCAL_HEADER = 30
"""Bytes before an entry's name; the last four are the lengths of the name and the extra field."""
_SIZE_BEHIND = 8
"""The flag of an entry whose size stands behind its content, as a stream needs it."""


class ArchiveError(Exception):
    """The file is not a dossier, or a part of it cannot be read; the message says which."""


class Writer:
    """Writes a dossier; the manifest holds the SHA-256 of every other file.

    A file is compressed in a thread while the next one is made.
    """

    def __init__(self, path: Path, made_at: datetime) -> None:
        self._zip = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
        self._stamp = made_at.timetuple()[:6]
        self.files: dict[str, dict[str, Any]] = {}
        self._pool = ThreadPoolExecutor(1)
        self._pending: Future[None] | None = None

    def add(self, name: str, content: bytes) -> None:
        """Add one file."""
        if name in self.files:
            raise ValueError(f"{name} is already in the dossier")
        self.files[name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        self._wait()
        self._pending = self._pool.submit(self._write, name, content)

    def close(self, manifest: Mapping[str, Any]) -> None:
        """Write the manifest, including `files`, and close the ZIP file."""
        whole = dict(manifest) | {"files": dict(sorted(self.files.items()))}
        self._wait()
        self._write(MANIFEST, json_bytes(whole))
        self._zip.close()

    def abandon(self) -> None:
        """Close the file, finished or not."""
        self._pool.shutdown()
        self._zip.close()

    def _wait(self) -> None:
        if self._pending is not None:
            self._pending.result()

    def _write(self, name: str, content: bytes) -> None:
        info = zipfile.ZipInfo(name, date_time=(*self._stamp,))
        info.compress_type = zipfile.ZIP_DEFLATED
        info.external_attr = 0o644 << 16
        self._zip.writestr(info, content)


def json_bytes(data: Any) -> bytes:
    """JSON with sorted keys and indentation."""
    text = json.dumps(data, ensure_ascii=False, sort_keys=True, indent=1, allow_nan=False)
    return (text + "\n").encode()


class Reader:
    """Reads a dossier from an untrusted source; raises `ArchiveError`."""

    def __init__(self, path: Path) -> None:
        try:
            with reading_zip():
                self._zip = zipfile.ZipFile(path)
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
        except DamagedZipError as error:
            raise ArchiveError(f"{path.name}: is not a ZIP archive, so not a dossier") from error
        entries = self._zip.infolist()
        if len(entries) > MOST_FILES:
            raise ArchiveError(f"{path.name}: contains more than {MOST_FILES} files")
        for entry in entries:
            _check(entry)
        if sum(entry.file_size for entry in entries) > MOST_BYTES:
            raise ArchiveError(f"{path.name}: unpacks to more than {MOST_BYTES >> 30} GiB")
        self.names = [entry.filename for entry in entries]
        if len(set(self.names)) < len(self.names):
            raise ArchiveError(f"{path.name}: contains two files of the same name")
        if not _is_filled(self._zip, path):
            raise ArchiveError(f"{path.name}: holds more than the files that it lists")
        self.manifest = self.json(MANIFEST)
        if not isinstance(self.manifest, dict) or not isinstance(self.manifest.get("files"), dict):
            raise ArchiveError(f"{MANIFEST}: lists no files")

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._zip.close()

    def read(self, name: str) -> bytes:
        """The content of one file."""
        try:
            size = self._zip.getinfo(name).file_size
        except KeyError:
            raise ArchiveError(f"{name}: is missing") from None
        try:
            with reading_zip(), self._zip.open(name) as file:
                content = file.read(size + 1)  # without a size, all that it unpacks to is unpacked
        except (DamagedZipError, OSError) as error:
            raise ArchiveError(f"{name}: is damaged: {error}") from error
        if len(content) != size:
            raise ArchiveError(f"{name}: is damaged: it has not the size that the archive states")
        return content

    def json(self, name: str) -> Any:
        """The content of one JSON file, which must be written as `json_bytes` writes it."""
        if name in self.names and self._zip.getinfo(name).file_size > LARGEST_JSON:
            raise ArchiveError(f"{name}: unpacks to more than {LARGEST_JSON >> 20} MiB")
        content = self.read(name)
        try:
            data = strict_json(content)
            written = json_bytes(data)
        except (ValueError, RecursionError) as error:
            raise ArchiveError(f"{name}: is not valid JSON: {error}") from error
        if written != content:
            raise ArchiveError(f"{name}: is not written as this program writes it")
        return data

    def differences(self) -> Iterator[str]:
        """A message for every file that differs from the manifest, in the manifest's order."""
        files = self.manifest["files"]
        for name in files:
            if name.startswith(WORKING):
                continue
            try:
                found = hashlib.sha256(self.read(name)).hexdigest()
            except ArchiveError as error:
                yield str(error)
                continue
            size = self._zip.getinfo(name).file_size
            listed = files[name].get("sha256") if isinstance(files[name], dict) else None
            if found != listed:
                yield f"{name}: its SHA-256 is {found}, but the manifest says {listed}"
            elif files[name] != {"sha256": found, "bytes": size}:
                yield f"{name}: has {size} bytes, but the manifest says otherwise"
        for name in self.names:
            if name not in files and name != MANIFEST:
                yield f"{name}: is not in the manifest"


def plausible(moment: datetime) -> datetime:
    """The moment, if a record can be of it; raises `ValueError`."""
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise ValueError(f"no record is of the year {moment.year}")
    return moment


def strict_json(text: str | bytes) -> Any:
    """Parse JSON in which no key occurs twice and every number is finite; raises `ValueError`.

    >>> strict_json('{"a": 1, "a": 2}')
    Traceback (most recent call last):
        ...
    ValueError: the key 'a' occurs twice
    """
    return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} occurs twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _is_filled(archive: zipfile.ZipFile, path: Path) -> bool:
    """Whether the ZIP file consists of its entries alone: nothing before, between or behind them,
    where another program might find a second file of the same name.
    """
    end = 0
    with path.open("rb") as file:
        for entry in sorted(archive.infolist(), key=lambda one: one.header_offset):
            if entry.header_offset != end:  # it may be negative
                return False
            file.seek(entry.header_offset)
            header = file.read(_LOCAL_HEADER)
            if len(header) < _LOCAL_HEADER:
                return False
            names = sum(struct.unpack("<HH", header[-4:]))
            end = entry.header_offset + _LOCAL_HEADER + names + entry.compress_size
            if entry.flag_bits & _SIZE_BEHIND:
                return False
    return end == archive.start_dir and not archive.comment


def _check(entry: zipfile.ZipInfo) -> None:
    name, path = entry.filename, PurePosixPath(entry.filename)
    fits = is_one_line(name) and not path.is_absolute() and ".." not in path.parts
    if not name or not fits or entry.is_dir():
        raise ArchiveError(f"{entry.filename!r} is not a valid name of a file in a dossier")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ArchiveError(f"{entry.filename}: is compressed in a way that no dossier is")
    if entry.file_size > LARGEST:
        raise ArchiveError(f"{entry.filename}: unpacks to more than {LARGEST >> 20} MiB")


def csv_bytes(
    head: Iterable[str], rows: Iterable[Iterable[Any]], *, made_up: bool = False
) -> bytes:
    """A table as CSV in UTF-8; with `made_up` each row says that it was not measured."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*head, "made_up"] if made_up else head)
    writer.writerows([*row, "yes"] if made_up else row for row in rows)
    return text.getvalue().encode()
