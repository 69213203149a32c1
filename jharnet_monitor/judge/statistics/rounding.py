"""Rounds figures to nine digits, so that they are the same on every machine. Pure."""

from __future__ import annotations

DIGITS = 9


def to_digits(value: float) -> float:
    """A figure to nine significant digits; infinity stays infinity.

    >>> to_digits(4275000.000000001), to_digits(float("inf"))
    (4275000.0, inf)
    """
    return float(f"{value:.{DIGITS}g}")
