"""Quantities with units, as in the configuration: `10 Mbit/s`, `60s`, `99.5%`, `200 MB`.

Each parser returns base units (bit/s, seconds, ratio, bytes) and raises `ValueError` with a valid
example.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

_NUMBER = re.compile(r"^\s*([+-]?\d+(?:\.\d+)?)\s*([^\d\s]\S*)?\s*$")

LONGEST_SECONDS = 3660 * 86400
"""Ten years: a longer duration is a typing error."""

_RATES = {"bit/s": 1.0, "kbit/s": 1e3, "Mbit/s": 1e6, "Gbit/s": 1e9}
_TIMES = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_RATIOS = {"%": 0.01}
_SIZES = {"B": 1, "kB": 1_000, "MB": 1_000_000, "GB": 1_000_000_000}


def _parse(value: object, units: Mapping[str, float], kind: str, example: str) -> float:
    match = _NUMBER.match(value) if isinstance(value, str) else None
    if match is None or match.group(2) is None:
        raise ValueError(f"must be {kind} with its unit, such as `{example}`, not `{value}`")
    number, unit = match.groups()
    if unit not in units:
        raise ValueError(f"unknown unit `{unit}`; {kind} is written in {', '.join(units)}")
    if len(number) > 20:
        raise ValueError(f"has too many digits; {kind} looks like `{example}`")
    result = float(number) * units[unit]
    if result < 0:
        raise ValueError(f"must not be negative: `{value}`")
    return result


def parse_rate(value: object) -> float:
    """Parse a rate; returns bit/s.

    >>> parse_rate("10 Mbit/s")
    10000000.0
    """
    return _parse(value, _RATES, "a rate", "10 Mbit/s")


def parse_duration(value: object) -> float:
    """Parse a duration; returns seconds.

    >>> parse_duration("60s"), parse_duration("300 ms"), parse_duration("2h")
    (60.0, 0.3, 7200.0)
    """
    seconds = round(_parse(value, _TIMES, "a duration", "60s"), 9)
    if seconds > LONGEST_SECONDS:
        raise ValueError(f"must not be more than {LONGEST_SECONDS // 86400}d: `{value}`")
    return seconds


def parse_ratio(value: object) -> float:
    """Parse a percentage; returns a ratio from 0 to 1.

    >>> parse_ratio("99.5%")
    0.995
    """
    ratio = round(_parse(value, _RATIOS, "a share", "2%"), 12)
    if ratio > 1:
        raise ValueError(f"must not be more than 100%: `{value}`")
    return ratio


def parse_size(value: object) -> int:
    """Parse a size in powers of ten; returns bytes.

    >>> parse_size("200 MB")
    200000000
    """
    return int(_parse(value, _SIZES, "a size", "200 MB"))


def _plain(number: float) -> str:
    return f"{number:.9f}".rstrip("0").rstrip(".")


def format_quantity(value: float, kind: str, space: str = "") -> str:
    """Format a quantity with its unit; `kind` is `rate`, `duration`, `ratio` or `size`.

    >>> format_quantity(7200.0, "duration"), format_quantity(300_000_000, "size")
    ('2h', '300MB')
    """
    if kind == "ratio":
        return f"{_plain(value * 100)}%"
    tables: dict[str, Mapping[str, float]] = {"rate": _RATES, "duration": _TIMES, "size": _SIZES}
    units = tables[kind]
    fitting = [u for u, size in units.items() if value >= size and not (value / size) % 1]
    unit = max(fitting, key=lambda u: units[u]) if fitting else min(units, key=lambda u: units[u])
    return f"{_plain(value / units[unit])}{space}{unit}"


Rate = Annotated[
    float,
    BeforeValidator(parse_rate),
    WithJsonSchema({"type": "string", "quantity": "rate", "pattern": r"^\d+(\.\d+)? ?[kMG]?bit/s$",
                    "examples": ["10 Mbit/s"]}),
]  # fmt: skip
"""bit/s."""
Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema({"type": "string", "quantity": "duration",
                    "pattern": r"^\d+(\.\d+)? ?(ms|s|min|h|d|w)$",
                    "examples": ["60s"]}),
]  # fmt: skip
"""Seconds."""
Ratio = Annotated[
    float,
    BeforeValidator(parse_ratio),
    WithJsonSchema({"type": "string", "quantity": "ratio", "pattern": r"^\d+(\.\d+)? ?%$",
                    "examples": ["2%"]}),
]  # fmt: skip
"""0 to 1."""
Size = Annotated[
    int,
    BeforeValidator(parse_size),
    WithJsonSchema({"type": "string", "quantity": "size", "pattern": r"^\d+(\.\d+)? ?[kMG]?B$",
                    "examples": ["200 MB"]}),
]  # fmt: skip
"""Bytes."""
