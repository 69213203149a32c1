"""Builds a dossier: the raw data, then everything derived from them, then the manifest."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from jharnet_monitor import __version__
from jharnet_monitor.config import Config
from jharnet_monitor.dossier import form, raw, sealed
from jharnet_monitor.dossier.archive import WORKING, ArchiveError, Writer, json_bytes
from jharnet_monitor.dossier.case import Case
from jharnet_monitor.dossier.claims import Claims
from jharnet_monitor.dossier.derive import derive
from jharnet_monitor.dossier.evidence import DossierEvidence
from jharnet_monitor.dossier.mailed import mailed_roots, mails_json
from jharnet_monitor.dossier.papers import papers, tools
from jharnet_monitor.dossier.settings import read_settings, settings
from jharnet_monitor.dossier.settings_log import SettingsLog
from jharnet_monitor.dossier.word import working_copies
from jharnet_monitor.errors import UserError
from jharnet_monitor.i18n.words import words
from jharnet_monitor.judge.calendar.period import Period
from jharnet_monitor.model import MADE_UP, format_utc, parse_utc
from jharnet_monitor.report.output.files import replacing
from jharnet_monitor.store import Store
from jharnet_monitor.store.chain import ChainLink

ReportProgress = Callable[[str], None]
FORMAT = 2
MANIFEST_KEYS = ("format", "program", "tools", "made_at", "from", "to", "data", "files")
RECORDS = ("chain/links.jsonl", "chain/mailed-roots.json", "settings.json", "claims.json")
"""Records besides the raw data; all other files are derived from them."""


def build(
    store: Store,
    config: Config,
    period: Period,
    out: Path,
    now: datetime,
    report_progress: ReportProgress,
) -> Claims:
    """Write the dossier of a period to `out`, completely or not at all; returns its claims.

    `report_progress` is called with messages. Raises `UserError`, `StoreError` and
    `TypesettingError`.
    """
    now = parse_utc(format_utc(now))
    _require_over(period, now)
    report_progress("sealing completed hours …")
    store.chain.seal()
    links = store.chain.links()
    span = sealed.needed_links([one.begin for one in links], period.start, period.end)
    if not span:
        raise UserError(
            f"{period.name}: nothing of this period is sealed; an hour is sealed once it is over"
        )
    for gone in sealed.pruned_inside(links, span):
        raise UserError(f"{period.name}: {gone}; a dossier covers only what is still there")
    with replacing(out) as scratch:
        try:
            return _write(store, config, period, scratch, now, report_progress, links, span)
        except ArchiveError as error:
            raise UserError(
                f"the database was not written by this program alone, see `db verify`: {error}"
            ) from error


def _require_over(period: Period, now: datetime) -> None:
    """Raise `UserError` unless the period is over: the letter calls all of it measured."""
    if period.end <= now:
        return
    option, day = "--to", period.days[-1]
    over = now.astimezone(period.start.tzinfo).date() - timedelta(days=1)
    if over < period.days[0]:
        option, day = "--from", period.days[0]
    raise UserError(
        f"{option} {day}: is not over yet; a dossier covers past days only, the last is {over}"
    )


def _write(
    store: Store,
    config: Config,
    period: Period,
    scratch: Path,
    now: datetime,
    report_progress: ReportProgress,
    links: list[ChainLink],
    span: range,
) -> Claims:
    writer = Writer(scratch, now)
    try:
        reread = read_settings(settings(config))
        evidence = DossierEvidence(reread, period)
        data = []
        for file in raw.export(store, links, span):
            report_progress(f"{file.stem} …")
            table = form.typed(form.read(file.csv, file.kind))
            writer.add(f"{file.stem}.csv", file.csv)
            writer.add(f"{file.stem}.parquet", raw.parquet(table))
            evidence.add(file.kind, table)
            data.append(file.entry)
        for wrong in SettingsLog.of(evidence.database_events).differences(reread):
            raise UserError(
                f"{wrong.key}: is {_shown(wrong.after)} in the configuration, but the hub sealed"
                f" {_shown(wrong.before)} at {wrong.at:%Y-%m-%d %H:%M} UTC; reload the hub, and"
                " build the dossier when that hour is sealed"
            )
        report_progress("deriving the figures …")
        made_up = evidence.made_up
        writer.add("settings.json", json_bytes(settings(config, made_up=made_up)))
        written_chain = sealed.to_jsonl(links, made_up=made_up)
        writer.add("chain/links.jsonl", written_chain)
        chain = sealed.from_jsonl(written_chain)
        mails = mailed_roots(store, period, now)
        writer.add("chain/mailed-roots.json", json_bytes(mails_json(mails, made_up=made_up)))
        until = sealed.sealed_until(now, period.end)
        written = derive(evidence, until).to_json()
        writer.add("claims.json", json_bytes(written))
        claims = Claims.from_json(written)  # papers state the figures as they are written there
        case = Case(reread, period, until, now, claims, evidence, chain, mails,
                    sums(writer.files, made_up=made_up))  # fmt: skip
        for name, content in papers(case):
            report_progress(f"{name} …")
            writer.add(name, content)
        for name, content in working_copies(case):
            writer.add(WORKING + name, content)
        manifest = {
            "format": FORMAT,
            "program": f"jharnet-monitor {__version__}",
            "tools": tools(),
            "made_at": format_utc(now),
            "from": str(period.days[0]),
            "to": str(period.days[-1]),
            "data": data,
            **({MADE_UP: True} if made_up else {}),
        }
        writer.close(manifest)
    finally:
        writer.abandon()
    return claims


def _shown(value: Any) -> str:
    return "not set" if value is None else str(value)


def sums(files: dict[str, dict[str, Any]], *, made_up: bool) -> str:
    """The hash report that the certificate refers to: SHA-256 of every record, as by sha256sum,
    which leaves out a line that begins with `#`.
    """
    mark = f"# {words('en')('made_up.told')}\n" if made_up else ""
    return mark + "".join(
        f"{files[name]['sha256']}  {name}\n"
        for name in sorted(files)
        if name.startswith("data/") or name in RECORDS
    )
