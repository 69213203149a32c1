"""Compares claims with those derived from the measurements, and documents with the claims."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator
from io import BytesIO
from itertools import zip_longest
from typing import Any

from pypdf import PdfReader
from pypdf.errors import PyPdfError

TOLERANCE = 1e-6
"""Relative difference allowed between two machines' arithmetic; documents show at most 4 digits."""


def differences(claimed: Any, found: Any, where: str = "") -> Iterator[str]:
    """A message for every claim that differs from the figures found, with its path."""
    if isinstance(claimed, dict) and isinstance(found, dict):
        for key in dict.fromkeys([*found, *claimed]):
            path = f"{where}.{key}" if where else str(key)
            if key not in claimed or key not in found:
                missing = "not claimed" if key not in claimed else "claimed but not found"
                yield f"{path}: is {missing}"
            else:
                yield from differences(claimed[key], found[key], path)
    elif isinstance(claimed, list) and isinstance(found, list):
        for number, (one, other) in enumerate(zip_longest(claimed, found)):
            yield from differences(one, other, f"{where}[{number}]")
    elif not _same(claimed, found):
        yield f"{where}: {claimed!r} is claimed, but the measurements give {found!r}"


def claims_differ(stored: bytes, found: bytes, *, exact: bool) -> str | None:
    """Why claims with the right figures are still not those found; None if they are.

    With the same tools (`exact`) every byte must be equal. Another machine's arithmetic may differ
    in the last of nine digits.
    """
    if stored == found or not exact:
        return None
    return "has the right figures, but is not the file that follows from the measurements"


def _same(claimed: Any, found: Any) -> bool:
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (claimed, found))
    if numbers:
        return math.isclose(claimed, found, rel_tol=TOLERANCE, abs_tol=1e-12)
    return type(claimed) is type(found) and bool(claimed == found)


def paper_differs(name: str, stored: bytes, expected: bytes, *, exact: bool) -> str | None:
    """How a document differs from the expected one; None if it does not.

    With the same tools (`exact`) every byte must be equal. With others only the text is compared,
    since the layout of a PDF may differ.
    """
    if stored == expected:
        return None
    if not name.endswith(".pdf"):
        return _first(stored.decode("utf-8", "replace"), expected.decode("utf-8", "replace"))
    try:
        found = _first(_text(stored), _text(expected))
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return f"cannot be read as PDF: {error}"
    if found is None and exact:
        return "has the right text, but is not the file that follows from the claims"
    return found


def _text(pdf: bytes) -> str:
    pages = (page.extract_text() for page in PdfReader(BytesIO(pdf)).pages)
    return unicodedata.normalize("NFC", "\n".join(pages))


def _first(stored: str, expected: str) -> str | None:
    """The first difference between two texts, with its context; None if they are equal."""
    one, other = stored.split(), expected.split()
    for place, (found, due) in enumerate(zip_longest(one, other)):
        if found != due:
            near = slice(max(0, place - 3), place + 3)
            texts = (" ".join(words[near])[:120] for words in (one, other))
            return "says “{}”, but the measurements give “{}”".format(*texts)
    return None
