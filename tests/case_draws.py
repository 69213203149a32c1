"""Draws the figures of a case of which only the range is written down."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from zlib import crc32

import numpy as np

_RANGE = re.compile(r"^(\d+(?:\.\d*)?)\.\.(\d+(?:\.\d*)?)( [kM]bit/s|%)?$")
_UNDRAWN = ("name", "why", "is", "also", "or", "not", "doubts", "notes")
_DIGITS = 3


def drawn(data: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """A case with a figure in the place of every range such as `1.5..2.8` or `300..700 kbit/s`.

    A figure is uniform over its range, and an integer if both ends are. Seed, name of the case and
    order of its ranges alone decide it.

    >>> drawn({"name": "x", "night": "2.0..2.5", "days": "7..7", "why": "1..2"}, 1)
    {'name': 'x', 'night': 2.428, 'days': 7, 'why': '1..2'}
    """
    rng = np.random.default_rng([seed, crc32(data["name"].encode())])
    return {
        key: value if key in _UNDRAWN else _with_figures(value, rng) for key, value in data.items()
    }


def _with_figures(value: Any, rng: np.random.Generator) -> Any:
    if isinstance(value, Mapping):
        return {key: _with_figures(one, rng) for key, one in value.items()}
    if isinstance(value, list):
        return [_with_figures(one, rng) for one in value]
    found = _RANGE.match(value) if isinstance(value, str) else None
    if not found:
        return value
    low, high, unit = found.groups()
    if "." in low + high:
        figure: float | int = round(float(rng.uniform(float(low), float(high))), _DIGITS)
    else:
        figure = int(rng.integers(int(low), int(high) + 1))
    return f"{figure}{unit}" if unit else figure
