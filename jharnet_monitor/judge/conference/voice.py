"""Voice quality by the E-model (ITU-T G.107) from delay and loss. Pure.

R = 93.2 - (Id(T) - 0.15) - Ie,eff: with its defaults the model gives 93.2, in which an Id of 0.15
is already contained. Opus has no Ie and Bpl on this scale; it is taken as G.711 with packet loss
concealment (Ie 0, Bpl 25.1), which is said on the method page: the figure compares links, it does
not certify a codec.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

CODEC_DELAY = 0.025
"""Seconds: one 20 ms frame and 5 ms of look-ahead."""
DEFAULT_R = 93.2
_TELR = 65.0
_WEPL = 110.0
_RO = 94.77


@dataclass(frozen=True, slots=True)
class Codec:
    """Equipment impairment and robustness to loss (G.113)."""

    ie: float
    bpl: float


G711_PLC = Codec(0.0, 25.1)
"""Also what Opus is taken for."""


def delay_impairment(one_way: float) -> float:
    """Id (G.107, 7.4) of an absolute one-way delay in seconds, with default echo parameters.

    >>> [round(delay_impairment(ms / 1000), 2) for ms in (50, 100, 150, 200, 300, 400)]
    [1.6, 2.69, 3.82, 7.55, 20.69, 31.11]
    """
    t = max(0.0, one_way * 1000)
    terv = _TELR - 40 * math.log10((1 + t / 10) / (1 + t / 150)) + 6 * math.exp(-0.3 * t * t)
    re = 80 + 2.5 * (terv - 14)
    half = (_RO - re) / 2
    talker: float = (half + math.sqrt(half * half + 100) - 1) * (1 - math.exp(-t))
    rle: float = 10.5 * (_WEPL + 7) * (2 * t + 1) ** -0.25
    half = (_RO - rle) / 2
    listener = half + math.sqrt(half * half + 169)
    return talker + listener + _absolute_delay(t)


def _absolute_delay(t: float) -> float:
    if t <= 100:
        return 0.0
    x = math.log2(t / 100)
    return 25 * float((1 + x**6) ** (1 / 6) - 3 * (1 + (x / 3) ** 6) ** (1 / 6) + 2)


def loss_impairment(loss: float, burst_ratio: float = 1.0, codec: Codec = G711_PLC) -> float:
    """Ie,eff (G.107, 7.5): `loss` as a ratio, `burst_ratio` 1 for random loss."""
    ppl = 100 * loss
    return codec.ie + (95 - codec.ie) * ppl / (ppl / burst_ratio + codec.bpl)


def burst_ratio(lost: Sequence[bool]) -> float:
    """Mean length of the runs of lost packets over what random loss would give; at least 1.

    >>> burst_ratio([True, True, False, False])
    1.0
    """
    bursts = sum(now and not before for before, now in zip([False, *lost], lost, strict=False))
    total = sum(lost)
    if not bursts or total == len(lost):
        return 1.0
    return max(1.0, total / bursts * (1 - total / len(lost)))


def one_way_delay(round_trip: float, play_out: float) -> float:
    """Mouth to ear in seconds: half the round trip, play-out buffer, codec."""
    return round_trip / 2 + play_out + CODEC_DELAY


def r_factor(one_way: float, loss: float, burst: float = 1.0, codec: Codec = G711_PLC) -> float:
    """Transmission rating R.

    >>> [round(r_factor(s, p), 1) for s, p in ((0.05, 0.01), (0.15, 0.02), (0.3, 0.03))]
    [88.1, 82.5, 62.5]
    """
    return DEFAULT_R - (delay_impairment(one_way) - 0.15) - loss_impairment(loss, burst, codec)


def mos(r: float) -> float:
    """Mean opinion score of a rating R (G.107, Annex B), 1 to 4.5.

    >>> [round(mos(r_factor(s, p)), 2) for s, p in ((0.05, 0.01), (0.15, 0.02), (0.3, 0.03))]
    [4.29, 4.12, 3.23]
    """
    if r <= 0:
        return 1
    if r >= 100:
        return 4.5
    return max(1.0, 1 + 0.035 * r + 7e-6 * r * (r - 60) * (100 - r))
