"""A bottleneck's rate by the spacing of packets that entered it together (packet pairs). Pure.

Packets of a frame leave the sender in small groups. A queue's bottleneck spaces the packets of a
group by their transmission time, or by more if a packet of others came between them, but never by
less (Dovrolis, Ramanathan and Moore, 2004). The fastest rate at which many pairs agree is therefore
the bottleneck's; the sender's own spacing shows as a slower one. Jitter spoils all pairs alike.
"""

from __future__ import annotations

import numpy as np

from jharnet_monitor.judge.twin.trace import Column, PacketColumns

_LARGE = 0.8
"""Share of the largest packet from which a packet counts: small ones measure gaps less exactly."""
_ALIKE = 1.05
"""Pairs whose rates are the same up to this factor agree."""
_LEAST_PAIRS, _LEAST_SHARE = 12, 0.1
"""Pairs, and their share of all, that must agree ..."""
_LEAST_FEW, _EXACT, _MOST_EXACT = 0.04, 1.015, 0.6
"""... or this smaller share, of which most agree up to a smaller factor: traffic of others, or the
sender's own spacing, keeps most pairs apart."""
_FASTER, _MOST_FASTER = 1.12, 0.05
"""At most this share of the pairs may be faster than the agreed rate by that factor."""
_FASTEST = 30e6
"""bit/s beyond which pairs show how the receiving host reads its packets, not the line."""
_SHORTEST_GAP = 1e-6


def pair_rate(video: PacketColumns) -> float | None:
    """The bottleneck's rate in bit/s; None if the pairs do not show one."""
    if len(video.at) < _LEAST_PAIRS:
        return None
    known = np.isfinite(video.at)
    same = (np.diff(video.frame) == 0) & known[1:] & known[:-1]
    gaps, bits = np.diff(video.at)[same], video.size[1:][same] * 8
    large = bits > _LARGE * bits.max(initial=0.0)
    rates = np.sort(bits[large] / np.maximum(gaps[large], _SHORTEST_GAP))
    found = _fastest(rates, _LEAST_SHARE)
    if found is not None:
        return found
    found = _fastest(rates, _LEAST_FEW)
    if found is None or _near(rates, found, _EXACT) < _MOST_EXACT * _near(rates, found, _ALIKE):
        return None
    return found


def _fastest(rates: Column, share: float) -> float | None:
    """The fastest rate at which a share of the sorted ones agrees."""
    agreeing = np.searchsorted(rates, rates * _ALIKE) - np.searchsorted(rates, rates / _ALIKE)
    faster = len(rates) - np.searchsorted(rates, rates * _FASTER)
    enough = agreeing >= max(_LEAST_PAIRS, share * len(rates))
    candidates = np.flatnonzero(enough & (faster <= _MOST_FASTER * len(rates)))
    if not len(candidates):
        return None
    # The fastest group, by the place where most of its pairs agree.
    group = candidates[rates[candidates] > rates[candidates[-1]] / _ALIKE**2]
    found = float(rates[group[np.argmax(agreeing[group])]])
    return found if found < _FASTEST else None


def _near(rates: Column, rate: float, factor: float) -> int:
    """How many of the rates agree with one up to a factor."""
    return int(((rates > rate / factor) & (rates < rate * factor)).sum())
