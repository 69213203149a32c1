"""Computes the state's figures of a week, only from the districts' signed weeks. Pure.

A district that submitted nothing gets a row without figures: a missing row would hide it, and zeros
would be false.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, median

from jharnet_monitor.config.state_file import StateDistrict
from jharnet_monitor.judge.line.grounds import LineVerdict
from jharnet_monitor.judge.outages.availability import known_well_enough
from jharnet_monitor.report.output.draft import Annex, Cell
from jharnet_monitor.report.sections.rating import Group
from jharnet_monitor.state.week import DistrictWeek, OfficeWeek

_ORDER: tuple[Group, ...] = ("unable", "partly", "untested", "able")
_DISTRICT_COLUMNS = (
    "rank", "district", "name", "offices", "able", "partly", "unable", "untested",
    "availability", "promise_kept", "promise_missed", "delivered_over_contracted", "upgrades",
    "repairs", "faults_open", "made_at", "version", "root",
)  # fmt: skip
_OFFICE_COLUMNS = (
    "district", *(name for name in OfficeWeek.model_fields if name != "name_hi"),
)  # fmt: skip


@dataclass(frozen=True)
class DistrictFigures:
    """One district; `week` is None if it submitted nothing."""

    district: StateDistrict
    week: DistrictWeek | None
    before: DistrictWeek | None
    """The preceding week."""

    @property
    def offices(self) -> tuple[OfficeWeek, ...]:
        """Its offices; empty if the district is silent."""
        return () if self.week is None else self.week.offices

    def count(self, group: Group) -> int:
        """Number of offices in a group."""
        return sum(office.group == group for office in self.offices)

    @cached_property
    def availability(self) -> float | None:
        """Mean availability of the offices for which enough of the time is known."""
        shown = (known_well_enough(one.availability, one.coverage) for one in self.offices)
        known = [one for one in shown if one is not None]
        return fmean(known) if known else None

    @cached_property
    def delivered(self) -> float | None:
        """Median ratio of delivered to contracted speed, towards the offices."""
        ratios = [
            one.delivered / one.contracted
            for one in self.offices
            if one.delivered is not None and one.contracted
        ]
        return median(ratios) if ratios else None

    def kept(self, value: bool) -> int:
        """Number of offices whose line kept the promised availability (True) or missed it
        (False).
        """
        return sum(office.kept is value for office in self.offices)

    def wanting(self, verdict: LineVerdict) -> int:
        """Number of offices with this verdict."""
        return sum(office.verdict is verdict for office in self.offices)

    @property
    def able_before(self) -> int | None:
        """Number of offices that were able in the preceding week."""
        if self.before is None:
            return None
        return sum(office.group == "able" for office in self.before.offices)

    @property
    def rank_key(self) -> tuple[bool, float, float, str]:
        """Sort key: by the share of able offices, then by availability; silent districts last."""
        total = len(self.offices)
        share = self.count("able") / total if total else 0.0
        return (self.week is None, -share, -(self.availability or 0.0), self.district.id)


@dataclass(frozen=True)
class StateFigures:
    """The state's figures of one week, with the districts in the order of their rank."""

    name: str
    districts: tuple[DistrictFigures, ...]

    @property
    def reported(self) -> tuple[DistrictFigures, ...]:
        """The districts that submitted the week."""
        return tuple(one for one in self.districts if one.week is not None)

    @property
    def silent(self) -> tuple[DistrictFigures, ...]:
        """The districts that did not submit it."""
        return tuple(one for one in self.districts if one.week is None)

    @property
    def offices(self) -> int:
        """Number of offices that have figures."""
        return sum(len(one.offices) for one in self.districts)

    def count(self, group: Group) -> int:
        """Number of offices in a group."""
        return sum(one.count(group) for one in self.districts)

    @cached_property
    def in_trouble(self) -> tuple[tuple[DistrictFigures, OfficeWeek], ...]:
        """Offices that fall short in conferences or in availability, the worst first."""
        found = [
            (one, office)
            for one in self.districts
            for office in one.offices
            if office.group in ("unable", "partly") or office.kept is False
        ]
        return tuple(sorted(found, key=lambda pair: _trouble(*pair)))

    @cached_property
    def slabs(self) -> tuple[tuple[float | None, Counter[str]], ...]:
        """Number of offices that need more speed, by the slab to order (None: beyond the tariff)
        and by district."""
        found: dict[float | None, Counter[str]] = {}
        for one in self.districts:
            for office in one.offices:
                if office.verdict is LineVerdict.UPGRADE:
                    found.setdefault(office.slab, Counter())[one.district.id] += 1
        return tuple(sorted(found.items(), key=lambda pair: pair[0] or float("inf")))

    @property
    def made_up(self) -> bool:
        """Whether any of the weeks comes from a demo."""
        return any(one.week.made_up for one in self.reported if one.week is not None)


def _trouble(one: DistrictFigures, office: OfficeWeek) -> tuple[int, float, str, str]:
    known = known_well_enough(office.availability, office.coverage)
    return (_ORDER.index(office.group), 1.0 if known is None else known, one.district.id, office.id)


def figures_of(
    name: str,
    districts: Sequence[StateDistrict],
    weeks: Mapping[str, DistrictWeek],
    before: Mapping[str, DistrictWeek],
) -> StateFigures:
    """The figures of the week `name`, from each district's week and the one before."""
    found = [DistrictFigures(one, weeks.get(one.id), before.get(one.id)) for one in districts]
    return StateFigures(name, tuple(sorted(found, key=lambda one: one.rank_key)))


def tables(figures: StateFigures) -> tuple[Annex, Annex]:
    """The figures for programs, in base units: one row per district, and one per office."""
    districts = tuple(_district_row(n, one) for n, one in enumerate(figures.districts, 1))
    offices = tuple(
        (one.district.id, *(_cell(getattr(office, name)) for name in _OFFICE_COLUMNS[1:]))
        for one in figures.districts
        for office in one.offices
    )
    return (
        Annex("districts", "Districts", _DISTRICT_COLUMNS, districts),
        Annex("offices", "Offices", _OFFICE_COLUMNS, offices),
    )


def _district_row(rank: int, one: DistrictFigures) -> tuple[Cell, ...]:
    if one.week is None:
        empty = [None] * (len(_DISTRICT_COLUMNS) - 3)
        return (None, one.district.id, one.district.name, *empty)
    return (
        rank, one.district.id, one.district.name, len(one.offices),
        *(one.count(group) for group in ("able", "partly", "unable", "untested")),
        one.availability, one.kept(True), one.kept(False), one.delivered,
        one.wanting(LineVerdict.UPGRADE), one.wanting(LineVerdict.REPAIR), one.week.faults_open,
        one.week.made_at, one.week.version, one.week.root,
    )  # fmt: skip


def _cell(value: object) -> Cell:
    if isinstance(value, LineVerdict):
        return value.value
    return value if isinstance(value, str | int | float | bool) else None
