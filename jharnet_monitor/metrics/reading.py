"""Reads every family from the live state at one moment; readings that fail are counted."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import Any

from jharnet_monitor.config import Office
from jharnet_monitor.live import Live
from jharnet_monitor.metrics.district import DISTRICT_FAMILIES
from jharnet_monitor.probes import current
from jharnet_monitor.probes.families import DistrictView, Family, OfficeFamily, OfficeView, Point

_log = logging.getLogger(__name__)

_SUFFIXES = {"counter": "_total", "info": "_info"}

Row = tuple[str, tuple[str, ...], float]
"""A sample: suffix of the name, values of the labels, value."""


@dataclass(frozen=True, slots=True)
class FamilyReading:
    """One family and its samples."""

    family: Family | OfficeFamily
    rows: list[Row]

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the labels, in the order of the rows' values."""
        office = ("office",) if isinstance(self.family, OfficeFamily) else ()
        return office + self.family.labels


def read_families(
    live: Live, now: datetime, office_families: tuple[OfficeFamily, ...]
) -> tuple[list[FamilyReading], int]:
    """All families with their samples, and the number of readers that failed.

    A reader that fails loses only its own samples of one office.
    """
    errors = 0
    readings = []
    own = current(live.config, live.headquarters.last_conclusive, now)
    district = DistrictView(live, now, own)
    for family in DISTRICT_FAMILIES:
        rows: list[Row] = []
        errors += not _read(family, district, (), rows)
        readings.append(FamilyReading(family, rows))
    views = [((office.id,), _view(live, office, now)) for office in live.config.offices]
    for office_family in office_families:
        rows = []
        for first, view in views:
            errors += not _read(office_family, view, first, rows)
        readings.append(FamilyReading(office_family, rows))
    return readings, errors


def _view(live: Live, office: Office, now: datetime) -> OfficeView:
    state = live.offices[office.id]
    newest = current(live.config, state.last_conclusive, now)
    return OfficeView(office, state, live.config, newest)


def _read(
    family: Family | OfficeFamily, view: Any, first: tuple[str, ...], rows: list[Row]
) -> bool:
    """Add a family's samples to the rows; if its reader fails, add none and return False.

    Infinite values and NaN count as unknown and are left out.
    """
    before, suffix = len(rows), _SUFFIXES.get(family.kind, "")
    try:
        if family.kind == "histogram":
            rows += _histogram_rows(first, list(family.read(view)))
        else:
            for labels, value in family.read(view):
                if isfinite(value):
                    rows.append((suffix, first + labels, value))
    except Exception:
        _log.exception("metric %s could not be read", family.name)
        del rows[before:]
        return False
    return True


def _histogram_rows(first: tuple[str, ...], points: list[Point]) -> list[Row]:
    if not points:
        return []
    *buckets, (_, total) = points
    rows: list[Row] = [("_bucket", first + labels, count) for labels, count in buckets]
    return [*rows, ("_sum", first, total), ("_count", first, buckets[-1][1])]
