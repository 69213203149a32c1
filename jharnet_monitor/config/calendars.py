"""Public holidays of a country or state, from the library `holidays`.

To give one country the library loads all of them, which takes longer than to set a report, and
20 MB. Here only the wanted country's module is loaded; where that cannot be done, the library is
asked as usual.
"""

from __future__ import annotations

import importlib.util
import sys
from functools import lru_cache
from pathlib import Path

import holidays
from holidays.registry import COUNTRIES


def subdivisions(country: str) -> frozenset[str] | None:
    """The states or parts that a country's calendar knows; None where there is no such country."""
    module = _module(country)
    if module is None:
        return None
    entity = _entity(*module) or getattr(holidays, COUNTRIES[module[0]][0])
    return frozenset(entity.subdivisions) | frozenset(entity.subdivisions_aliases)


@lru_cache(maxsize=16)
def calendar(name: str) -> holidays.HolidayBase:
    """The days off by a name such as `IN-JH` or `IN`; asked with `day in calendar(name)`.

    >>> from datetime import date
    >>> date(2026, 11, 15) in calendar("IN-JH"), date(2026, 11, 16) in calendar("IN-JH")
    (True, False)
    """
    country, _, state = name.partition("-")
    module = _module(country)
    entity = module and _entity(*module)
    if entity:
        return entity(subdiv=state or None)
    return holidays.country_holidays(country, subdiv=state or None)


def _module(country: str) -> tuple[str, str] | None:
    """In which of the library's modules a country is, and by what name."""
    found = ((module, names[0]) for module, names in COUNTRIES.items() if country in names[1:])
    return next(found, None)


def _entity(module: str, name: str) -> type[holidays.HolidayBase] | None:
    """A country's class, without the package around it; None where that cannot be had so."""
    full = f"holidays.countries.{module}"
    loaded = sys.modules.get(full) or _loaded(full, module)
    return getattr(loaded, name, None)


def _loaded(full: str, module: str) -> object | None:
    file = Path(holidays.__file__).parent / "countries" / f"{module}.py"
    spec = importlib.util.spec_from_file_location(full, file) if file.exists() else None
    if spec is None or spec.loader is None:
        return None
    found = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(found)
    except ImportError:  # it builds upon another country
        return None
    return found
