"""Lists the papers in the directory of reports under the names that people use, and finds those
that may be served.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from jharnet_monitor.errors import UserError
from jharnet_monitor.i18n.formats import Formats, day_range, period_name
from jharnet_monitor.judge.calendar import period

MOST_LISTED = 500
_DAY = r"\d{4}-\d\d-\d\d"
_NAME = re.compile(
    rf"(?:weekly-\d{{4}}-W\d\d|daily-{_DAY}|monthly-\d{{4}}-\d\d|quarterly-\d{{4}}-Q[1-4]"
    rf"|report-{_DAY}_{_DAY}|drill-[0-9A-Za-z-]{{1,60}}|dossier-{_DAY}_{_DAY})"
    r"(?:-annex)?(?:\.(?:hi|en))?\.(?:pdf|html|xlsx|csv|form\.csv|docx|zip)"
)
"""Names that this program gives. Whatever else lies in the directory may be secret."""
_PARTS = re.compile(
    r"(?P<stem>.+?)(?P<annex>-annex)?(?:\.(?P<language>hi|en))?\.(?P<format>form\.csv|[a-z]+)"
)
_READERS = {
    "weekly": period.week, "daily": period.day, "monthly": period.month,
    "quarterly": period.quarter,
}  # fmt: skip
_DAYS = re.compile(r"(dossier|report)-(\d{4}-\d\d-\d\d)_(\d{4}-\d\d-\d\d)")
_DRILL = re.compile(r"drill-(\d{8}-\d{6})-[0-9a-f]+")


@dataclass(frozen=True, slots=True)
class ReportFile:
    """A file in the directory of reports."""

    name: str
    bytes: int
    written: datetime


@dataclass(frozen=True, slots=True)
class PaperFile:
    """One file of a paper: its format, and whether it is the annex."""

    file: ReportFile
    language: str
    """`hi`, `en` or empty."""
    format: str
    annex: bool


@dataclass(frozen=True, slots=True)
class Paper:
    """All files of one report, drill or dossier."""

    group: str
    title: str
    files: tuple[PaperFile, ...]
    written: datetime


def sheets_of(directory: Path | None, drill: str) -> tuple[str, ...]:
    """The names of a drill's sheets, however many newer reports there are."""
    start = f"drill-{drill}."
    return tuple(sorted(one.name for one in _every(directory) if one.name.startswith(start)))


def listing(directory: Path | None) -> list[ReportFile]:
    """The reports, newest first; empty if there is no directory."""
    found = _every(directory)
    found.sort(key=lambda report: (report.written, report.name), reverse=True)
    return found[:MOST_LISTED]


def _every(directory: Path | None) -> list[ReportFile]:
    if directory is None or not directory.is_dir():
        return []
    found = []
    for path in directory.iterdir():
        if _NAME.fullmatch(path.name) and path.is_file() and not path.is_symlink():
            stat = path.stat()
            found.append(
                ReportFile(path.name, stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC))
            )
    return found


def papers(files: Iterable[ReportFile], formats: Formats) -> dict[str, list[Paper]]:
    """The papers by group, the newest first; groups without a paper are left out."""
    stems: dict[str, list[PaperFile]] = {}
    language = formats.words.language
    for file in files:
        parts = _PARTS.fullmatch(file.name)
        if parts is None:
            continue
        stems.setdefault(parts["stem"], []).append(
            PaperFile(file, parts["language"] or "", parts["format"], bool(parts["annex"]))
        )
    found: dict[str, list[Paper]] = {
        group: [] for group in ("weekly", "period", "drill", "dossier", "unnamed")
    }
    for stem, members in stems.items():
        group, title = _titled(stem, formats)
        members.sort(key=lambda one: (one.annex, one.language != language, one.format))
        written = max(one.file.written for one in members)
        found[group].append(Paper(group, title, tuple(members), written))
    return {group: members for group, members in found.items() if members}


def _titled(stem: str, formats: Formats) -> tuple[str, str]:
    """Group and title of a paper, by the name of its files; other names stand for themselves."""
    words = formats.words
    kind, _, name = stem.partition("-")
    drill = _DRILL.fullmatch(stem)
    if drill is not None:
        at = datetime.strptime(drill[1], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
        return "drill", words("web.reports.of_drill", time=formats.date_and_time(at))
    try:
        if kind in _READERS:
            title = period_name(_READERS[kind](name, formats.zone), words)
            return "weekly" if kind == "weekly" else "period", title
        days = _DAYS.fullmatch(stem)
        if days is not None:
            covered = period.date_range(days[2], days[3], formats.zone)
            return ("dossier" if kind == "dossier" else "period"), day_range(covered, words)
    except UserError:
        pass  # not a name that this program gives
    return "unnamed", stem


def find(directory: Path | None, name: str) -> Path | None:
    """The report of that name; None unless it is a plain file in the directory, with a name that
    this program gives."""
    if directory is None or not _NAME.fullmatch(name):
        return None
    path = directory / name
    return path if path.is_file() and not path.is_symlink() else None


def headers(path: Path) -> dict[str, str]:
    """Response headers: PDF and HTML open in the browser, HTML sandboxed; the rest is saved."""
    opens = path.suffix in (".pdf", ".html")
    found = {
        "Content-Disposition": f'{"inline" if opens else "attachment"}; filename="{path.name}"'
    }
    if path.suffix == ".html":
        found["Content-Security-Policy"] = (
            "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
        )
    return found


def period_of(first: str, last: str, zone: ZoneInfo) -> period.Period:
    """The days of a form as the week, month or quarter that they are, else as days.

    Raises `UserError`.

    >>> zone = ZoneInfo("Asia/Kolkata")
    >>> period_of("2026-11-16", "2026-11-22", zone).stem
    'weekly-2026-W47'
    >>> period_of("2026-11-01", "2026-11-30", zone).stem
    'monthly-2026-11'
    """
    chosen = period.date_range(first, last, zone)
    begin = chosen.days[0]
    for whole in (
        period.week_of(begin, zone),
        period.month(f"{begin:%Y-%m}", zone),
        period.quarter(f"{begin.year}-Q{(begin.month + 2) // 3}", zone),
    ):
        if (whole.start, whole.end) == (chosen.start, chosen.end):
            return whole
    return chosen
