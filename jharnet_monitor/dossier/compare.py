"""Compares a document with the one that follows from the claims."""

from __future__ import annotations

import unicodedata
from io import BytesIO
from itertools import zip_longest

from pypdf import PdfReader
from pypdf.errors import PyPdfError


def paper_differs(name: str, held: bytes, expected: bytes, *, exact: bool) -> str | None:
    """How a document differs from the expected one; None if it does not.

    With the same tools (`exact`) every byte must be equal. With others only the text is compared,
    since the layout of a PDF may differ.
    """
    if held == expected:
        return None
    if not name.endswith(".pdf"):
        return _first(held.decode("utf-8", "replace"), expected.decode("utf-8", "replace"))
    try:
        found = _first(_text(held), _text(expected))
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return f"cannot be read as PDF: {error}"
    if found is None and exact:
        return "has the right text, but is not the file that follows from the claims"
    return found


def _text(pdf: bytes) -> str:
    pages = (page.extract_text() for page in PdfReader(BytesIO(pdf)).pages)
    return unicodedata.normalize("NFC", "\n".join(pages))


def _first(held: str, expected: str) -> str | None:
    """The first difference between two texts, with its context; None if they are equal."""
    one, other = held.split(), expected.split()
    for place, (found, due) in enumerate(zip_longest(one, other)):
        if found != due:
            near = slice(max(0, place - 3), place + 3)
            texts = (" ".join(words[near])[:120] for words in (one, other))
            return "says “{}”, but the measurements give “{}”".format(*texts)
    return None
