"""The ZIP file: written whole, its manifest last; read with a bound on everything."""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

from jharnet_monitor.errors import UserError

MANIFEST = "manifest.json"
WORKING = "working-copy/"
"""What is meant to be edited: listed in the manifest, and outside of what is verified."""
LARGEST = 512 * 1024 * 1024
"""Bytes that one file may unpack to; the program's own hold at most a third of it."""
MOST_FILES = 10_000
MOST_BYTES = 64 * 1024**3
"""Bytes of all files together: 264 offices over a year take a third of it."""


class ArchiveError(Exception):
    """The file is no dossier, or a part of it cannot be read; says which."""


class Writer:
    """Writes a dossier; the manifest knows the SHA-256 of all that went before it.

    One file is compressed while the next is being made.
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
            raise ValueError(f"{name} is in the dossier already")
        self.files[name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        self._wait()
        self._pending = self._pool.submit(self._write, name, content)

    def close(self, manifest: Mapping[str, Any]) -> None:
        """Write the manifest, with `files` in it, and finish."""
        told = dict(manifest) | {"files": dict(sorted(self.files.items()))}
        self._wait()
        self._write(MANIFEST, json_bytes(told))
        self._zip.close()

    def abandon(self) -> None:
        """Let go of the file, finished or not."""
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
    """JSON for people and programs: sorted, indented."""
    text = json.dumps(data, ensure_ascii=False, sort_keys=True, indent=1, allow_nan=False)
    return (text + "\n").encode()


class Reader:
    """Reads a dossier that anybody may have written; raises `ArchiveError`."""

    def __init__(self, path: Path) -> None:
        try:
            self._zip = zipfile.ZipFile(path)
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise ArchiveError(f"{path.name}: is no ZIP file, as every dossier is") from error
        entries = self._zip.infolist()
        if len(entries) > MOST_FILES:
            raise ArchiveError(f"{path.name}: holds more than {MOST_FILES} files")
        for entry in entries:
            _check(entry)
        if sum(entry.file_size for entry in entries) > MOST_BYTES:
            raise ArchiveError(f"{path.name}: unpacks to more than {MOST_BYTES >> 30} GiB")
        self.names = [entry.filename for entry in entries]
        if len(set(self.names)) < len(self.names):
            raise ArchiveError(f"{path.name}: holds two files of the same name")
        self.manifest = self.json(MANIFEST)
        if not isinstance(self.manifest, dict) or not isinstance(self.manifest.get("files"), dict):
            raise ArchiveError(f"{MANIFEST}: names no files")

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
        """One file."""
        try:
            return self._zip.read(name)
        except KeyError:
            raise ArchiveError(f"{name}: is missing") from None
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError,
                NotImplementedError) as error:  # fmt: skip
            raise ArchiveError(f"{name}: is damaged: {error}") from error

    def json(self, name: str) -> Any:
        """One file of JSON."""
        try:
            return json.loads(self.read(name))
        except (ValueError, RecursionError) as error:
            raise ArchiveError(f"{name}: is no JSON: {error}") from error

    def differences(self) -> Iterator[str]:
        """Every file that is not as the manifest says, in the manifest's order."""
        files = self.manifest["files"]
        for name in files:
            if name.startswith(WORKING):
                continue
            try:
                found = hashlib.sha256(self.read(name)).hexdigest()
            except ArchiveError as error:
                yield str(error)
                continue
            told = files[name].get("sha256") if isinstance(files[name], dict) else None
            if found != told:
                yield f"{name}: its SHA-256 is {found}, the manifest says {told}"
        for name in self.names:
            if name not in files and name != MANIFEST:
                yield f"{name}: is not in the manifest"


def _check(entry: zipfile.ZipInfo) -> None:
    path = PurePosixPath(entry.filename)
    if path.is_absolute() or ".." in path.parts or entry.is_dir():
        raise ArchiveError(f"{entry.filename!r} is no name of a file in a dossier")
    if entry.file_size > LARGEST:
        raise ArchiveError(f"{entry.filename}: unpacks to more than {LARGEST >> 20} MiB")
