"""Reads every family off the live state at one moment; what fails is left out and counted."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from jharnet_monitor.config import Office
from jharnet_monitor.live import Live, fresh
from jharnet_monitor.metrics.district import DISTRICT_FAMILIES
from jharnet_monitor.metrics.family import DistrictView, Family, OfficeFamily, OfficeView, Point

_log = logging.getLogger(__name__)

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
    """All families with their samples, and how many readers failed.

    A reader that fails costs its own samples of one office, never the scrape.
    """
    errors = 0
    readings = []
    district = DistrictView(live, now)
    for family in DISTRICT_FAMILIES:
        points = _guarded(lambda f=family: f.read(district), family.name)  # type: ignore[misc]
        errors += points is None
        readings.append(FamilyReading(family, _rows(family.kind, (), points or [])))
    views = [(office.id, _view(live, office, now)) for office in live.config.offices]
    for office_family in office_families:
        rows: list[Row] = []
        for office_id, view in views:
            points = _guarded(lambda f=office_family, v=view: f.read(v), office_family.name)  # type: ignore[misc]
            errors += points is None
            rows += _rows(office_family.kind, (office_id,), points or [])
        readings.append(FamilyReading(office_family, rows))
    return readings, errors


def _view(live: Live, office: Office, now: datetime) -> OfficeView:
    state = live.offices[office.id]
    current = {
        key: measurement
        for key, measurement in state.measured.items()
        if fresh(live.config, key, measurement, now)
    }
    return OfficeView(office, state, live.config, current)


def _guarded(read: Callable[[], Iterable[Point]], name: str) -> list[Point] | None:
    try:
        return list(read())
    except Exception:
        _log.exception("metric %s could not be read", name)
        return None


def _rows(kind: str, first: tuple[str, ...], points: list[Point]) -> list[Row]:
    """Points as samples. A figure that is no number is unknown, and unknown is absent."""
    if kind == "histogram":
        return _histogram_rows(first, points)
    suffix = {"counter": "_total", "info": "_info"}.get(kind, "")
    return [(suffix, first + labels, value) for labels, value in points if math.isfinite(value)]


def _histogram_rows(first: tuple[str, ...], points: list[Point]) -> list[Row]:
    if not points:
        return []
    *buckets, (_, total) = points
    rows: list[Row] = [("_bucket", first + labels, count) for labels, count in buckets]
    return [*rows, ("_sum", first, total), ("_count", first, buckets[-1][1])]
