"""Checks a dossier, needing nothing but the file.

Hashes show that nothing was damaged, the chain that the raw data are those that were sealed; but
whoever changes a figure can hash everything anew. So every claim is derived again from the raw
data, and every paper set again from the claims. Against a chain that was rebuilt as a whole helps
only a root that somebody outside has kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from jharnet_monitor.config import Config
from jharnet_monitor.dossier import raw, sealed
from jharnet_monitor.dossier.archive import MANIFEST, WORKING, ArchiveError, Reader
from jharnet_monitor.dossier.build import FORMAT, Told, sums
from jharnet_monitor.dossier.case import Case
from jharnet_monitor.dossier.claims import Claims
from jharnet_monitor.dossier.compare import differences, paper_differs
from jharnet_monitor.dossier.derive import derive
from jharnet_monitor.dossier.evidence import DossierEvidence
from jharnet_monitor.dossier.form import DIARY, FormError
from jharnet_monitor.dossier.mailed import checked, strays
from jharnet_monitor.dossier.papers import papers, tools
from jharnet_monitor.dossier.sealed import Sealed
from jharnet_monitor.dossier.settings import read_settings
from jharnet_monitor.errors import UserError
from jharnet_monitor.judge.calendar.period import Period, date_range
from jharnet_monitor.model import parse_utc
from jharnet_monitor.report.output.files import TypesettingError


@dataclass(slots=True)
class VerifyResult:
    """What the check found: the first problem first, and what was looked at."""

    problems: list[str]
    links: int = 0
    records: int = 0
    figures: int = 0
    papers: int = 0
    root: str | None = None
    same_tools: bool = True
    """Whether papers could be compared to the byte; else their texts were."""


def verify(path: Path, root: str | None, tell: Told, *, every: bool = False) -> VerifyResult:
    """Check a dossier; stops at the first problem unless `every` is asked for.

    Raises `UserError` where the file cannot be read at all.
    """
    verdict = VerifyResult([])
    try:
        with Reader(path) as archive:
            for problem in _Examination(archive, root, verdict, tell).problems():
                verdict.problems.append(problem)
                if not every:
                    break
    except ArchiveError as error:
        verdict.problems.append(str(error))
    except TypesettingError as error:
        verdict.problems.append(f"the papers cannot be set again: {error}")
    return verdict


class _Examination:
    """One dossier under examination."""

    def __init__(
        self, archive: Reader, root: str | None, verdict: VerifyResult, tell: Told
    ) -> None:
        self.archive = archive
        self.root = root
        self.verdict = verdict
        self.tell = tell

    def problems(self) -> Iterator[str]:
        """Everything that is not as claimed, what others rest on first."""
        manifest = self.archive.manifest
        if manifest.get("format") != FORMAT:
            raise ArchiveError(f"{MANIFEST}: is of a form that this program does not know")
        self.tell("hashes …")
        yield from self.archive.differences()
        self.tell("chain …")
        links = sealed.parsed(self.archive.read("chain/links.jsonl"))
        if not links:
            raise ArchiveError("chain/links.jsonl: holds no link")
        self.verdict.links, self.verdict.root = len(links), links[-1].root
        yield from sealed.breaks(links)
        yield from self._outside(links)
        config = read_settings(self.archive.json("settings.json"))
        period = _period(manifest, config)
        made_at = _made_at(manifest)
        evidence = DossierEvidence(config, period)
        span = sealed.needed([one.begin for one in links], period.start, period.end)
        if not span:
            raise ArchiveError("chain/links.jsonl: does not reach into the period")
        yield from self._raw(links, span, evidence)
        mails = checked(self.archive.json("chain/mailed-roots.json"))
        yield from strays(mails, links)
        self.tell("figures …")
        until = sealed.sealed_until(made_at, period.end)
        claims = self.archive.json("claims.json")
        try:
            found = derive(evidence, until).to_json()
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ArchiveError(f"data: no figures can be derived: {error!r}") from error
        self.verdict.figures = _count(found)
        wrong = False
        for difference in differences(claims, found):
            wrong = True
            yield f"claims.json: {difference}"
        # where nothing differs, papers state the last digits of the machine that built them
        stated = Claims.from_json(found if wrong else claims)
        held = {name: told for name, told in manifest["files"].items() if isinstance(told, dict)}
        case = Case(config, period, until, made_at, stated, evidence, links, mails, sums(held))
        yield from self._papers(case)

    def _outside(self, links: list[Sealed]) -> Iterator[str]:
        if self.root is not None and all(one.root != self.root for one in links):
            yield f"--root: {self.root} is not in the chain: it was rebuilt, or is another one"

    def _raw(self, links: list[Sealed], span: range, evidence: DossierEvidence) -> Iterator[str]:
        listed = raw.entries(self.archive.manifest, links)
        for entry in listed:
            self.tell(f"{entry['path']} …")
            texts, table = raw.load(self.archive, entry)
            self.verdict.records += len(texts)
            yield from sealed.unlike(texts, entry["path"], entry["kind"], links, entry["links"])
            parquet = entry["path"].removesuffix(".csv") + ".parquet"
            wrong = raw.unlike_csv(self.archive.read(parquet), table)
            if wrong:
                yield f"{parquet}: {wrong}"
            try:
                evidence.add(entry["kind"], table)
            except FormError as error:
                raise ArchiveError(f"{entry['path']}: {error}") from error
        yield from _overlaps(listed)
        probes = {kind for n in span for kind in links[n].parts} - set(DIARY)
        wanted = dict.fromkeys(sorted(probes), span)
        wanted |= {kind: range(span[-1] + 1) for kind in DIARY}
        yield from sealed.gaps(listed, links, wanted)

    def _papers(self, case: Case) -> Iterator[str]:
        self.verdict.same_tools = self.archive.manifest.get("tools") == tools()
        expected = {MANIFEST, "settings.json", "claims.json"}
        expected |= {"chain/links.jsonl", "chain/mailed-roots.json"}
        for name, content in _set_again(case):
            self.tell(f"{name} …")
            expected.add(name)
            self.verdict.papers += 1
            wrong = paper_differs(
                name, self.archive.read(name), content, exact=self.verdict.same_tools
            )
            if wrong:
                yield f"{name}: {wrong}"
        for name in self.archive.names:
            if name not in expected and not name.startswith(("data/", WORKING)):
                yield f"{name}: does not belong into a dossier"


def _set_again(case: Case) -> Iterator[tuple[str, bytes]]:
    try:
        yield from papers(case)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArchiveError(f"data: no papers can be set from it: {error!r}") from error


def _overlaps(listed: list[dict[str, Any]]) -> Iterator[str]:
    """Records that are enclosed twice would count twice."""
    seen: dict[str, int] = {}
    for entry in sorted(listed, key=lambda e: (e["kind"], e["links"][0])):
        if entry["links"][0] <= seen.get(entry["kind"], -1):
            yield f"{entry['path']}: holds what another file holds already"
        seen[entry["kind"]] = entry["links"][1]


def _period(manifest: dict[str, Any], config: Config) -> Period:
    try:
        return date_range(
            str(manifest["from"]), str(manifest["to"]), ZoneInfo(config.district.timezone)
        )
    except (KeyError, UserError) as error:
        raise ArchiveError(f"{MANIFEST}: names no period: {error}") from error


def _made_at(manifest: dict[str, Any]) -> datetime:
    try:
        return parse_utc(str(manifest["made_at"]))
    except (KeyError, ValueError) as error:
        raise ArchiveError(f"{MANIFEST}: does not say when it was made: {error}") from error


def _count(found: Any) -> int:
    """How many figures there are in the claims."""
    if isinstance(found, dict | list):
        inner = found.values() if isinstance(found, dict) else found
        return sum(map(_count, inner))
    return int(isinstance(found, int | float) and not isinstance(found, bool))
