"""A report as plain data, ready to be set: what the program that reads hands to the one that sets.

Nothing here loads a database or a library for figures.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Cell = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Annex:
    """A table behind a report: `name` for its file, `title` and `headings` in the language."""

    name: str
    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    @property
    def csv(self) -> bytes:
        """The table as CSV in UTF-8 with a byte order mark, so that Excel reads Hindi as Hindi."""
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(self.headings)
        writer.writerows(self.rows)
        return text.getvalue().encode("utf-8-sig")


@dataclass(frozen=True, slots=True)
class Draft:
    """A report in one language: everything that is written in it, and the tables behind it."""

    stem: str
    language: str
    made_at: datetime
    content: dict[str, Any]
    annexes: tuple[Annex, ...]
