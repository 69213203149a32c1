"""Holds a paper against the one that its claims give."""

from __future__ import annotations

import unicodedata
from io import BytesIO
from itertools import zip_longest

from pypdf import PdfReader
from pypdf.errors import PyPdfError


def paper_differs(name: str, held: bytes, expected: bytes, *, exact: bool) -> str | None:
    """What a paper says that it should not; None where it is as claimed.

    With the same tools a paper has to be the same to the byte. With others its text has to be the
    same: a PDF's layout may then differ.
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
        return "reads the same, but is not the file that the claims give"
    return found


def _text(pdf: bytes) -> str:
    pages = (page.extract_text() for page in PdfReader(BytesIO(pdf)).pages)
    return unicodedata.normalize("NFC", "\n".join(pages))


def _first(held: str, expected: str) -> str | None:
    """The first place at which two texts part."""
    one, other = held.split(), expected.split()
    for place, (said, due) in enumerate(zip_longest(one, other)):
        if said != due:
            near = slice(max(0, place - 3), place + 3)
            texts = (" ".join(words[near])[:120] for words in (one, other))
            return "says “{}”, the measurements give “{}”".format(*texts)
    return None
