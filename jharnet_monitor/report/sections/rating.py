"""Every office with its findings and its group on page one, the worst first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from jharnet_monitor.i18n import formats
from jharnet_monitor.i18n.words import Words
from jharnet_monitor.report.data.findings import Finding, FindingKind, every_finding
from jharnet_monitor.report.data.summary import Conference, OfficeSummary, Summary

Group = Literal["able", "partly", "unable", "untested"]
GROUPS: tuple[Group, ...] = ("able", "partly", "unable", "untested")
"""The groups in the order of the tiles."""
_ORDER = ("unable", "partly", "untested", "able")
MOST_NAMED = 24
"""Of more offices a sentence names only a few."""
FEW_NAMES = 2
FEWEST_CALLED_ALL = 2
SHOWN = 2
"""Number of findings of an office on the front page; its own page has all."""


@dataclass(frozen=True, slots=True)
class RatedOffice:
    """An office with its findings, and the group in which it is counted."""

    summary: OfficeSummary
    found: tuple[Finding, ...]
    group: Group
    """`able`, `partly`, `unable` or `untested`."""

    @property
    def shown(self) -> list[Finding]:
        """The findings for the front page; doubts only if there are no others."""
        certain = [finding for finding in self.found if finding.kind is not FindingKind.EVIDENCE]
        return (certain or list(self.found))[:SHOWN]

    @property
    def doubtful(self) -> bool:
        """Whether all that can be said is that the line was measured too little."""
        return bool(self.found) and all(f.kind is FindingKind.EVIDENCE for f in self.found)


def judge(summary: Summary) -> list[RatedOffice]:
    """Every office with its findings, the worst first."""
    wanted = summary.config.thresholds.grade
    judged = [
        RatedOffice(office, found, group_of(office.conference, wanted))
        for office, found in zip(summary.offices, every_finding(summary), strict=True)
    ]
    return sorted(judged, key=_severity)


def group_of(conference: Conference, wanted: int) -> Group:
    """The group of an office whose conferences should reach the grade `wanted`."""
    if conference.grade is None:
        return "untested"
    if conference.grade >= wanted:
        return "able"
    return "partly" if conference.grade else "unable"


def _severity(judged: RatedOffice) -> tuple[int, int, int]:
    grade = judged.summary.conference.grade
    return _ORDER.index(judged.group), 5 if grade is None else grade, -len(judged.found)


def by_kind(
    found: Iterable[tuple[RatedOffice, Iterable[Finding]]], words: Words
) -> Mapping[FindingKind, list[str]]:
    """The names of the offices by kind of finding."""
    kinds: dict[FindingKind, list[str]] = defaultdict(list)
    for one, findings_ in found:
        for finding in findings_:
            kinds[finding.kind].append(formats.office_name(one.summary.office, words))
    return kinds


def names_of(names: Sequence[str], total: int, every: str, words: Words) -> str:
    """The names, or that all blocks are meant."""
    if len(names) == total > FEWEST_CALLED_ALL:
        return words(every, total=total)
    few = total > MOST_NAMED
    return formats.list_of(names, words, FEW_NAMES if few else formats.NAMES_IN_A_SENTENCE)
