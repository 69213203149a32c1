"""The line as the product's call observed it, beside the link's settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from jharnet_monitor.judge.twin.line import DirectionModel, LineModel
from tests.bench.chromium_conditions import Condition
from tests.bench.marks import Row, note
from tests.bench.twin import true_line

MET = 1.4e6
"""bit/s below which the call, which starts with 1.5 Mbit/s, meets the bottleneck."""
RATE, BUCKET, OTHERS = 0.1, 0.4, 0.3
"""Relative differences up to which a figure counts as seen."""
LEAST_OTHERS = 0.12
"""Share of the rate from which steady others are looked for."""


class Observed(Protocol):
    """One link and the line that a call on it observed (`chromium.Compared`)."""

    @property
    def name(self) -> str:
        """Of the condition."""

    @property
    def line(self) -> Mapping[str, Any] | None:
        """The line model as plain data; None if the call gave none."""


def seen_rows(found: Sequence[Observed], links: Sequence[Condition], which: str) -> Iterator[Row]:
    """How many directions were seen as they are, without marks."""
    settings = {link.name: true_line(link) for link in links}
    pairs: list[tuple[DirectionModel, DirectionModel]] = []
    for each in found:
        if each.line is not None:
            seen, true = LineModel.from_json(each.line), settings[each.name]
            pairs += [(true.down, seen.down), (true.up, seen.up)]
    if not pairs:
        return
    quiet = [(true, seen) for true, seen in pairs if not true.transfer_on]
    met = [(true, seen) for true, seen in quiet if true.rate < MET and not true.others]
    yield _share(f"{which}: rate seen within {RATE:.0%}", [
        _near(seen.rate, true.rate, RATE) for true, seen in met
    ])  # fmt: skip
    yield _share(f"{which}: policers seen as one", [
        bool(seen.bucket) == bool(true.bucket) for true, seen in met
    ])  # fmt: skip
    yield _share(f"{which}: bucket seen within {BUCKET:.0%}", [
        _near(seen.bucket, true.bucket, BUCKET) for true, seen in met if true.bucket and seen.bucket
    ])  # fmt: skip
    yield _share(f"{which}: steady others seen within {OTHERS:.0%}", [
        _near(seen.others, true.others, OTHERS)
        for true, seen in quiet
        if LEAST_OTHERS * true.rate < true.others and true.rate < MET and not true.bucket
    ])  # fmt: skip
    yield _share(f"{which}: transfers found where there are some", [
        seen.transfer_on > 0 for true, seen in pairs if true.transfer_on
    ])  # fmt: skip
    yield _share(f"{which}: none found where there are none", [
        not seen.transfer_on for _, seen in quiet
    ])  # fmt: skip


def _near(seen: float, true: float, share: float) -> bool:
    return abs(seen - true) <= share * true


def _share(name: str, right: Sequence[bool]) -> Row:
    return note(name, sum(right), f"of {len(right)} directions")
