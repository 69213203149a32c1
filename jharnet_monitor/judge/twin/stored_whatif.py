"""The changes of a line that the twin answers with a call, and the form in which they are stored.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from jharnet_monitor.judge.twin.line import LineModel
from jharnet_monitor.judge.twin.prediction import GRADES, GradePrediction

MOST_SLABS = 3
MOST_CHANGES = 2 * MOST_SLABS + 1
UNSEEN_LINKS, UNSEEN_RIGHT = 80, 72
"""Hard links drawn after the twin was frozen, and those on which its grade was Chromium's
(help/accuracy.md)."""
CHANGES_COMPARED, CHANGES_RIGHT = 40, 33
"""Changes of such links, drawn likewise, whose answers were compared with Chromium on the changed
link, and those that had its grade (help/accuracy.md)."""
DECIMALS = 4
"""Of a stored probability."""
_MOST_OFF = 0.01
"""By which stored probabilities may differ from 1 together."""


@dataclass(frozen=True, slots=True)
class LineChange:
    """Another rate each way in bit/s, another packet loss; None keeps what the line has."""

    rate: float | None = None
    loss: float | None = None

    def applied(self, line: LineModel) -> LineModel:
        """The line after the change."""
        return line.changed(self.rate, self.loss)

    def to_json(self) -> dict[str, Any]:
        """The change as plain data."""
        return {"rate": self.rate, "loss": self.loss}


@dataclass(frozen=True, slots=True)
class ChangeAnswer:
    """How probable each grade is after a change."""

    change: LineChange
    prediction: GradePrediction

    def to_json(self) -> dict[str, Any]:
        """The stored form."""
        shares = [round(share, DECIMALS) for share in self.prediction.probabilities]
        return self.change.to_json() | {"probabilities": shares}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read the stored form; raises `ValueError` for anything else."""
        shares = data.get("probabilities")
        change = LineChange(_number(data, "rate", 1e12), _number(data, "loss", 1.0))
        if not isinstance(shares, Sequence) or len(shares) != GRADES:
            raise ValueError(f"probabilities must be {GRADES} numbers")
        if not all(isinstance(share, int | float) and 0 <= share <= 1 for share in shares):
            raise ValueError("probabilities must be from 0 to 1")
        if abs(sum(shares) - 1) > _MOST_OFF:
            raise ValueError("probabilities must sum to 1")
        return cls(change, GradePrediction(tuple(map(float, shares))))


def _number(data: Mapping[str, Any], name: str, most: float) -> float | None:
    value = data.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise ValueError(f"{name} must be a number or null")
    return float(value)


def changes_to_ask(
    line: LineModel, contracted: float | None, tariff: Sequence[float]
) -> tuple[LineChange, ...]:
    """What might cure a call over this line, the most informative first.

    The next speeds of the tariff above the contracted rate, the line without its loss, and both.

    >>> changes_to_ask(LineModel(), 2e6, (2e6, 4e6, 8e6, 10e6, 16e6))[0]
    LineChange(rate=4000000.0, loss=None)
    """
    above = [] if contracted is None else [slab for slab in tariff if slab > contracted]
    lost = line.down.loss > 0 or line.up.loss > 0
    changes: list[LineChange] = []
    for number, slab in enumerate(above[:MOST_SLABS]):
        changes.append(LineChange(rate=slab))
        if lost:
            changes += [LineChange(loss=0.0)] if number == 0 else []
            changes.append(LineChange(rate=slab, loss=0.0))
    if lost and not above:
        changes.append(LineChange(loss=0.0))
    return tuple(changes)


def stored_answers(conditions: Mapping[str, Any]) -> Iterator[ChangeAnswer]:
    """The answers stored with a call; malformed ones are left out."""
    stored = conditions.get("whatif")
    if not isinstance(stored, Sequence) or isinstance(stored, str):
        return
    for one in stored[:MOST_CHANGES]:
        if isinstance(one, Mapping):
            try:
                yield ChangeAnswer.from_json(one)
            except ValueError:
                continue
