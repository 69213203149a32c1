"""Lists the files in the directory of reports, and finds those that may be served."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

MOST_LISTED = 500
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,150}\.(pdf|html|xlsx|csv|docx|zip)")


@dataclass(frozen=True, slots=True)
class ReportFile:
    """A file in the directory of reports."""

    name: str
    bytes: int
    written: datetime


def listing(directory: Path | None) -> list[ReportFile]:
    """The reports, newest first; empty if there is no directory."""
    if directory is None or not directory.is_dir():
        return []
    found = []
    for path in directory.iterdir():
        if _NAME.fullmatch(path.name) and path.is_file() and not path.is_symlink():
            stat = path.stat()
            found.append(
                ReportFile(path.name, stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC))
            )
    found.sort(key=lambda report: (report.written, report.name), reverse=True)
    return found[:MOST_LISTED]


def find(directory: Path | None, name: str) -> Path | None:
    """The report of that name; None unless it is a plain file in the directory."""
    if directory is None or not _NAME.fullmatch(name):
        return None
    path = directory / name
    return path if path.is_file() and not path.is_symlink() else None


def headers(path: Path) -> dict[str, str]:
    """Response headers: PDF and HTML open in the browser, HTML sandboxed; the rest is saved."""
    shown = path.suffix in (".pdf", ".html")
    found = {
        "Content-Disposition": f'{"inline" if shown else "attachment"}; filename="{path.name}"'
    }
    if path.suffix == ".html":
        found["Content-Security-Policy"] = (
            "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
        )
    return found
