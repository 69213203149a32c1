"""What a call between two Chromiums showed, and its grade. Pure but for the file.

The grade is that of `judge.conference.grade`: a window of 30 s after the warm-up; the worse
direction decides.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

OPEN_GAP = 0.75
"""Seconds without a new picture at the end of the window from which it counts as frozen."""
SETTLED = 12.0
"""Seconds at the end of the window over which the height is measured."""
MARGIN = 0.015
"""If a share is so close to its threshold, the grades on both sides of it are right."""
CPU_LIMITED = 0.5
"""A call in which the CPU limited Chromium for so many seconds is not used."""
CAPTURED = 28.0
"""A camera of 30 frames/s must have delivered so many, else this computer was too slow."""


@dataclass(frozen=True, slots=True)
class DirectionModel:
    """One direction, by the statistics of its receiver."""

    concealed: float
    """Share of the audio samples that were concealed."""
    frozen: float
    """Share of the window in which the picture was frozen, including an open gap at the end."""
    frames: float
    """Decoded frames per second."""
    height: float
    """The larger of the last and the median of the last 12 s; 0 without a picture."""
    rate: float
    """kbit/s of video that arrived, without RTP headers."""

    def grade(self, slack: float = 0.0) -> int:
        """0 to 4; with all shares moved by `slack`."""
        if self.concealed + slack > 0.07:
            return 0
        if self.frozen + slack > 0.05 or self.frames < 8 or self.height < 180:
            return 1
        if self.height >= 720 and self.frames >= 20 and self.rate >= 650:
            return 4
        return 3 if self.height >= 360 and self.frames >= 12 else 2


@dataclass(frozen=True, slots=True)
class Run:
    """One call: what arrived at the office (`down`) and at headquarters (`up`)."""

    down: DirectionModel | None
    up: DirectionModel | None
    cpu_limited: float = 0.0
    """Seconds."""
    captured: float | None = None
    """Frames per second of the slower end's camera."""

    @property
    def valid(self) -> bool:
        """Whether the link limited the call, and not this computer."""
        kept_up = self.captured is None or self.captured >= CAPTURED
        return kept_up and self.cpu_limited <= CPU_LIMITED

    @property
    def ways(self) -> Sequence[DirectionModel]:
        """Both directions, if the call connected."""
        return [way for way in (self.down, self.up) if way is not None]

    def grade(self, slack: float = 0.0) -> int:
        """The grade of the worse direction; 0 without a call."""
        return min((way.grade(slack) for way in self.ways), default=0)

    @property
    def frozen(self) -> float:
        """The frozen share of the worse direction; 1 without a call."""
        return max((way.frozen for way in self.ways), default=1.0)


def acceptable(runs: Sequence[Run]) -> set[int]:
    """The grades that are right: those of all runs; both, if a run is close to a threshold."""
    return {run.grade(slack) for run in runs for slack in (-MARGIN, 0.0, MARGIN)}


def read_way(samples: Sequence[Mapping[str, Any]]) -> DirectionModel:
    """Read a direction from statistics of every half second; the ends bound the window."""

    def grown(name: str) -> float:
        return float((samples[-1][name] or 0) - (samples[0][name] or 0))

    seconds = samples[-1]["at"] - samples[0]["at"]
    moved = [
        after["at"]
        for before, after in pairwise(samples)
        if (after["video.framesDecoded"] or 0) > (before["video.framesDecoded"] or 0)
    ]
    still = samples[-1]["at"] - (moved[-1] if moved else samples[0]["at"])
    frozen = grown("video.totalFreezesDuration") + (still if still >= OPEN_GAP else 0.0)
    last = [s["video.frameHeight"] or 0 for s in samples if s["at"] >= samples[-1]["at"] - SETTLED]
    heard = grown("audio.totalSamplesReceived")
    return DirectionModel(
        concealed=round(grown("audio.concealedSamples") / heard, 5) if heard else 1.0,
        frozen=round(min(1.0, frozen / seconds), 5),
        frames=round(grown("video.framesDecoded") / seconds, 3),
        height=max(last[-1], median(last)),
        rate=round(grown("video.bytesReceived") * 8 / seconds / 1000, 1),
    )


def read_run(result: Mapping[str, Any]) -> Run:
    """Read a run from what `Pair.call` returns."""
    if not result["connected"]:
        return Run(None, None)
    limited = max(result[end]["sender"].get("cpu_limited") or 0.0 for end in ("down", "up"))
    ways = [
        read_way(result[end]["samples"]) if len(result[end]["samples"]) > 1 else None
        for end in ("down", "up")
    ]
    cameras = [result[end]["sender"].get("captured") for end in ("down", "up")]
    captured = None if None in cameras else round(min(cameras), 2)
    return Run(ways[0], ways[1], round(limited, 2), captured)


class Truths:
    """The runs by the name of their condition, in a file that grows with every call."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.chromium = ""
        self.runs: dict[str, list[Run]] = {}
        if path.exists():
            data = json.loads(path.read_text())
            self.chromium = data["chromium"]
            for name, runs in data["runs"].items():
                self.runs[name] = [_run(run) for run in runs]

    def add(self, name: str, run: Run) -> None:
        """Store one more call."""
        self.runs.setdefault(name, []).append(run)
        lines = ",\n".join(
            f"{json.dumps(key)}: {json.dumps([asdict(run) for run in runs])}"
            for key, runs in self.runs.items()
        )
        text = f'{{"chromium": {json.dumps(self.chromium)}, "runs": {{\n{lines}\n}}}}\n'
        unfinished = self.path.with_suffix(".part")
        unfinished.write_text(text)
        unfinished.replace(self.path)


def _run(data: Mapping[str, Any]) -> Run:
    ways = [DirectionModel(**data[end]) if data[end] else None for end in ("down", "up")]
    return Run(ways[0], ways[1], data["cpu_limited"], data.get("captured"))
