"""How far the twin is from a real client on the same line: noise that is added to its runs. Pure.

A twin without it is too sure of itself: all its runs make the same mistakes. The scales are fitted
to what Chromium showed on the tuning links (`tests/bench/twin.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jharnet_monitor.judge.conference.grade import Criteria
from jharnet_monitor.judge.twin.call import ReceivedQuality, Run
from jharnet_monitor.judge.twin.clients import Client
from jharnet_monitor.judge.twin.encoder import HEIGHTS
from jharnet_monitor.judge.twin.path import Floats
from jharnet_monitor.judge.twin.prediction import GRADES
from jharnet_monitor.profiles import HD_HEIGHT, LOW_HEIGHT, SD_HEIGHT

DRAWS = 64
"""Draws of the noise for every run."""
_FREEDOM = 3.0
"""Degrees of freedom of Student's distribution: most errors are small, some are large."""
_FROZEN_LEAST, _CONCEALED_LEAST = 0.01, 0.005
"""Shares below which errors are absolute, not relative."""
_SEED = 7


@dataclass(frozen=True, slots=True)
class ModelError:
    """Scales of the noise."""

    frozen: float
    """Of the logarithm of the frozen share; the next two likewise."""
    concealed: float
    rate: float
    height: float
    """In steps of `HEIGHTS`."""


NO_ERROR = ModelError(0.0, 0.0, 0.0, 0.0)
FITTED = ModelError(frozen=0.4, concealed=0.1, rate=0.1, height=0.1)
_TRANSFERS_DOUBT = 0.1
"""Share of the answer that is given to all grades alike where transfers of others fill the line:
what a call sees of them is less certain than other figures. Chosen."""


def grades(
    runs: Sequence[Run],
    client: Client,
    criteria: Criteria,
    error: ModelError = FITTED,
    transfers: bool = False,
) -> Floats:
    """How often each grade occurs in the runs with noise.

    `transfers` says whether transfers of others fill the line at times.
    """
    rng = np.random.default_rng(_SEED)
    worse = np.minimum(
        _grade([run.down for run in runs], client, criteria, error, rng),
        _grade([run.up for run in runs], client, criteria, error, rng),
    )
    shares = np.bincount(worse.ravel(), minlength=GRADES) / worse.size
    doubt = _TRANSFERS_DOUBT if transfers else 0.0
    return np.asarray((1 - doubt) * shares + doubt / GRADES)


def _grade(
    shown: Sequence[ReceivedQuality], client: Client, criteria: Criteria, error: ModelError,
    rng: np.random.Generator,
) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:  # fmt: skip
    """The grade of one direction in every draw."""

    def noisy(name: str, scale: float, least: float) -> Floats:
        value = np.array([getattr(each, name) for each in shown])[:, None]
        noise = rng.standard_t(_FREEDOM, (len(shown), DRAWS))
        return np.asarray((value + least) * np.exp(np.clip(scale * noise, -5, 5)) - least)

    frozen = noisy("frozen", error.frozen, _FROZEN_LEAST)
    concealed = noisy("concealed", error.concealed, _CONCEALED_LEAST)
    rate = noisy("rate", error.rate, 0.0)
    frames = np.array([each.frames for each in shown])[:, None]
    height = _heights(np.array([each.height for each in shown]), client, error.height, rng)
    found = np.where((height >= SD_HEIGHT) & (frames >= criteria.sd_frames), 3, 2)
    sharp = (height >= HD_HEIGHT) & (rate >= criteria.hd_rate) & (frames >= criteria.hd_frames)
    found = np.where(sharp, 4, found)
    still = (frozen > criteria.frozen) | (frames < criteria.frames) | (height < LOW_HEIGHT)
    found = np.where(still | (client.max_height == 0), 1, found)
    return np.where(concealed > criteria.concealed, 0, found)


def _heights(height: Floats, client: Client, scale: float, rng: np.random.Generator) -> Floats:
    """The heights with noise, on the client's ladder; 0 stays 0."""
    steps = np.array([each for each in HEIGHTS if each <= client.max_height] or [0], float)
    at = np.searchsorted(steps, height)[:, None] + scale * rng.standard_t(
        _FREEDOM, (len(height), DRAWS)
    )
    moved = steps[np.clip(np.rint(at), 0, len(steps) - 1).astype(int)]
    return np.asarray(np.where(height[:, None] < steps[0], height[:, None], moved))
