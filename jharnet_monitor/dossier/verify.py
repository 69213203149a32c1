"""Verifies a dossier using nothing but the file.

The hashes show that nothing was damaged, and the chain that the raw data are those that were
sealed. Since anybody who changes a figure can compute new hashes, every claim is also derived again
from the raw data, and every document typeset again from the claims. Only a root held by an outside
recipient protects against a chain that was rebuilt as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from jharnet_monitor.config import Config
from jharnet_monitor.dossier import raw, sealed, simulated
from jharnet_monitor.dossier.archive import (
    MANIFEST,
    WORKING,
    ArchiveError,
    Reader,
    json_bytes,
    plausible,
)
from jharnet_monitor.dossier.build import FORMAT, MANIFEST_KEYS, RECORDS, ReportProgress, sums
from jharnet_monitor.dossier.case import Case
from jharnet_monitor.dossier.claims import Claims
from jharnet_monitor.dossier.compare import claims_differ, differences, paper_differs
from jharnet_monitor.dossier.derive import derive
from jharnet_monitor.dossier.evidence import DossierEvidence
from jharnet_monitor.dossier.form import EVENT_KINDS, LEFT_OUT, FormError
from jharnet_monitor.dossier.mailed import unknown_roots, validated
from jharnet_monitor.dossier.office_lines import line_differences
from jharnet_monitor.dossier.papers import papers, tools
from jharnet_monitor.dossier.sealed import Sealed
from jharnet_monitor.dossier.settings import read_settings, settings
from jharnet_monitor.dossier.settings_log import SettingsLog
from jharnet_monitor.dossier.simulated import SimulatedCalls
from jharnet_monitor.errors import UserError, as_one_line
from jharnet_monitor.i18n.words import LANGUAGES
from jharnet_monitor.judge.calendar.period import Period, date_range
from jharnet_monitor.judge.conference.grade import Criteria
from jharnet_monitor.model import MADE_UP, parse_utc
from jharnet_monitor.report.output.files import TypesettingError
from jharnet_monitor.store.pruning import PruningLog

_UNFIT = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError)
"""What code raises that is given records which no hub writes."""


@dataclass(slots=True)
class VerifyResult:
    """The problems found, the first one first, and how much was checked."""

    problems: list[str]
    links: int = 0
    records: int = 0
    figures: int = 0
    papers: int = 0
    root: str | None = None
    root_covers: bool = False
    """Whether the root from outside protects every record that the period needs."""
    same_tools: bool = True
    """Whether documents were compared byte for byte; otherwise their texts were."""
    notes: list[str] = field(default_factory=list)
    """What is no problem, but the reader should know."""
    simulated: SimulatedCalls = field(default_factory=SimulatedCalls)
    """Calls whose probabilities were derived again."""


def verify(
    path: Path,
    root: str | None,
    report_progress: ReportProgress,
    *,
    every: bool = False,
    simulate_all: bool = False,
) -> VerifyResult:
    """Verify a dossier; stops at the first problem unless `every`.

    With `simulate_all`, all simulated calls are simulated again, not a sample only. `root` is a
    value held by an outside recipient. Raises `UserError` if the file cannot be opened.
    """
    verdict = VerifyResult([])
    try:
        with Reader(path) as archive:
            examination = _Examination(archive, root, verdict, report_progress, simulate_all)
            for problem in examination.problems():
                verdict.problems.append(as_one_line(problem))
                if not every:
                    break
    except ArchiveError as error:
        verdict.problems.append(as_one_line(str(error)))
    except TypesettingError as error:
        verdict.problems.append(as_one_line(f"the documents could not be typeset again: {error}"))
    return verdict


class _Examination:
    """The verification of one dossier."""

    def __init__(
        self,
        archive: Reader,
        root: str | None,
        verdict: VerifyResult,
        report_progress: ReportProgress,
        simulate_all: bool,
    ) -> None:
        self.archive = archive
        self.simulate_all = simulate_all
        self.root = root
        self.verdict = verdict
        self.report_progress = report_progress
        self.expected: set[str] = set()

    def problems(self) -> Iterator[str]:
        """A message for everything that is not as claimed, the most fundamental first."""
        manifest = self.archive.manifest
        if manifest.get("format") != FORMAT:
            raise ArchiveError(
                f"{MANIFEST}: has format {manifest.get('format')!r}, and this program verifies"
                f" {FORMAT}; verify it with {manifest.get('program')!r}, which made it"
            )
        if set(manifest) - {MADE_UP} != set(MANIFEST_KEYS):
            raise ArchiveError(f"{MANIFEST}: has other keys than this program writes")
        self.verdict.same_tools = manifest.get("tools") == tools()
        self.report_progress("hashes …")
        yield from self.archive.differences()
        self.report_progress("chain …")
        links = sealed.from_jsonl(self.archive.read("chain/links.jsonl"))
        if not links:
            raise ArchiveError("chain/links.jsonl: contains no link")
        self.verdict.links, self.verdict.root = len(links), links[-1].root
        yield from sealed.chain_breaks(links)
        yield from self._outside(links)
        config = read_settings(self.archive.json("settings.json"))
        period = _period(manifest, config)
        made_at = _made_at(manifest)
        evidence = DossierEvidence(config, period)
        span = self._needed(links, period)
        for gone in sealed.pruned_inside(links, span):
            yield f"chain/links.jsonl: {gone}"
        listed = raw.data_entries(manifest, links, span)
        yield from self._unknown_files(listed, evidence)
        yield from self._raw(links, span, listed, evidence)
        yield from self._pruned(links, span, evidence, made_at)
        yield from self._settings(config, evidence, period)
        mails = validated(self.archive.json("chain/mailed-roots.json"))
        yield from unknown_roots(mails, links)
        self.report_progress("figures …")
        until = sealed.sealed_until(made_at, period.end)
        claims = self.archive.json("claims.json")
        try:
            found = derive(evidence, until).to_json()
        except _UNFIT as error:
            raise ArchiveError(f"data: the figures cannot be derived: {error!r}") from error
        self.verdict.figures = _count(found)
        wrong = False
        for difference in differences(claims, found):
            wrong = True
            yield f"claims.json: {difference}"
        other = claims_differ(
            self.archive.read("claims.json"), json_bytes(found), exact=self.verdict.same_tools
        )
        if other and not wrong:
            yield f"claims.json: {other}"
        # where nothing differs, papers state the last digits of the machine that built them
        stated = Claims.from_json(found if wrong else claims)
        stored = {
            name: declared
            for name, declared in manifest["files"].items()
            if isinstance(declared, dict)
        }
        case = Case(config, period, until, made_at, stated, evidence, links, mails,
                    sums(stored, made_up=evidence.made_up))  # fmt: skip
        yield from self._papers(case)
        yield from self._simulated(evidence)

    def _outside(self, links: list[Sealed]) -> Iterator[str]:
        if self.root is not None and all(one.root != self.root for one in links):
            yield f"--root: {self.root} is not in the chain: it was rebuilt, or is a different one"

    def _needed(self, links: list[Sealed], period: Period) -> range:
        span = sealed.needed_links([one.begin for one in links], period.start, period.end)
        if not span:
            raise ArchiveError("chain/links.jsonl: does not cover the period")
        self._note_root(links, span)
        return span

    def _note_root(self, links: list[Sealed], span: range) -> None:
        """Tell how much of the period the root from outside protects, if it is in the chain."""
        place = next((n for n, one in enumerate(links) if one.root == self.root), None)
        if place is None:
            return
        self.verdict.root_covers = place >= span[-1]
        if not self.verdict.root_covers:
            self.verdict.notes.append(
                f"the given root is that of the hour from {links[place].begin:%Y-%m-%d %H:%M} UTC:"
                " it does not protect the records of the period that were sealed after that hour"
            )

    def _unknown_files(
        self, listed: list[dict[str, Any]], evidence: DossierEvidence
    ) -> Iterator[str]:
        """A message for each file that no dossier has; documents are compared later."""
        expected = {MANIFEST, *RECORDS}
        for entry in listed:
            expected |= {entry["path"], entry["path"].removesuffix(".csv") + ".parquet"}
        expected |= {f"{WORKING}letter.{language}.docx" for language in LANGUAGES}
        self.expected = expected
        for name in self.archive.names:
            known = name in expected or not name.startswith(("data/", WORKING))
            if not known:
                yield f"{name}: does not belong in a dossier"

    def _pruned(
        self, links: list[Sealed], span: range, evidence: DossierEvidence, made_at: datetime
    ) -> Iterator[str]:
        log = PruningLog.of(evidence.database_events)
        for wrong in sealed.pruned_outside(links, span, log, made_at):
            yield f"chain/links.jsonl: {wrong}"
        pruned = [one for one in links if one.pruned]
        old = sum(not log.has(one.root, kind) for one in pruned for kind in one.pruned)
        if pruned:
            self.verdict.notes.append(f"{len(pruned)} hours outside of the period were pruned")
        if old:
            self.verdict.notes.append(
                f"{old} parts of them were pruned before prunings were sealed: that retention did"
                " it is not proved"
            )

    def _marks(self, evidence: DossierEvidence) -> Iterator[str]:
        """A message for each record that says otherwise than the measurements whether they are
        made up; the mark of the claims and papers is derived again with them.
        """
        links = sealed.from_jsonl(self.archive.read("chain/links.jsonl"))
        marked = {
            MANIFEST: self.archive.manifest.get(MADE_UP) is True,
            "chain/links.jsonl": (all if evidence.made_up else any)(one.made_up for one in links),
        }
        for name in ("settings.json", "chain/mailed-roots.json"):
            content = self.archive.json(name)
            marked[name] = isinstance(content, dict) and content.get(MADE_UP) is True
        for name, says in marked.items():
            if says and not evidence.made_up:
                yield f"{name}: says that the data are made up, but the records do not"
            if evidence.made_up and not says:
                yield f"{name}: does not say that the data are made up"

    def _settings(self, config: Config, evidence: DossierEvidence, period: Period) -> Iterator[str]:
        yield from self._marks(evidence)
        stored = self.archive.read("settings.json")
        expected = settings(config, made_up=evidence.made_up)
        if self.verdict.same_tools and stored != json_bytes(expected):
            yield "settings.json: is not written as this program writes it"
        log = SettingsLog.of(evidence.database_events)
        for wrong in log.differences(config):
            yield (
                f"settings.json: {wrong.key}: says {wrong.after!r}, but {wrong.before!r} was"
                f" sealed at {wrong.at:%Y-%m-%d %H:%M} UTC"
            )
        if log.since is None:
            self.verdict.notes.append(
                "contracts, thresholds, policy and tariff were not sealed: the file's own stand"
            )
        elif log.since > period.start:
            self.verdict.notes.append(
                f"settings were first sealed at {log.since:%Y-%m-%d %H:%M} UTC, in the period"
            )

    def _raw(
        self, links: list[Sealed], span: range, listed: list[dict[str, Any]],
        evidence: DossierEvidence,
    ) -> Iterator[str]:  # fmt: skip
        for entry in listed:
            self.report_progress(f"{entry['path']} …")
            texts, table = raw.load(self.archive, entry)
            self.verdict.records += len(texts)
            yield from sealed.record_differences(
                texts, entry["path"], entry["kind"], links, entry["links"]
            )
            parquet = entry["path"].removesuffix(".csv") + ".parquet"
            wrong = raw.parquet_differs(self.archive.read(parquet), table)
            if wrong:
                yield f"{parquet}: {wrong}"
            try:
                evidence.add(entry["kind"], table)
            except FormError as error:
                raise ArchiveError(f"{entry['path']}: {error}") from error
        probes = {kind for n in span for kind in links[n].parts} - set(EVENT_KINDS) - LEFT_OUT
        kinds = (*sorted(probes), *EVENT_KINDS)
        wanted = {kind: raw.wanted_links(kind, span, len(links)) for kind in kinds}
        yield from sealed.missing_records(listed, links, wanted)

    def _simulated(self, evidence: DossierEvidence) -> Iterator[str]:
        calls = [run for (_, probe), runs in evidence.runs.items() for run in runs
                 if probe == "conference"]  # fmt: skip
        criteria = Criteria(**evidence.config.thresholds.call.model_dump())
        yield from line_differences(evidence)
        yield from simulated.differences(
            calls, criteria, self.verdict.root or "", self.report_progress,
            self.verdict.simulated, every=self.simulate_all,
        )  # fmt: skip
        if note := self.verdict.simulated.note():
            self.verdict.notes.append(note)

    def _papers(self, case: Case) -> Iterator[str]:
        for name, content in _set_again(case):
            self.report_progress(f"{name} …")
            self.expected.add(name)
            self.verdict.papers += 1
            wrong = paper_differs(
                name, self.archive.read(name), content, exact=self.verdict.same_tools
            )
            if wrong:
                yield f"{name}: {wrong}"
        for name in self.archive.names:
            if name not in self.expected:
                yield f"{name}: does not belong in a dossier"
        for name in sorted(self.expected - set(self.archive.names)):
            yield f"{name}: is missing"


def _set_again(case: Case) -> Iterator[tuple[str, bytes]]:
    try:
        yield from papers(case)
    except _UNFIT as error:
        raise ArchiveError(f"data: the documents cannot be made from it: {error!r}") from error


def _period(manifest: dict[str, Any], config: Config) -> Period:
    try:
        period = date_range(
            str(manifest["from"]), str(manifest["to"]), ZoneInfo(config.district.timezone)
        )
        plausible(period.start)
        plausible(period.end)
    except (KeyError, ValueError, OverflowError, UserError) as error:
        raise ArchiveError(f"{MANIFEST}: states no valid period: {error}") from error
    return period


def _made_at(manifest: dict[str, Any]) -> datetime:
    try:
        return plausible(parse_utc(str(manifest["made_at"])))
    except (KeyError, ValueError) as error:
        raise ArchiveError(f"{MANIFEST}: states no valid `made_at`: {error}") from error


def _count(found: Any) -> int:
    """The number of figures in the claims."""
    if isinstance(found, dict | list):
        inner = found.values() if isinstance(found, dict) else found
        return sum(map(_count, inner))
    return int(isinstance(found, int | float) and not isinstance(found, bool))
