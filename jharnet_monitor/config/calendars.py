"""Public holidays of a country or state, from the library `holidays`."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import holidays

_COUNTRIES = "holidays.countries"

_log = logging.getLogger(__name__)


def require_calendar(name: str) -> None:
    """Raise `ValueError` unless there is a calendar of this name, such as `IN-JH` or `IN`."""
    try:
        _country(name)
    except NotImplementedError as error:
        raise ValueError(f"unknown holidays `{name}` ({error})") from None


def is_holiday(name: str, day: date) -> bool:
    """Whether a day is a public holiday in a calendar such as `IN-JH` or `IN`.

    >>> is_holiday("IN-JH", date(2026, 11, 15)), is_holiday("IN-JH", date(2026, 11, 16))
    (True, False)
    """
    return day in _holidays_of(name, day.year)


@lru_cache(maxsize=64)
def _holidays_of(name: str, year: int) -> frozenset[date]:
    """The holidays of a year. The library's warnings are logged once; it has no lunar dates after
    2035.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        days = frozenset(_country(name, year))
    for warning in caught:
        _log.warning("holidays %s of %d may be incomplete: %s", name, year, warning.message)
    return days


def _country(name: str, year: int | None = None) -> holidays.HolidayBase:
    country, _, state = name.partition("-")
    with _one_country():
        return holidays.country_holidays(country, subdiv=state or None, years=year)


@contextmanager
def _one_country() -> Iterator[None]:
    """While a calendar is loaded, the package of all countries is an empty one in their folder.

    The package itself imports all 250 of them: 7 MB and 0.1 s of each start.
    """
    if _COUNTRIES in sys.modules:
        yield
        return
    folder = ModuleType(_COUNTRIES)
    folder.__path__ = [str(Path(holidays.__file__).with_name("countries"))]
    sys.modules[_COUNTRIES] = folder
    try:
        yield
    finally:
        sys.modules.pop(_COUNTRIES, None)
