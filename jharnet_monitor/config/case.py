"""The case for more speed: what a block needs (policy, not measured), and the letter."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from jharnet_monitor.config.fields import ContractedRate, Count, Text, check_line
from jharnet_monitor.config.section import Section
from jharnet_monitor.config.units import Rate, Ratio


def _check_rising(slabs: tuple[float, ...]) -> tuple[float, ...]:
    if any(after <= before for before, after in pairwise(slabs)):
        raise ValueError("must be in rising order, such as [2 Mbit/s, 4 Mbit/s, 10 Mbit/s]")
    return slabs


Slabs = tuple[ContractedRate, ...]


def _above_zero(share: float) -> float:
    if share <= 0:
        raise ValueError("must be more than 0%, such as 70%")
    return share


class CapacitySettings(Section):
    """What a block's line must carry, and which speeds can be ordered; the district's policy."""

    conferences: Annotated[Count, Field(ge=1, le=100)] = 1
    """Conferences of one block at the same time."""
    video: ContractedRate = 1_500_000.0
    """Video of a conference, each direction: 1.5 Mbit/s is 720p in a group call (Zoom)."""
    audio: Rate = 80_000.0
    """Audio of a conference, each direction: 60 to 80 kbit/s (Zoom)."""
    overhead: Ratio = 0.15
    """Overhead of packet headers and control traffic."""
    other: Rate = 500_000.0
    """95th percentile of all other traffic in office hours, each direction. Used where the traffic
    is not measured; reports then call it an assumption."""
    seats: Annotated[Count, Field(ge=0, le=10_000)] = 10
    """Desks of a block office that use e-Office."""
    per_seat: Rate = 25_000.0
    """e-Office traffic of a desk, each direction. Not added to measured traffic, which already
    includes it."""
    services: Rate = 100_000.0
    """Traffic of other services (JharSewa, Pragya Kendra) at a block, each direction; not added to
    measured traffic either."""
    utilisation: Annotated[Ratio, AfterValidator(_above_zero)] = 0.7
    """Highest utilisation for which a line is planned."""
    tariff: Annotated[Slabs, Field(min_length=1), AfterValidator(_check_rising)] = (
        2e6, 4e6, 8e6, 10e6, 16e6, 34e6, 50e6, 100e6,
    )  # fmt: skip
    """Speeds that can be ordered, in rising order."""
    days: Annotated[Count, Field(ge=5, le=366)] = 20
    """Days with measurements of a quantity that a conclusion from it requires."""
    coverage: Ratio = 0.5
    """Share of the time that must be known before the availability is judged."""
    margin: Ratio = 0.05
    """How much larger than the contracted rate the need must be for an upgrade, since the policy's
    figures are no more exact than that."""


Line = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=300),
    AfterValidator(check_line),
]


class LetterTexts(Section):
    """The letter's details in one language; unset ones are left blank."""

    office: tuple[Line, ...] = ()
    """Letterhead, line by line; default: the district magistrate's."""
    town: Line | None = None
    """Town of the district headquarters, in letterhead, sender and signature."""
    sender: tuple[Line, ...] = ()
    """Sender, line by line: name, designation."""
    to: tuple[Line, ...] = ()
    """Recipient, line by line; default: the Secretary, Department of IT and e-Governance."""
    references: tuple[Line, ...] = ()
    """Earlier letters and orders."""
    copies: tuple[Line, ...] = ()
    """Recipients of copies; default: JAP-IT, the DIO and all BDOs."""
    signatory: tuple[Line, ...] = ()
    """Below the signature: name, designation."""


class LetterSettings(Section):
    """The letter to the department."""

    number: Text | None = None
    """The letter's number; default: a blank."""
    memo: Text | None = None
    """Memo number of the copies."""
    date: Text | None = None
    """The letter's date, as printed; default: a blank."""
    hi: LetterTexts = LetterTexts()
    en: LetterTexts = LetterTexts()

    def texts_in(self, language: str) -> LetterTexts:
        """The details in that language, `hi` or `en`."""
        return self.hi if language == "hi" else self.en
