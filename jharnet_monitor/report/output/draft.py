"""A report as plain data, passed from the process that reads to the one that typesets.

This module loads neither the database nor numeric libraries.
"""

from __future__ import annotations

import csv
import io
import pickle
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

FORM = "nic-eof-af-6.0"
"""The table of the state's e-Office assessment, which is a file of its own, too."""

MANY_OFFICES = 24
"""With more offices, what is made of a draft takes hundreds of megabytes."""
ENDINGS = ("pdf", "html", "xlsx", "csv", "form.csv")
"""The formats of a report."""
Cell = str | int | float | bool | None


def annex_name(stem: str, language: str) -> str:
    """The file name of a report's annex."""
    return f"{stem}-annex.{language}.pdf"


@dataclass(frozen=True, slots=True)
class Annex:
    """A table of a report: `name` is for its file, `title` and `headings` are translated."""

    name: str
    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    @property
    def csv(self) -> bytes:
        """The table as CSV, in UTF-8 with a byte order mark, which Excel needs to show Hindi."""
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(self.headings)
        writer.writerows(self.rows)
        return text.getvalue().encode("utf-8-sig")


@dataclass(frozen=True, slots=True)
class Draft:
    """A report in one language: its content as plain JSON, and its annexes."""

    stem: str
    language: str
    made_at: datetime
    content: dict[str, Any]
    annexes: tuple[Annex, ...]

    @property
    def many(self) -> bool:
        """Whether it has many offices; the first annex has a row an office."""
        return len(self.annexes[0].rows) > MANY_OFFICES

    def unpacked(self) -> Draft:
        """Itself, as it is not packed."""
        return self

    def without_annexes(self) -> Draft:
        """The draft without its tables."""
        return replace(self, annexes=())


@dataclass(frozen=True, slots=True)
class PackedDraft:
    """A draft in a fifth of its memory, for a process that only passes it on."""

    stem: str
    language: str
    many: bool
    _draft: bytes
    """All but the annexes."""
    _annexes: bytes

    @classmethod
    def of(cls, draft: Draft) -> PackedDraft:
        """Pack a draft."""
        parts = replace(draft, annexes=()), draft.annexes
        return cls(draft.stem, draft.language, draft.many, *map(pickle.dumps, parts))

    def unpacked(self) -> Draft:
        """The draft."""
        annexes = pickle.loads(self._annexes)  # noqa: S301 - what `of` wrote
        return replace(self.without_annexes(), annexes=annexes)

    def without_annexes(self) -> Draft:
        """The draft without its tables."""
        draft: Draft = pickle.loads(self._draft)  # noqa: S301 - what `of` wrote
        return draft
