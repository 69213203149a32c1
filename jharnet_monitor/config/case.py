"""The speed case: what a block needs (policy, never measured), and the letter that asks for it."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from jharnet_monitor.config.fields import ContractedRate, Count, Text
from jharnet_monitor.config.section import Section
from jharnet_monitor.config.units import Rate, Ratio


def _rising(slabs: tuple[float, ...]) -> tuple[float, ...]:
    if any(after <= before for before, after in pairwise(slabs)):
        raise ValueError("must rise from slab to slab, such as [2 Mbit/s, 4 Mbit/s, 10 Mbit/s]")
    return slabs


def _some(share: float) -> float:
    if share <= 0:
        raise ValueError("must be more than 0%, such as 70%")
    return share


class CapacitySettings(Section):
    """What a block's line has to carry, and what can be ordered. Policy of the district."""

    conferences: Annotated[Count, Field(ge=1, le=100)] = 1
    """Conferences that one block holds at the same time."""
    video: ContractedRate = 1_500_000.0
    """A conference's picture, each way: 1.5 Mbit/s is 720p in a group call (Zoom)."""
    audio: Rate = 80_000.0
    """A conference's sound, each way: 60 to 80 kbit/s (Zoom)."""
    overhead: Ratio = 0.15
    """What packets and control add to a conference."""
    other: Rate = 500_000.0
    """95th percentile of all other traffic in office hours, each way. An assumption, said to be
    one, wherever it is not measured."""
    seats: Annotated[Count, Field(ge=0, le=10_000)] = 10
    """Desks of a block office that work on e-Office."""
    per_seat: Rate = 25_000.0
    """What e-Office takes at a desk, each way; where other traffic is measured, only what is still
    to come."""
    services: Rate = 100_000.0
    """What the other services (JharSewa, Pragya Kendra) take at a block, each way."""
    utilisation: Annotated[Ratio, AfterValidator(_some)] = 0.7
    """How full a line may be planned."""
    tariff: Annotated[tuple[ContractedRate, ...], Field(min_length=1), AfterValidator(_rising)] = (
        2e6, 4e6, 8e6, 10e6, 16e6, 34e6, 50e6, 100e6,
    )  # fmt: skip
    """The speeds that can be ordered, rising."""
    days: Annotated[Count, Field(ge=5, le=366)] = 20
    """With measurements on fewer days than this nothing is concluded."""


Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=300)]


class LetterTexts(Section):
    """The letter's own particulars in one language; what is left out is left to be written."""

    office: tuple[Line, ...] = ()
    """The letterhead, line by line; else the district magistrate's."""
    sender: tuple[Line, ...] = ()
    """From whom, line by line: name, designation."""
    to: tuple[Line, ...] = ()
    """To whom, line by line; else the Secretary of the Department of IT and e-Governance."""
    references: tuple[Line, ...] = ()
    """Earlier letters and orders."""
    copies: tuple[Line, ...] = ()
    """Who gets a copy; else JAP-IT, the DIO and all BDOs."""
    signatory: tuple[Line, ...] = ()
    """Below the signature: name, designation."""


class LetterSettings(Section):
    """The letter to the department."""

    number: Text | None = None
    """The letter's number; without it a blank is left."""
    memo: Text | None = None
    """The number under which the copies go out."""
    date: Text | None = None
    """The letter's date as it is to be written; without it a blank is left."""
    hi: LetterTexts = LetterTexts()
    en: LetterTexts = LetterTexts()

    def texts_in(self, language: str) -> LetterTexts:
        """The particulars in that language, `hi` or `en`."""
        return self.hi if language == "hi" else self.en
